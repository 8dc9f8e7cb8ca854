# SPDX-License-Identifier: Apache-2.0
"""SROS2 policy files, one for each node, in an enclave of its own, from what a graph uses.

The format is version 0.2.0 of the policy.xsd that comes with sros2.
"""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path

from rclpy.action import (
    get_action_client_names_and_types_by_node,
    get_action_server_names_and_types_by_node,
)
from rclpy.node import Node, NodeNameNonExistentError

from ptp_core.data.file_limits import load_xml
from ptp_core.data.files import write_atomically
from ptp_core.errors import ConfigError
from ptp_ros.node_main import background_node

VERSION = "0.2.0"
ENCLAVES = "/ptp"  # every node's enclave is below it, named like the node
# Field of Rules: (section, its entry, qualifier).
SECTIONS = {
    "publish": ("topics", "topic", "publish"),
    "subscribe": ("topics", "topic", "subscribe"),
    "reply": ("services", "service", "reply"),
    "request": ("services", "service", "request"),
    "execute": ("actions", "action", "execute"),
    "call": ("actions", "action", "call"),
}
HEAD = """\
<?xml version="1.0" encoding="UTF-8"?>
<!-- SPDX-License-Identifier: Apache-2.0 -->
<!-- What the node may do on a graph with SROS2. `ptp security write` writes this file,
     `ptp security check` compares it with the running graph. docs/security.md. -->
"""
LOOK = 0.5  # s between looks
INSIDE = "/_action/"  # what an action consists of; rules name the action alone
NUMBER = "std_msgs/msg/Float64"
CHECKER = "policy_check"


@dataclass(frozen=True)
class Rules:
    """Full names of topics, services and actions, by what is done with them; * and ? match."""

    publish: frozenset[str] = field(default_factory=frozenset)
    subscribe: frozenset[str] = field(default_factory=frozenset)
    reply: frozenset[str] = field(default_factory=frozenset)
    request: frozenset[str] = field(default_factory=frozenset)
    execute: frozenset[str] = field(default_factory=frozenset)
    call: frozenset[str] = field(default_factory=frozenset)

    def __or__(self, other: Rules) -> Rules:
        """Both together; a name that a pattern of the other covers is left out."""
        merged = {}
        for kind in SECTIONS:
            names = getattr(self, kind) | getattr(other, kind)
            merged[kind] = frozenset(
                name
                for name in names
                if not any(name != wide and fnmatchcase(name, wide) for wide in names)
            )
        return Rules(**merged)

    def forbidden(self, use: Rules) -> list[str]:
        """What of ``use`` is not allowed here: "publish /arm/command/policy" and the like."""
        return [
            f"{kind} {name}"
            for kind in SECTIONS
            for name in sorted(getattr(use, kind))
            if not any(fnmatchcase(name, pattern) for pattern in getattr(self, kind))
        ]


def policies_in(folder: Path) -> dict[str, Rules]:
    """Rules by name of node of every policy in a folder. Raises ConfigError."""
    paths = sorted(folder.glob("*.xml"))
    if not paths:
        raise ConfigError(f"{folder} holds no policies (*.xml)")
    return {path.stem: read_policy(path) for path in paths}


def read_policy(path: Path) -> Rules:
    """Rules of the node that the file is named after. Raises ConfigError for anything else."""
    try:
        root = load_xml(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"{path}: no XML: {error}") from error
    if root.tag != "policy" or root.get("version") != VERSION:
        raise ConfigError(f"{path}: no SROS2 policy of version {VERSION}")
    enclaves = root.findall("enclaves/enclave")
    profiles = root.findall("enclaves/enclave/profiles/profile")
    named = [(e.get("path"), p.get("node"), p.get("ns")) for e, p in zip(enclaves, profiles)]
    if (len(enclaves), len(profiles)) != (1, 1) or named != [(enclave(path.stem), path.stem, "/")]:
        raise ConfigError(
            f"{path}: must hold one enclave {enclave(path.stem)} with the node {path.stem}"
        )
    return _rules(path, profiles[0])


