# SPDX-License-Identifier: Apache-2.0
"""A stack as data: arguments, nodes, parameters. Launch files and `ptp up` both read it."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ptp_core.data import yaml_text
from ptp_core.errors import ConfigError


@dataclass(frozen=True)
class Argument:
    """What a user may set: ``name:=value`` on the command line.

    A default of `AS_PRESET` stands for the value that the stack's ``presets`` have for it.
    """

    name: str
    default: str
    description: str
    choices: tuple[str, ...] = ()


Values = Mapping[str, str]
AS_PRESET = "preset"


@dataclass(frozen=True)
class From:
    """A parameter's value taken from arguments.

    ``convert`` turns the text of the argument into the value; by default text stays text.
    ``fallback`` is taken instead where the argument is empty.
    """

    argument: str
    convert: Callable[[str], Any] = str
    fallback: From | None = None


@dataclass(frozen=True)
class NodeSpec:
    """One node of a stack.

    ``when`` names an argument that must be "true", or what it must be or must not be, as
    "name=value" or "name!=value"; several, with commas between them, must all hold.
    ``essential``: its end ends the stack. ``respawn``: it is started again when it dies; an
    essential one ends the stack then only when it finishes well. ``optional``: left out, with a
    line that says so, where its package is not installed.
    """

    package: str
    executable: str
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    arguments: tuple[str | From, ...] = ()
    remap: tuple[tuple[str, str], ...] = ()
    when: str = ""
    essential: bool = True
    respawn: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Process:
    """A node with everything decided: what launch and `ptp up` start."""

    spec: NodeSpec
    defaults: dict[str, Any]  # parameters, weakest first: these,
    params_file: str  # then those of this file (empty: none),
    explicit: dict[str, Any]  # then those that the user gave as arguments
    arguments: tuple[str, ...]
    log_level: str

    @property
    def enclave(self) -> str:
        """Where the node's keys are in a keystore of SROS2; without SROS2 it means nothing."""
        return f"/ptp/{self.spec.name}"

    def command_line(self) -> list[str]:
        """Arguments of the executable, in the order in which ROS lets the last one win."""
        words = [*self.arguments, "--ros-args", "-r", f"__node:={self.spec.name}"]
        words += ["--enclave", self.enclave]
        for old, new in self.spec.remap:
            words += ["-r", f"{old}:={new}"]
        words += ["--log-level", self.log_level]
        words += _as_words(self.defaults)
        if self.params_file:
            words += ["--params-file", self.params_file]
        return words + _as_words(self.explicit)


