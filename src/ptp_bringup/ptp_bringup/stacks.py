# SPDX-License-Identifier: Apache-2.0
"""Stacks: the declarations of a launch file, and the processes for given arguments."""

from __future__ import annotations

import difflib
import functools
import json
import os
import runpy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ptp_bringup.declarations import (
    AS_PRESET,
    LEFT_OUT,
    Argument,
    Node,
    Values,
    names,
    resolve,
    words,
)
from ptp_bringup.share_folder import shared_root
from ptp_core.data.file_limits import load_yaml
from ptp_core.errors import ConfigError, quoted

STACK_NAMES = ("sim", "teleop", "practice", "camera", "real")
"""Each stack has its launch/NAME.launch.py."""


@dataclass(frozen=True)
class NodeProcess:
    """A node with its final parameters and arguments, which launch or `ptp up` starts."""

    node: Node
    defaults: dict[str, Any]  # parameters, weakest first: these,
    params_file: str  # then those of this file (empty: none),
    explicit: dict[str, Any]  # then those that the user gave as arguments
    arguments: tuple[str, ...]
    log_level: str

    @property
    def enclave(self) -> str:
        """Enclave of the node's keys in a keystore of SROS2; unused without SROS2."""
        return f"/ptp/{self.node.name}"

    def command_line(self) -> list[str]:
        """Arguments of the executable; in ROS a later parameter overrides an earlier one."""
        line = [*self.arguments, "--ros-args", "-r", f"__node:={self.node.name}"]
        line += ["--enclave", self.enclave]
        for old, new in self.node.remappings:
            line += ["-r", f"{old}:={new}"]
        line += ["--log-level", self.log_level]
        line += _as_words(self.defaults)
        if self.params_file:
            line += ["--params-file", self.params_file]
        return line + _as_words(self.explicit)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The nodes and the arguments of a launch file.

    Raises ConfigError where a node depends on an argument that is not declared.
    """

    name: str
    description: str
    arguments: tuple[Argument, ...]
    nodes: tuple[Node, ...]
    presets: Mapping[str, Values] = field(default_factory=dict)  # by the argument "preset"
    renamed: Values = field(default_factory=dict)  # arguments of earlier releases

    def __post_init__(self) -> None:
        declared = {argument.name for argument in self.arguments}
        for node in self.nodes:
            if missing := node.argument_names() - declared:
                raise ConfigError(
                    f"{self.name}: {node.name} depends on {', '.join(sorted(missing))}, which no "
                    "Argument declares"
                )

    def values(self, given: Values) -> dict[str, str]:
        """Given arguments and defaults together.

        An argument at `AS_PRESET` gets the value of the preset. A ~ at the beginning becomes the
        home folder, because shells do not expand it after ":=". Raises ConfigError for an unknown
        or renamed argument, and for an invalid value.
        """
        known = {argument.name: argument for argument in self.arguments}
        for name, value in given.items():
            self.check_name(name)
            known[name].check(value)
        values = {
            name: _expanded(name, given.get(name, argument.default))
            for name, argument in known.items()
        }
        self._join_names(values, known)
        preset = self.presets[values["preset"]] if self.presets else {}
        return {
            name: preset[name] if name in preset and value == AS_PRESET else value
            for name, value in values.items()
        }

    @staticmethod
    def _join_names(values: dict[str, str], known: Mapping[str, Argument]) -> None:
        """Give what stands at another name of an argument to the argument."""
        for name, argument in known.items():
            if not argument.same_as or not (text := values[name]):
                continue
            other = argument.same_as
            known[other].check(text)
            if values[other] not in (text, known[other].default):
                raise ConfigError(
                    f"{name} is {quoted(text)} and {other} is {quoted(values[other])}; they are "
                    "one argument: give one of them"
                )
            values[other] = text

    def check_name(self, name: str) -> None:
        """Raise ConfigError, with the nearest name, for an unknown argument."""
        known = [argument.name for argument in self.arguments]
        if name in self.renamed:
            raise ConfigError(f"{self.name}: {name} is now {self.renamed[name]}")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ConfigError(
                f"{self.name} has no argument {quoted(name)}; did you mean "
                f"{quoted(near)}? --show-args lists "
                "them"
            )

    def processes(self, given: Values) -> list[NodeProcess]:
        """Processes to start for the given arguments. Raises ConfigError and CheckpointError."""
        values = self.values(given)
        params_file = values.get("params_file", "")
        if params_file:
            _check_params_file(params_file)
        defaults = self.values({})
        found = []
        for node in self._here(values):
            weak, strong = {}, {}
            for name, value in node.parameters.items():
                chosen = any(values[used] != defaults[used] for used in names(value, values))
                if (given_value := resolve(value, values)) is not LEFT_OUT:
                    (strong if chosen else weak)[name] = given_value
            arguments = tuple(str(resolve(word, values)) for word in node.arguments)
            log_level = values.get("log_level", "info")
            found.append(NodeProcess(node, weak, params_file, strong, arguments, log_level))
        return found

    def names(self, given: Values | None = None) -> tuple[str, ...]:
        """Names of its nodes with these arguments, on any machine.

        ``given`` None: the names of all nodes. Raises ConfigError.
        """
        values = None if given is None else self.values(given)
        return tuple(
            node.name
            for node in self.nodes
            if not node.optional
            and (node.condition is None if values is None else node.wanted(values))
        )

    def _here(self, values: Values) -> list[Node]:
        """Nodes for these values that run on this machine, by ``only`` and ``without``."""
        wanted = [node for node in self.nodes if node.wanted(values)]
        chosen = {}
        for name, known in (("only", wanted), ("without", self.nodes)):
            chosen[name] = set(words(values[name])) if values.get(name) else set()
            if unknown := chosen[name].difference(node.name for node in known):
                raise ConfigError(
                    f"{name} names {', '.join(sorted(unknown))}; with these arguments {self.name} "
                    f"has {', '.join(node.name for node in known)}"
                )
        here = [
            node
            for node in wanted
            if node.name not in chosen["without"]
            and (not chosen["only"] or node.name in chosen["only"])
        ]
        if not here:
            raise ConfigError("only and without leave no node to start on this machine")
        return here

    def show_arguments(self) -> str:
        """Text that describes every argument."""
        lines = [f"{self.name}: {self.description}", "", "Arguments (name:=value):"]
        for argument in self.arguments:
            lines += ["", f"    '{argument.name}':", f"        {argument.description}"]
            if limits := argument.limits():
                lines.append(f"        {limits}")
            lines.append(f"        (default: '{argument.default}')")
        return "\n".join(lines)


def launch_file(name: str) -> Path:
    """Path of a stack's launch file, in the checkout or installed. Raises ConfigError."""
    if name not in STACK_NAMES:
        raise ConfigError(f"there is no stack {quoted(name)}; there are {', '.join(STACK_NAMES)}")
    path = shared_root() / "launch" / f"{name}.launch.py"
    if not path.is_file():
        raise ConfigError(f"{path} is missing: build the workspace again")
    return path