def write_policy(path: Path, rules: Rules) -> None:
    """Write the policy of the node that the file is named after."""
    root = ET.Element("policy", version=VERSION)
    place = ET.SubElement(ET.SubElement(root, "enclaves"), "enclave", path=enclave(path.stem))
    profile = ET.SubElement(ET.SubElement(place, "profiles"), "profile", ns="/", node=path.stem)
    for kind, (section, entry, qualifier) in SECTIONS.items():
        if names := getattr(rules, kind):
            part = ET.SubElement(profile, section, {qualifier: "ALLOW"})
            for name in sorted(_short(name, path.stem) for name in names):
                ET.SubElement(part, entry).text = name
    ET.indent(root)
    text = HEAD + ET.tostring(root, encoding="unicode") + "\n"
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def enclave(node: str) -> str:
    """Path of a node's enclave in the keystore."""
    return f"{ENCLAVES}/{node}"


def forbidden(policies: Mapping[str, Rules], uses: Mapping[str, Rules]) -> list[str]:
    """One line for everything that a node does and its policy does not allow."""
    found = []
    for node, use in sorted(uses.items()):
        if node not in policies:
            found.append(f"{node}: has no policy")
        else:
            found += [f"{node}: {line}" for line in policies[node].forbidden(use)]
    return found


def uses(node: Node, names: Iterable[str] | None = None) -> dict[str, Rules]:
    """What each node does now, by its name; ``names``: of these nodes, None: of all but this."""
    there = {
        (name, space)
        for name, space in node.get_node_names_and_namespaces()
        if name != node.get_name() and not name.startswith("_")
    }
    wanted = None if names is None else set(names)
    return {
        name: _use(node, name, space) for name, space in there if wanted is None or name in wanted
    }


def watch(seconds: float, names: Iterable[str] | None = None) -> dict[str, Rules]:
    """What nodes do in ``seconds``, on the domain of ROS_DOMAIN_ID, all looks together."""
    wanted = None if names is None else tuple(names)
    found: dict[str, Rules] = {}
    with background_node(lambda context: Node(CHECKER, context=context)) as node:
        deadline = time.monotonic() + seconds
        while True:
            for name, use in uses(node, wanted).items():
                found[name] = found.get(name, Rules()) | use
            left = deadline - time.monotonic()
            if left <= 0:
                return found
            time.sleep(min(LOOK, left))


def _rules(path: Path, profile: ET.Element) -> Rules:
    entries = {(section, qualifier): kind for kind, (section, _, qualifier) in SECTIONS.items()}
    found: dict[str, set[str]] = {item.name: set() for item in fields(Rules)}
    for part in profile:
        for qualifier, value in part.attrib.items():
            kind = entries.get((part.tag, qualifier))
            if kind is None or value != "ALLOW":
                raise ConfigError(f'{path}: {part.tag} {qualifier}="{value}" is not known here')
            names = [entry.text.strip() for entry in part.findall(SECTIONS[kind][1]) if entry.text]
            if len(names) != len(part):
                raise ConfigError(f"{path}: {part.tag} must hold names of {SECTIONS[kind][1]}s")
            found[kind].update(_full(name, path.stem) for name in names)
    return Rules(**{kind: frozenset(names) for kind, names in found.items()})


def _full(name: str, node: str) -> str:
    if name.startswith("~"):
        return f"/{node}{name[1:]}"
    return name if name.startswith("/") else f"/{name}"


def _short(name: str, node: str) -> str:
    """As it is written: below the node's own name with a ~, others from the namespace on."""
    return f"~{name[len(node) + 1 :]}" if name.startswith(f"/{node}/") else name[1:]


def _use(node: Node, name: str, space: str) -> Rules:
    own = f"{space.rstrip('/')}/{name}/"

    def seen(ask: Callable, widen: bool = False) -> frozenset[str]:
        try:
            pairs = ask(name, space)
        except NodeNameNonExistentError:  # it has just gone
            return frozenset()
        return frozenset(
            # Numbers are published under whatever name a figure has.
            f"{own}*" if widen and topic.startswith(own) and NUMBER in kinds else topic
            for topic, kinds in pairs
            if INSIDE not in topic
        )

    return Rules() | Rules(
        publish=seen(node.get_publisher_names_and_types_by_node, widen=True),
        subscribe=seen(node.get_subscriber_names_and_types_by_node),
        reply=seen(node.get_service_names_and_types_by_node),
        request=seen(node.get_client_names_and_types_by_node),
        execute=seen(lambda *who: get_action_server_names_and_types_by_node(node, *who)),
        call=seen(lambda *who: get_action_client_names_and_types_by_node(node, *who)),
    )