@dataclass(frozen=True)
class Stack:
    """Nodes that belong together, and what a user may set."""

    name: str
    description: str
    arguments: tuple[Argument, ...]
    nodes: tuple[NodeSpec, ...]
    presets: Mapping[str, Values] = field(default_factory=dict)  # by the argument "preset"
    renamed: Values = field(default_factory=dict)  # arguments of earlier releases

    def values(self, given: Values) -> dict[str, str]:
        """Given arguments and defaults together.

        What is `AS_PRESET` gets the value of the preset; a ~ at the beginning is the home folder,
        as no shell expands it behind ":=". Raises ConfigError for an argument that does not exist,
        or had another name, and for a value that is no choice.
        """
        known = {argument.name: argument for argument in self.arguments}
        for name, value in given.items():
            if name in self.renamed:
                raise ConfigError(f"{self.name}: {name} is now {self.renamed[name]}")
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
                raise ConfigError(
                    f'{self.name} has no argument "{name}"; did you mean "{near}"? '
                    "--show-args lists them"
                )
            choices = known[name].choices
            if choices and value not in choices:
                raise ConfigError(f'{name} is "{value}"; it must be one of {", ".join(choices)}')
        values = {
            name: _expanded(name, given.get(name, argument.default))
            for name, argument in known.items()
        }
        preset = self.presets[values["preset"]] if self.presets else {}
        return {
            name: preset[name] if name in preset and value == AS_PRESET else value
            for name, value in values.items()
        }

    def processes(self, given: Values) -> list[Process]:
        """What to start for the given arguments. Raises ConfigError and CheckpointError."""
        values = self.values(given)
        params_file = values.get("params_file", "")
        if params_file:
            _check_params_file(params_file)
        defaults = self.values({})
        found = []
        for spec in self._here(values):
            weak, strong = {}, {}
            for name, value in spec.parameters.items():
                if isinstance(value, From):
                    if value.fallback is not None and not values[value.argument]:
                        value = value.fallback
                    text = values[value.argument]
                    chosen = text != defaults[value.argument]
                    (strong if chosen else weak)[name] = _convert(value, text)
                else:
                    weak[name] = value() if callable(value) else value
            found.append(
                Process(
                    spec,
                    weak,
                    params_file,
                    strong,
                    tuple(
                        str(_convert(word, values[word.argument]))
                        if isinstance(word, From)
                        else word
                        for word in spec.arguments
                    ),
                    values.get("log_level", "info"),
                )
            )
        return found

    def names(self, given: Values | None = None) -> tuple[str, ...]:
        """Names of the nodes that it has with these arguments, wherever it is installed.

        ``given`` None: those that it has with any arguments. Raises ConfigError.
        """
        values = None if given is None else self.values(given)
        return tuple(
            spec.name
            for spec in self.nodes
            if not spec.optional
            and (not spec.when if values is None else _wanted(spec.when, values))
        )

    def _here(self, values: Values) -> list[NodeSpec]:
        """Nodes for these values that run on this machine: ``only`` and ``without`` say which."""
        wanted = [spec for spec in self.nodes if _wanted(spec.when, values)]
        chosen = {}
        for name, known in (("only", wanted), ("without", self.nodes)):
            chosen[name] = set(words(values[name])) if values.get(name) else set()
            if unknown := chosen[name].difference(spec.name for spec in known):
                raise ConfigError(
                    f"{name} names {', '.join(sorted(unknown))}; with these arguments {self.name} "
                    f"has {', '.join(spec.name for spec in known)}"
                )
        here = [
            spec
            for spec in wanted
            if spec.name not in chosen["without"]
            and (not chosen["only"] or spec.name in chosen["only"])
        ]
        if not here:
            raise ConfigError("only and without leave no node to start on this machine")
        return here

    def show_arguments(self) -> str:
        """A text that explains every argument."""
        lines = [f"{self.name}: {self.description}", "", "Arguments (name:=value):"]
        for argument in self.arguments:
            lines += ["", f"    '{argument.name}':", f"        {argument.description}"]
            if argument.choices:
                lines.append(f"        one of: {', '.join(argument.choices)}")
            lines.append(f"        (default: '{argument.default}')")
        return "\n".join(lines)


def _expanded(name: str, value: str) -> str:
    found = os.path.expanduser(value)
    if found.startswith("~"):
        user = found.partition("/")[0]
        raise ConfigError(f'{name} is "{value}": there is no home folder {user}')
    return found


def _wanted(when: str, values: Values) -> bool:
    return all(_holds(condition, values) for condition in when.split(",") if condition)


def _holds(condition: str, values: Values) -> bool:
    name, _, value = condition.partition("=")
    if name.endswith("!"):
        return values[name[:-1]] != value
    return values[name] == (value or "true")


def _convert(source: From, text: str) -> Any:
    try:
        return source.convert(text)
    except ValueError:
        raise ConfigError(
            f'{source.argument} is "{text}"; it must be {_KINDS.get(source.convert, "different")}'
        ) from None


def flag(text: str) -> bool:
    """Text "true" or "false" as a bool."""
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def words(text: str) -> tuple[str, ...]:
    """A comma-separated list: "A,B" as ("A", "B")."""
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if not found:
        raise ValueError(text)
    return found


_KINDS = {
    int: "a whole number",
    float: "a number",
    flag: "true or false",
    words: "a list like A,B",
}


def _as_words(parameters: Mapping[str, Any]) -> list[str]:
    """``-p name:=value`` for each; JSON is YAML, and keeps text text."""
    found: list[str] = []
    for name, value in parameters.items():
        value = list(value) if isinstance(value, tuple) else value
        found += ["-p", f"{name}:={json.dumps(value)}"]
    return found


def _check_params_file(path: str) -> None:
    try:
        yaml_text.read(Path(path))
    except OSError as error:
        raise ConfigError(f"params_file {path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"params_file {path}: not valid YAML: {text}") from error
