# SPDX-License-Identifier: Apache-2.0
"""Options that commands share.

Scene, networks, planner, environment; old names, and files that ship with us.
"""

from __future__ import annotations

import argparse
import dataclasses
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
    from ptp_core.agents.method import Method
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
    """Let ``parser`` answer each old name with what ``names`` says of it."""
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
    "ptp_sim.table_env:make_env",
    "ptp_sim.driven_env:make_env",
    "ptp_core.toy_env:make_env",
)


def check_factory(name: object, named: Collection[str], source: str) -> None:
    """Raise InputError unless ``name``, of the file ``source``, is shipped or ``named``."""
    if name not in (*SHIPPED, *named):
        raise InputError(
            f"{source} names the environment {str(name)[:100]!r}, which would be run as a "
            "program: if you trust it, name it with --env, too"
        )


def let_in(named: Collection[str]) -> None:
    """Let modules of the current folder be imported, where the user has named one.

    They come last: they shadow nothing.
    """
    if any(name not in SHIPPED for name in named):
        sys.path.append(os.getcwd())


ENV = "ptp_sim.table_env:make_env"  # the simulated table
CHECKPOINT = "checkpoint"  # planner settings: those that the checkpoint was made with


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add those of a run of episodes in process."""
    from ptp_core.agents.registry import methods

    known = methods()
    add = parser.add_argument
    add(
        "--method",
        choices=tuple(known),
        metavar="M",
        help="what acts: "
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
    add("--max-steps", type=int, default=400, metavar="N", help="control steps (default: 400)")
    add(
        "--subgoal-steps",
        type=int,
        metavar="N",
        help="control steps after which the next subgoal is pursued, reached or not (default: 30, "
        "the paper's; ptp_single_subgoal: as the checkpoint says)",
    )
    add(
        "--checkpoint",
        type=Path,
        metavar="DIR",
        help="with the parts that the method needs (default: the released one of the method, in "
        "models/)",
    )
    add(
        "--planner",
        metavar="NAME",
        help="how hard the ptp methods search: checkpoint (as its own settings say), fast, "
        "descent, best, paper, or a YAML file with a planner section, whose levels and subgoals "
        "must be the method's (default: checkpoint); gcp and leap have theirs in their "
        "checkpoints",
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


def run_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What these options say, by the names of EvaluationConfig and PracticeConfig.

    Raises InputError and ConfigError for what cannot be meant.
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
    """What these options mean by --checkpoint and --method. Raises CheckpointError."""
    pass  # HOUSE
    from ptp_core.agents.registry import checkpoint_for
    from ptp_core.training.manifest import read_contents

    if args.checkpoint is not None:
        return args.checkpoint, args.method or read_contents(args.checkpoint).agent
    released = released_checkpoint()
    if args.method is None:
        return released, read_contents(released).agent
    return checkpoint_for(args.method, released), args.method


def add_training_options(parser: argparse.ArgumentParser, precision: str) -> None:
    """Add those of a training that resumes; ``precision`` is the default."""
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    add("--resume", action="store_true", help="go on with the run in --out; what is done stays")
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
    """What these options say of the YAML's settings.

    Raises InputError where --out holds a run that is not to be resumed, or none that could be.
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
    """The checkpoint's settings with another timeout; None: the method's."""
    from ptp_core.training.checkpoint import load_checkpoint

    if steps is None:
        return None
    stored = method.follower(load_checkpoint(checkpoint).config.follower)
    return dataclasses.replace(stored, timeout=steps)


def _planner(name: str) -> dict[str, Any]:
    pass  # HOUSE
    from ptp_core.planners.presets import PRESETS, planner_settings

    return planner_settings(name if name in PRESETS else str(config_file(name)))


def env_arguments(pairs: list[str]) -> dict[str, Any]:
    """Arguments of an environment's factory, of NAME=VALUE. Raises InputError."""
    import yaml

    from ptp_core.errors import InputError

    arguments = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f'--env-arg "{pair}" has no "="; write NAME=VALUE')
        arguments[name] = yaml.safe_load(value)
    return arguments
