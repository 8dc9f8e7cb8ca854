# SPDX-License-Identifier: Apache-2.0
"""Options of `ptp practice`, written as a mapping: checked, and turned into a command line."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from ptp_cli.renamed import Renamed
from ptp_core.errors import ConfigError

# What the sweep itself says.
OURS = {"help", "task", "method", "seed", "protocol", "threads", "num-envs", "out"}
KINDS = {int: "a whole number", float: "a number"}


def option_words(options: Mapping[str, Any], source: str) -> list[str]:
    """The words of a command line, ["--epochs", "150", ...].

    Numbers and text are values, true sets a switch, a list repeats the option or fills it, a
    mapping gives NAME=VALUE. Raises ConfigError that names ``source`` and what is accepted.
    """
    known = {
        option.removeprefix("--"): action
        for action in _parser()._actions
        for option in action.option_strings
        if option.startswith("--") and not option.startswith("--no-")
    }
    renamed = {
        name: known.pop(name).now for name in list(known) if isinstance(known[name], Renamed)
    }
    accepted = [name for name in known if name not in OURS]
    words: list[str] = []
    for key, value in options.items():
        name = str(key).replace("_", "-")
        if name in OURS:
            raise ConfigError(f"{source}: options.{key} is not an option but the sweep's own key")
        if name in renamed:
            now = renamed[name].removeprefix("--").replace("-", "_")
            raise ConfigError(f"{source}: options.{key} is now {now}")
        if name not in accepted:
            names = ", ".join(entry.replace("-", "_") for entry in accepted)
            raise ConfigError(f'{source}: unknown key "options.{key}"; there are {names}')
        words += _option(f"--{name}", known[name], value, f"{source}: options.{key}")
    return words


def check_words(words: list[str]) -> int:
    """See that runs can begin with this command line of `ptp practice`; their epochs.

    Raises ConfigError, InputError and CheckpointError.
    """
    from ptp_cli.commands.practice import practice_settings
    from ptp_cli.main import make_parser
    from ptp_cli.options import run_settings
    from ptp_core.agents.registry import method_named
    from ptp_core.errors import InputError
    from ptp_core.training.manifest import read_contents

    args = make_parser().parse_args(words)
    settings = run_settings(args)
    practice_settings(args)
    folder = settings["checkpoint"]
    method_named(settings["method"]).check_parts(read_contents(folder).parts, folder)
    if args.demonstrations is not None and not args.demonstrations.exists():
        raise InputError(f"{args.demonstrations}: there is no such data set")
    if args.epochs < 1:
        raise InputError(f"epochs is {args.epochs}; it must be at least 1")
    return args.epochs


def _parser() -> argparse.ArgumentParser:
    from ptp_cli.commands import practice

    subparsers = argparse.ArgumentParser().add_subparsers()
    practice.add_parser(subparsers)
    return subparsers.choices["practice"]


def _option(name: str, action: argparse.Action, value: Any, where: str) -> list[str]:
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ConfigError(f"{where} is {value!r}; it must be true or false")
        if value:
            return [name]
        return [name.replace("--", "--no-", 1)] if len(action.option_strings) > 1 else []
    if isinstance(value, Mapping):
        value = [f"{key}={_text(entry)}" for key, entry in value.items()]
    values = value if isinstance(value, list) else [value]
    repeats = isinstance(action, argparse._AppendAction)
    if len(values) != 1 and not repeats and action.nargs not in ("+", "*"):
        raise ConfigError(f"{where} has {len(values)} values; it takes one")
    for entry in values:
        _check(action, entry, where)
    if repeats:
        return [f"{name}={_text(entry)}" for entry in values]  # "=": values may begin with "-"
    if action.nargs in ("+", "*"):
        return [name, *map(_text, values)]
    return [f"{name}={_text(values[0])}"]


def _check(action: argparse.Action, value: Any, where: str) -> None:
    kind = action.type or str
    wrong = value is None or (isinstance(value, (bool, Mapping, list)) and action.type is not None)
    try:
        converted = None if wrong else kind(_text(value))
    except (TypeError, ValueError):
        wrong = True
    if wrong:
        raise ConfigError(f"{where} is {value!r}; it must be {KINDS.get(kind, 'text')}")
    if action.choices is not None and converted not in action.choices:
        names = ", ".join(map(str, action.choices))
        raise ConfigError(f"{where} is {value!r}; it must be one of {names}")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
