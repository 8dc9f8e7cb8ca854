# SPDX-License-Identifier: Apache-2.0
"""Options that commands have in common: the scene, the networks, the planner, the environment."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptp_core.config import PlannerConfig


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add those of a run of episodes in process."""
    add = parser.add_argument
    add(
        "--protocol",
        choices=("paper", "varied"),
        default="paper",
        help="fixed scenes, or poses that vary (default: %(default)s)",
    )
    add("--seed", type=int, default=0, metavar="S", help="default: 0")
    add("--max-steps", type=int, default=400, metavar="N", help="control steps (default: 400)")
    add("--checkpoint", type=Path, metavar="DIR", help="default: the released one, in models/")
    add(
        "--planner",
        default="fast",
        metavar="NAME",
        help="fast, best, paper, or a YAML file with a planner section (default: fast)",
    )
    add(
        "--env",
        default="ptp_sim.env:make_env",
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
    from ptp_cli.shared import released_checkpoint

    return {
        "protocol": args.protocol,
        "seed": args.seed,
        "max_steps": args.max_steps,
        "checkpoint": args.checkpoint or released_checkpoint(),
        "planner": _planner(args.planner),
        "env": args.env,
        "env_kwargs": _arguments(args.env_arg),
    }


def _planner(name: str) -> PlannerConfig:
    from ptp_cli.shared import config_file
    from ptp_core.planners.factory import PRESETS, planner_config

    return planner_config(name if name in PRESETS else str(config_file(name)))


def _arguments(pairs: list[str]) -> dict[str, Any]:
    import yaml

    from ptp_core.errors import InputError

    arguments = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f'--env-arg "{pair}" has no "="; write NAME=VALUE')
        arguments[name] = yaml.safe_load(value)
    return arguments