@functools.cache
def stack_named(name: str) -> Stack:
    """The stack that launch/NAME.launch.py declares. Raises ConfigError."""
    return runpy.run_path(str(launch_file(name)))["STACK"]


def all_stacks() -> dict[str, Stack]:
    """Every stack, by name. Raises ConfigError."""
    return {name: stack_named(name) for name in STACK_NAMES}


def parse(given: list[str] | tuple[str, ...]) -> dict[str, str]:
    """Dict of ``name:=value`` arguments. Raises ConfigError for another form."""
    found = {}
    for word in given:
        name, assigned, value = word.partition(":=")
        if not assigned or not name:
            raise ConfigError(f"{quoted(word)} is no argument; write name:=value")
        found[name] = value
    return found


def _expanded(name: str, value: str) -> str:
    found = os.path.expanduser(value)
    if found.startswith("~"):
        user = found.partition("/")[0]
        raise ConfigError(f"{name} is {quoted(value)}: there is no home folder {user}")
    return found


def _as_words(parameters: Mapping[str, Any]) -> list[str]:
    """Arguments ``-p name:=value``, with values as JSON, so that a text stays a text in YAML."""
    found: list[str] = []
    for name, value in parameters.items():
        value = list(value) if isinstance(value, tuple) else value
        found += ["-p", f"{name}:={json.dumps(value)}"]
    return found


def _check_params_file(path: str) -> None:
    try:
        load_yaml(Path(path))
    except OSError as error:
        raise ConfigError(f"params_file {path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"params_file {path}: not valid YAML: {text}") from error
