# SPDX-License-Identifier: Apache-2.0
"""Sphinx extension that writes reference pages from the sources, into docs/generated/.

Interfaces come from the .msg, .srv and .action files, commands from the parsers of `ptp`, and
arguments of stacks from the launch files. The pages of the API name modules; autodoc reads their
docstrings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INTERFACES = ROOT / "src" / "ptp_interfaces"
SOURCES = ROOT / "src"
# Commands have a page of their own, and helpers of our tests none.
LEFT_OUT = re.compile(r"ptp_cli|.*(_testing|\.fuzzing|\.tiny_networks|\.running_stack)$")
OPTIONS = "   :members:\n   :ignore-module-all:\n"  # without what a package only passes on
KINDS = {"msg": "Messages", "srv": "Services", "action": "Actions"}


def setup(app):
    """Write the pages before Sphinx looks for files."""
    app.connect("config-inited", lambda app, config: write_pages(Path(app.srcdir)))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_pages(top: Path) -> None:
    """Write every generated page below ``top``/docs/generated."""
    from ptp_bringup.stacks import all_stacks
    from ptp_cli.main import COMMANDS, make_parser

    os.environ["COLUMNS"] = "99"
    (choices,) = make_parser()._subparsers._group_actions
    helps = {name: choices.choices[name].format_help() for name in COMMANDS}
    stacks = {name: stack.show_arguments() for name, stack in all_stacks().items()}
    folder = top / "docs" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "interfaces.md": interfaces_page(read_interfaces(INTERFACES)),
        "commands.md": text_page(
            "Commands",
            "What `ptp COMMAND --help` prints. [Use the command line](../cli.md) has exit "
            "statuses, colours and completion.",
            {f"ptp {name}": text for name, text in helps.items()},
        ),
        "stacks.md": text_page(
            "Arguments of stacks",
            "What `ptp up STACK --show-args` prints. `ros2 launch` takes the same arguments "
            "([run the stack](../running.md)).",
            {
                f"ptp up {name}": text.replace(str(ROOT), "PATH")  # defaults of this checkout
                for name, text in stacks.items()
            },
        ),
    }
    pages |= {f"api/{name}.md": text for name, text in api_pages(SOURCES).items()}
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def text_page(title: str, about: str, sections: Mapping[str, str]) -> str:
    """A page with a section of plain text for each entry."""
    parts = [f"# {title}", about]
    for name, text in sections.items():
        parts += [f"## {name}", f"```text\n{text.strip()}\n```"]
    return "\n\n".join(parts) + "\n"


def api_pages(sources: Path) -> dict[str, str]:
    """Pages of the API by name: one for each folder of modules, and an index of them."""
    folders: dict[str, list[str]] = {}
    for path in sorted(sources.glob("*/*/**/*.py")):
        words = path.relative_to(sources).with_suffix("").parts[1:]
        module = ".".join(words)
        if words[0] == path.relative_to(sources).parts[0] and not LEFT_OUT.match(module):
            folders.setdefault(".".join(words[:-1]), []).append(module)
    pages = {}
    for folder, modules in folders.items():
        parts = [f"# {folder}"]
        for module in sorted(modules, key=lambda name: not name.endswith(".__init__")):
            name = module.removesuffix(".__init__")
            if name == module:
                parts.append(f"## {module.rpartition('.')[2]}")
            parts.append(f"```{{eval-rst}}\n.. automodule:: {name}\n{OPTIONS}```")
        pages[folder] = "\n\n".join(parts) + "\n"
    names = "\n".join(pages)
    pages["index"] = (
        "# API\n\nPublic classes and functions, from their docstrings; one page a folder of "
        f"modules.\n\n```{{toctree}}\n:maxdepth: 1\n\n{names}\n```\n"
    )
    return pages


def read_interfaces(folder: Path) -> dict[str, str]:
    """Definitions of an interface package by "kind/Name", for example "msg/Goal"."""
    return {
        f"{kind}/{path.stem}": path.read_text(encoding="utf-8")
        for kind in KINDS
        for path in sorted((folder / kind).glob(f"*.{kind}"))
    }


def summary(definition: str) -> str:
    """The first sentence of the comment at the top; empty without one."""
    comment = re.match(r"(?:#.*\n?)*", definition).group()
    words = " ".join(line.lstrip("# ") for line in comment.splitlines())
    return re.split(r"(?<=[.;]) ", words, maxsplit=1)[0]


def used_messages(definition: str, names: Iterable[str]) -> list[str]:
    """Messages of ``names`` that fields of a definition have as their type."""
    types = re.findall(r"^([A-Z]\w*)(?:\[[^\]]*\])? +\w+", definition, re.MULTILINE)
    return sorted(set(types) & set(names))


def interfaces_page(definitions: Mapping[str, str]) -> str:
    """The page of all interfaces: a table, then each definition with links to what it uses."""
    messages = [key.partition("/")[2] for key in definitions if key.startswith("msg/")]
    uses = {key: used_messages(text, messages) for key, text in definitions.items()}
    parts = [
        "# Interfaces",
        "The messages, services and actions of `ptp_interfaces`. Units are SI. A comment beside "
        "a field says what it means.",
    ]
    for kind, title in KINDS.items():
        keys = [key for key in definitions if key.startswith(f"{kind}/")]
        rows = [f"| {_link(key)} | {summary(definitions[key])} |" for key in keys]
        parts += [f"## {title}", "\n".join(["| name | |", "|---|---|", *rows])]
        for key in keys:
            parts += [
                f"({_anchor(key)})=\n### {key.partition('/')[2]}",
                f"```text\n{definitions[key].strip()}\n```",
            ]
            if uses[key]:
                parts.append(f"Has: {', '.join(_link(f'msg/{name}') for name in uses[key])}")
            name = key.removeprefix("msg/")
            if used := [other for other, names in uses.items() if name in names]:
                parts.append(f"In: {', '.join(map(_link, used))}")
    return "\n\n".join(parts) + "\n"


def _anchor(key: str) -> str:
    return "interface-" + key.replace("/", "-").lower()


def _link(key: str) -> str:
    return f"[{key.partition('/')[2]}](#{_anchor(key)})"
