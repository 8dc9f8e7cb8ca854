# SPDX-License-Identifier: Apache-2.0
"""Command line options that several commands share, and their conversion to settings."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptp_bringup.share_folder import (
    released_checkpoint,
    released_finetuned,
    shared_root,
)
from ptp_core.errors import InputError

if TYPE_CHECKING:
    from ptp_core.agents.registry import Method
    from ptp_core.config import FollowerConfig

__all__ = ["config_file", "released_checkpoint", "released_finetuned", "shared_root"]

BASELINES = {"--baselines": "--checkpoint, the folder of the method's own checkpoint"}


class Renamed(argparse.Action):
    """Ends the program with one line that names the option to give instead."""

    def __init__(self, option_strings, dest, *, now: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs="?", help=argparse.SUPPRESS)
        self.now = now

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Exit with status 2."""
        parser.exit(2, f"{parser.prog}: {option_string} is now {self.now}\n")


def add_renamed(parser: argparse.ArgumentParser, names: Mapping[str, str]) -> None:
    """Let ``parser`` answer each old option with the new name in ``names``."""
    for old, now in names.items():
        parser.add_argument(old, action=Renamed, now=now)


def config_file(name: str) -> Path:
    """Path of a configuration file: as given, below the shared folder, or "quick" for a preset."""
    path = Path(name)
    if path.exists() or path.is_absolute():
        return path
    root = shared_root()
    for candidate in (root / path, root / "config" / "train" / f"{name}.yaml"):
        if candidate.is_file():
            return candidate
    return path


SHIPPED = (
    "ptp_sim.env:make_env",
    "ptp_sim.driven_env:make_env",
    "ptp_sim.long_env:make_env",
    "ptp_core.toy_env:make_env",
)


def check_factory(name: object, named: Collection[str], source: str) -> None:
    """Raise InputError unless ``name`` of the file ``source`` is shipped or in ``named``."""
    if not is_shipped(name) and name not in named:
        raise InputError(
            f"{source} names the environment {str(name)[:100]!r}, which would be run as a "
            "program: if you trust it, name it with --env, too"
        )


def is_shipped(name: object) -> bool:
    """Whether ``name`` is an environment of this project, or of a guest that it knows."""
    from ptp_core.guests.known_guests import is_guest

    return name in SHIPPED or (isinstance(name, str) and is_guest(name))


def let_in(named: Collection[str]) -> None:
    """Add the current folder to the import path if the user has named an environment.

    It comes last, so that it hides no other module.
    """
    if not all(is_shipped(name) for name in named):
        sys.path.append(os.getcwd())


ENV = "ptp_sim.env:make_env"  # the simulated table
CHECKPOINT = "checkpoint"  # planner preset: the settings in the checkpoint
PLANNERS = (
    "checkpoint (its own settings), fast, descent, best, paper, or a YAML file with a planner "
    "section"
)
RELEASED = "released"  # fine-tuned policies and plans: those in models/


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that run episodes in process."""
    from ptp_core.agents.registry import methods

    known = methods()
    add = parser.add_argument
    add(
        "--method",
        choices=tuple(known),
        metavar="M",
        help="method: "
        + "; ".join(f"{name}: {method.summary}" for name, method in known.items())
        + " (default: the checkpoint's own)",
    )
    add(
        "--protocol",
        default="",
        metavar="P",
        help="how the environment draws scenes; the table has paper, fixed scenes, and varied, "
        "poses that vary (default: the environment's first)",
    )
    add("--seed", type=int, default=0, metavar="S", help="default: 0")
    add(
        "--max-steps",
        type=int,
        metavar="N",
        help="control steps (default: as many as the environment's tasks have, else 400)",
    )
    add(
        "--subgoal-steps",
        type=int,
        metavar="N",
        help="timeout of a subgoal in control steps (default: 30, the paper's; "
        "ptp_single_subgoal: the checkpoint's)",
    )
    add(
        "--checkpoint",
        type=Path,
        metavar="DIR",
        help="checkpoint with the parts that the method needs (default: the method's released "
        "one, in models/)",
    )
    add(
        "--planner",
        metavar="NAME",
        help=f"planner preset of the ptp methods: {PLANNERS}, whose levels and subgoals must be "
        "the method's (default: checkpoint); gcp and leap have theirs in their checkpoints",
    )
    add(
        "--env",
        default=ENV,
        metavar="MODULE:FACTORY",
        help="gymnasium environment (default: %(default)s)",
    )
    add(
        "--env-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="argument of the environment's factory, for example grasp=physical; repeatable",
    )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add --checkpoint, of commands that take the released one where it is not given."""
    parser.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="default: the released one, in models/"
    )


def add_finetuned(parser: argparse.ArgumentParser) -> None:
    """Add --finetuned; see `finetuned_folder`."""
    parser.add_argument(
        "--finetuned",
        nargs="?",
        const=RELEASED,
        metavar="DIR",
        help="use the fine-tuned policies and plans in DIR, written by ptp practice, for the "
        "goals that they practised; without DIR: the released ones, in models/",
    )


