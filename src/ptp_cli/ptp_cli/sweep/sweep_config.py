# SPDX-License-Identifier: Apache-2.0
"""Configuration of a sweep: one `ptp practice` for each method, variant, task and seed."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptp_cli.options import ENV, Renamed, check_factory, env_arguments
from ptp_core.agents.registry import checkpoint_for, method_named, methods
from ptp_core.config import from_dict, to_dict
from ptp_core.config.loading import read_yaml, require
from ptp_core.data.env_spec import declared_spec
from ptp_core.data.file_limits import load_json
from ptp_core.data.files import write_atomically
from ptp_core.errors import ConfigError, InputError, quoted

# Options that the sweep itself sets.
OURS = {"help", "task", "method", "seed", "protocol", "threads", "num-envs", "out"}
KINDS = {int: "a whole number", float: "a number"}


def option_words(options: Mapping[str, Any], source: str, section: str = "options") -> list[str]:
    """Command line arguments of ``options``, ["--epochs", "150", ...].

    Numbers and text are values, true sets a switch, a list repeats the option or fills it, a
    mapping gives NAME=VALUE. Raises ConfigError that names ``source``, the ``section`` of the file
    and what is accepted.
    """
    known = {
        option.removeprefix("--"): action
        for action in _practice_parser()._actions
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
            raise ConfigError(
                f"{source}: {section}.{key} is not an option but the sweep's own key"
            )
        if name in renamed:
            now = renamed[name].removeprefix("--").replace("-", "_")
            raise ConfigError(f"{source}: {section}.{key} is now {now}")
        if name not in accepted:
            names = ", ".join(entry.replace("-", "_") for entry in accepted)
            raise ConfigError(f'{source}: unknown key "{section}.{key}"; there are {names}')
        words += _option(f"--{name}", known[name], value, f"{source}: {section}.{key}")
    return words


def check_words(words: list[str]) -> dict[str, Any]:
    """Check these arguments of `ptp practice`; the value of every option by its name.

    Settings that are not given have the preset's values. Raises ConfigError, InputError and
    CheckpointError.
    """
    from ptp_cli.commands.practice import practice_settings
    from ptp_cli.options import run_settings
    from ptp_core.agents.registry import method_named
    from ptp_core.errors import InputError
    from ptp_core.training.manifest import read_contents

    args = _practice_parser().parse_args(words)
    settings = run_settings(args)
    practised = practice_settings(args)
    folder = settings["checkpoint"]
    method_named(settings["method"]).check_parts(read_contents(folder).parts, folder)
    if args.demonstrations is not None and not args.demonstrations.exists():
        raise InputError(f"{args.demonstrations}: there is no such data set")
    if args.epochs < 1:
        raise InputError(f"epochs is {args.epochs}; it must be at least 1")
    return {**vars(args), **practised, "preset": None}


def _practice_parser() -> argparse.ArgumentParser:
    from ptp_cli.commands import practice

    subparsers = argparse.ArgumentParser(prog="ptp").add_subparsers()
    practice.add_practice(subparsers)
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


ABOUT = "sweep.json"  # in the sweep's folder: its configuration
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # of a variant: its folder
RENAMED = {"worlds": "num_envs"}  # keys of earlier versions
MEMORY_GIB = 1.5  # of a run; 150 epochs keep 300,000 steps


def _practising() -> tuple[str, ...]:
    """Methods that practise and are told their goals by pictures, as most environments give."""
    return tuple(name for name, one in methods().items() if one.practises and one.follows)


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """The file of `ptp sweep`."""

    methods: tuple[str, ...] = field(default_factory=_practising)
    tasks: tuple[str, ...] = ()  # (): the default ones of the environment
    seeds: tuple[int, ...] = (0, 1, 2)  # paper: three
    protocol: str = ""  # of the environment; "": its first
    threads: int = 1  # of each run's learner
    num_envs: int = 0  # env workers of each run; 0: its learner acts, too
    memory_gib: float = MEMORY_GIB  # of each run: how many fit on the machine
    checkpoints: dict[str, str] = field(default_factory=dict)  # of methods, by name
    # None is needed where the options' checkpoint has a method's parts, or the folder of the
    # method's name beside it is one.
    options: dict[str, Any] = field(default_factory=dict)  # of ptp practice, _ or - in names
    # Name -> the options that this variant changes. {}: every method practises once.
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    # Variant -> the one that a report subtracts from it. {}: the first one, from all others.
    controls: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("methods", "tasks", "seeds"):
            values = getattr(self, name)
            if not values and name != "tasks":
                raise ConfigError(f"{name} is empty: name at least one")
            if len(set(values)) < len(values):
                raise ConfigError(f"{name} names something twice: {', '.join(map(str, values))}")
        for method in self.checkpoints:
            method_named(method)
        for method in self.methods:
            if not method_named(method).practises:
                raise ConfigError(f"{method} learns from demonstrations alone: only evaluate it")
        self._check_variants()
        require(self, "threads", 1)
        require(self, "num_envs", 0)
        require(self, "memory_gib", 0.01)

    def _check_variants(self) -> None:
        for name, options in self.variants.items():
            if not isinstance(name, str) or not NAME.fullmatch(name):
                raise ConfigError(
                    f"variants has the name {name!r}; a name is letters, digits, - and _, and "
                    "begins with a letter or digit"
                )
            if not isinstance(options, Mapping):
                raise ConfigError(f"variants.{name} is {options!r}; it must be a mapping")
        for pair in self.controls.items():
            for name in pair:
                if name not in self.variants:
                    names = ", ".join(self.variants) or "none"
                    raise ConfigError(f"controls names the variant {name!r}; there are {names}")
            if pair[0] == pair[1]:
                raise ConfigError(f"controls.{pair[0]} is {pair[0]} itself; name another variant")
        if not self.controls:
            first, *others = self.variants or ("",)
            object.__setattr__(self, "controls", dict.fromkeys(others, first))

    @property
    def cores(self) -> int:
        """Of each run."""
        return self.threads + self.num_envs


@dataclass(frozen=True)
class SweepRun:
    """One run of the sweep."""

    method: str
    task: str
    seed: int
    folder: Path
    epochs: int
    words: tuple[str, ...]  # after "ptp"
    variant: str = ""  # "": the sweep has none

    @property
    def name(self) -> str:
        """Name for display, and of its folder in the sweep's folder."""
        return run_name(self.method, self.task, self.seed, self.variant)


def run_name(method: str, task: str, seed: int, variant: str = "") -> str:
    """The folder of a run below that of its sweep."""
    return f"{method_name(method, variant)}/{task}/seed_{seed}"


def method_name(method: str, variant: str) -> str:
    """Name of a method in a variant, VARIANT/METHOD; METHOD where there is no variant."""
    return f"{variant}/{method}" if variant else method


def load_sweep(path: Path, env: str = "") -> SweepConfig:
    """Read a sweep's file. Raises ConfigError that names the key and what is accepted.

    ``env``: an environment that the file may name beside the shipped ones; InputError for others.
    """
    values = read_yaml(path)
    known = [entry.name for entry in dataclasses.fields(SweepConfig)]
    unknown = [key for key in values if key not in known] if isinstance(values, dict) else []
    if unknown and unknown[0] in RENAMED:
        raise ConfigError(f"{path}: {unknown[0]} is now {RENAMED[unknown[0]]}")
    if unknown:
        raise ConfigError(
            f"{path}: unknown key {quoted(unknown[0])}; there are {', '.join(known)}"
        )
    config = from_dict(SweepConfig, values, source=str(path))
    option_words(config.options, str(path))
    options = _underscored(config.options)
    if "env" in options:
        check_factory(options["env"], [env], str(path))
    variants = {name: _underscored(changes) for name, changes in config.variants.items()}
    _check_changes(options, variants, str(path))
    return dataclasses.replace(config, options=options, variants=variants)


def _underscored(options: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key).replace("-", "_"): value for key, value in options.items()}


def _check_changes(
    options: Mapping[str, Any], variants: Mapping[str, Mapping[str, Any]], source: str
) -> None:
    """Raise ConfigError for options that a variant cannot have, and for two equal variants."""
    known: dict[str, dict[str, Any]] = {}
    for name, changes in variants.items():
        option_words(changes, source, f"variants.{name}")
        if "env" in changes:
            raise ConfigError(
                f"{source}: variants.{name}.env: all variants practise in one environment: name "
                "it under options"
            )
        merged = {**options, **changes}
        for other, values in known.items():
            if values == merged:
                raise ConfigError(
                    f"{source}: the variants {other} and {name} are the same: drop one"
                )
        known[name] = merged


def as_declared(config: SweepConfig) -> SweepConfig:
    """Configuration with the environment's tasks and protocol as defaults.

    Raises InputError for unknown tasks or protocol.
    """
    arguments = config.options.get("env_arg", {})
    if not isinstance(arguments, dict):  # NAME=VALUE, as `ptp practice` has them
        entries = arguments if isinstance(arguments, list) else [arguments]
        arguments = env_arguments([str(entry) for entry in entries])
    name = config.options.get("env", ENV)
    spec = declared_spec(name, arguments, config.tasks, config.protocol)
    tasks, protocol = spec.choose_tasks(config.tasks), spec.choose_protocol(config.protocol)
    return dataclasses.replace(config, tasks=tasks, protocol=protocol)