def finetuned_folder(args: argparse.Namespace) -> Path | None:
    """The folder that --finetuned names; None where it is not given."""
    if args.finetuned is None:
        return None
    return released_finetuned() if args.finetuned == RELEASED else Path(args.finetuned)


def add_num_envs(parser: argparse.ArgumentParser, what: str = "env workers") -> None:
    """Add --num-envs, by default one per core; ``what`` they are, for the help."""
    parser.add_argument(
        "--num-envs",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help=f"{what} (default: one per core)",
    )


def require_at_least(args: argparse.Namespace, **least: int) -> None:
    """Raise InputError for an option that is given and below its ``least`` value."""
    for name, lowest in least.items():
        value = getattr(args, name)
        if value is not None and value < lowest:
            raise InputError(f"{_option(name)} is {value}; it must be at least {lowest}")


def require_above_zero(args: argparse.Namespace, *names: str) -> None:
    """Raise InputError for one of these options that is not finite, 0 or less."""
    for name in names:
        value = getattr(args, name)
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{_option(name)} is {value:g}; it must be above 0")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def run_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Settings of these options, by the names of EvaluationConfig and PracticeConfig.

    Raises InputError and ConfigError for invalid options.
    """
    from ptp_core.agents.registry import method_named

    name = None if args.planner == CHECKPOINT else args.planner
    checkpoint, method = checkpoint_and_method(args)

    return {
        "protocol": args.protocol,
        "seed": args.seed,
        "max_steps": args.max_steps,
        "checkpoint": checkpoint,
        "follower": _follower(checkpoint, method_named(method), args.subgoal_steps),
        "method": method,
        "planner": None if name is None else _planner(name),
        "env": args.env,
        "env_kwargs": env_arguments(args.env_arg),
    }


def checkpoint_and_method(args: argparse.Namespace) -> tuple[Path, str]:
    """Checkpoint folder and method of these options. Raises CheckpointError."""
    from ptp_core.agents.registry import checkpoint_for
    from ptp_core.training.manifest import read_contents

    if args.checkpoint is not None:
        return args.checkpoint, args.method or read_contents(args.checkpoint).agent
    released = released_checkpoint()
    if args.method is None:
        return released, read_contents(released).agent
    return checkpoint_for(args.method, released), args.method


def add_training_options(parser: argparse.ArgumentParser, precision: str) -> None:
    """Add the options of a training that can resume; ``precision`` is the default."""
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    add("--resume", action="store_true", help="resume the run in --out")
    add("--seed", type=int, metavar="S", help="seed of the training (from the YAML)")
    add("--threads", type=int, metavar="N", help="torch threads (from the YAML)")
    add("--device", choices=("cpu", "cuda", "auto"), help="(from the YAML)")
    add(
        "--precision",
        choices=("float32", "float16"),
        default=precision,
        help="of the stored weights; float16 halves the files (default: %(default)s)",
    )


def training_overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Settings of these options, which override the YAML's.

    Raises InputError where --out holds a run and --resume is missing, or the other way round.
    """
    from ptp_core.data.files import LOCK
    from ptp_core.errors import InputError

    holds = args.out.is_dir() and any(path.name != LOCK for path in args.out.iterdir())
    if holds and not args.resume:
        raise InputError(f"{args.out} holds a run: go on with --resume, or choose another --out")
    if args.resume and not holds:
        raise InputError(f"{args.out} holds no run to go on with: leave --resume out to begin one")
    given = {"seed": args.seed, "threads": args.threads, "device": args.device}
    return {key: value for key, value in given.items() if value is not None}


def _follower(checkpoint: Path, method: Method, steps: int | None) -> FollowerConfig | None:
    """The checkpoint's follower settings with another timeout; None without one."""
    from ptp_core.training.checkpoint import load_checkpoint

    if steps is None:
        return None
    stored = method.follower(load_checkpoint(checkpoint).config)
    return dataclasses.replace(stored, timeout=steps)


def _planner(name: str) -> dict[str, Any]:
    from ptp_core.config.train_config import PLANNER_PRESETS, planner_settings

    return planner_settings(name if name in PLANNER_PRESETS else str(config_file(name)))


def env_arguments(pairs: list[str]) -> dict[str, Any]:
    """Arguments of an environment's factory from NAME=VALUE texts. Raises InputError."""
    import yaml

    from ptp_core.data.file_limits import parse_yaml
    from ptp_core.errors import InputError

    arguments = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f'--env-arg "{pair}" has no "="; write NAME=VALUE')
        try:
            arguments[name] = parse_yaml(value)
        except yaml.YAMLError as error:
            text = " ".join(str(error).split())
            raise InputError(f"--env-arg {name}: not valid YAML: {text}") from error
    return arguments


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that leave out refused steps and report why."""
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write the validation report as JSON"
    )
    parser.add_argument(
        "--min-steps",
        type=int,
        default=10,
        metavar="N",
        help="shortest sequence of steps without a refused one (default: %(default)s)",
    )