def runs_of(config: SweepConfig, out: Path) -> list[SweepRun]:
    """Every run, each method on each task with the first seed first; its variants in a row.

    Variants that are the same for a method are run once, see `same_variants`. Raises ConfigError,
    InputError and CheckpointError for what no run could begin with.
    """
    same = same_variants(config)
    commands = {
        (method, variant): _words(config, method, variant)
        for method in config.methods
        for variant in config.variants or ("",)
        if variant not in same.get(method, {})
    }
    epochs = {
        key: check_words(["--out", str(out), *words])["epochs"] for key, words in commands.items()
    }
    return [
        SweepRun(
            method,
            task,
            seed,
            folder := out / run_name(method, task, seed, variant),
            epochs[method, variant],
            (
                *("practice", "--task", task, "--seed", str(seed)),
                *words,
                *("--out", str(folder)),
            ),
            variant,
        )
        for seed in config.seeds
        for task in config.tasks
        for (method, variant), words in commands.items()
    ]


def same_variants(config: SweepConfig) -> dict[str, dict[str, str]]:
    """Variants that are no runs of their own: {method: {variant: the earlier one that it equals}}.

    A method without plans, for example, has none to reuse. Raises as `runs_of` does.
    """
    found: dict[str, dict[str, str]] = {}
    for method in config.methods:
        known: dict[str, dict[str, Any]] = {}
        for variant in config.variants:
            settings = check_words(["--out", ".", *_words(config, method, variant)])
            equal = next((name for name in known if known[name] == settings), None)
            if equal is None:
                known[variant] = settings
            else:
                found.setdefault(method, {})[variant] = equal
    return found


def _words(config: SweepConfig, method: str, variant: str) -> list[str]:
    """Arguments that all runs of a method in a variant share."""
    changes = config.variants.get(variant, {})
    options, found = {**config.options, **changes}, method_named(method)
    if not found.takes_planner:
        options.pop("planner", None)  # settings of the ptp methods, which others refuse
    if method in config.checkpoints and "checkpoint" not in changes:
        options["checkpoint"] = config.checkpoints[method]
    elif "checkpoint" in options:
        options["checkpoint"] = str(checkpoint_for(method, Path(options["checkpoint"])))
    if not found.plans:
        options.pop("reuse_plans", None)
    return [
        *("--method", method, "--protocol", config.protocol),
        *("--threads", str(config.threads), "--num-envs", str(config.num_envs)),
        *option_words(options, "options"),
    ]


def remember(config: SweepConfig, out: Path, source: str, epochs: int) -> None:
    """Write the sweep's configuration into its folder, and which variants are not run twice.

    Runs may be added or removed, and epochs may increase. Raises InputError if the folder holds a
    sweep with another protocol or other options, because its runs would count as runs of this one.
    """
    path = out / ABOUT
    values = {"source": source, "epochs": epochs, **to_dict(config)}
    values["same_variants"] = same_variants(config)
    if path.exists():
        earlier = read_about(out)
        for key in sorted({*earlier["options"], *config.options} - {"epochs"} | {"protocol"}):
            was, is_now = (
                entry["protocol"] if key == "protocol" else entry["options"].get(key)
                for entry in (earlier, values)
            )
            if was != is_now:
                raise InputError(
                    f"{out} holds a sweep with {key} {_shown(was)}, not {_shown(is_now)}: name "
                    "another folder with --out"
                )
        for method in sorted(earlier["checkpoints"].keys() & config.checkpoints.keys()):
            was, is_now = (entry["checkpoints"][method] for entry in (earlier, values))
            if was != is_now:
                raise InputError(
                    f"{out} holds a sweep with the checkpoint {was} for {method}, not {is_now}: "
                    "name another folder with --out"
                )
        _check_earlier_variants(earlier["variants"], config.variants, out)
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(values, indent=2) + "\n"
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def _check_earlier_variants(
    earlier: Mapping[str, Mapping[str, Any]], today: Mapping[str, Mapping[str, Any]], out: Path
) -> None:
    """Variants may be added or removed. Raises InputError where one has other options."""
    if bool(earlier) != bool(today):
        held = "with" if earlier else "without"
        raise InputError(f"{out} holds a sweep {held} variants: name another folder with --out")
    for name in sorted(earlier.keys() & today.keys()):
        was, is_now = (
            {key: value for key, value in entry[name].items() if key != "epochs"}
            for entry in (earlier, today)
        )
        if was != is_now:
            raise InputError(
                f"{out} holds a sweep with {_shown(was)} for the variant {name}, not "
                f"{_shown(is_now)}: name another folder with --out"
            )


def read_about(out: Path) -> dict[str, Any]:
    """The configuration that `remember` wrote. Raises InputError when it is damaged."""
    path = out / ABOUT
    try:
        values = load_json(path)
        names = ("methods", "tasks", "seeds", "options", "protocol", "epochs", "source")
        added = ("checkpoints", "controls")  # sweeps of earlier versions have none of these
        nested = ("variants", "same_variants")
        return (
            {name: values[name] for name in names}
            | {name: dict(values.get(name, {})) for name in added}
            | {
                name: {key: dict(entry) for key, entry in values.get(name, {}).items()}
                for name in nested
            }
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: damaged ({error!r}): delete it to go on") from error


def _shown(value: Any) -> str:
    return "by default" if value is None else json.dumps(value)
