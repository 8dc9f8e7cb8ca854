# SPDX-License-Identifier: Apache-2.0
"""`ptp demo-teleop`: record demonstrations with a scripted gamepad, and fine-tune on them."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "demo-teleop",
        help="record demonstrations with a scripted gamepad, and fine-tune on them",
        description="Start the teleop stack on the simulated table. A scripted gamepad "
        "demonstrates and records, through the same messages as a real one. The recordings are "
        "imported as a data set, and the checkpoint's policy is fine-tuned on it for some steps. "
        "result.json has the distance between its actions and the demonstrated ones, before and "
        "after, for training and held-out demonstrations. Files of an earlier run in the same "
        "folder are replaced.",
    )
    add = parser.add_argument
    add("--episodes", type=int, default=10, metavar="N", help="to record (default: 10)")
    add("--tasks", nargs="+", metavar="T", help="default: all of the table")
    add("--seed", type=int, default=0, metavar="S", help="of scenes and training (default: 0)")
    add(
        "--steps", type=int, default=100, metavar="N", help="gradient steps (default: %(default)s)"
    )
    add(
        "--held-out",
        type=float,
        default=0.2,
        metavar="X",
        help="held-out part of the demonstrations (default: %(default)s)",
    )
    add(
        "--rate",
        type=float,
        default=30.0,
        metavar="HZ",
        help="control steps per second, at most (default: %(default)s)",
    )
    add("--learning-rate", type=float, metavar="X", help="default: the paper's 3e-4")
    add(
        "--out",
        type=Path,
        default=Path("out", "demo-teleop"),
        metavar="DIR",
        help="default: %(default)s",
    )
    add("--checkpoint", type=Path, metavar="DIR", help="default: the released one, in models/")


def run(args: argparse.Namespace) -> int:
    """Run the demo; return the exit status."""
    import os

    from ptp_core.errors import InputError

    for name, least in (("episodes", 2), ("seed", 0), ("steps", 1)):
        if getattr(args, name) < least:
            raise InputError(f"--{name} is {getattr(args, name)}; it must be at least {least}")
    for name, most in (("held_out", 1.0), ("rate", 60.1), ("learning_rate", 1.0)):
        value = getattr(args, name)
        if value is not None and not 0.0 < value < most:
            word = name.replace("_", "-")
            raise InputError(f"--{word} is {value:g}; it must be above 0 and below {most:g}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the nodes need the cores

    from ptp_cli.demo.teleop_demo import Settings, demonstrate
    from ptp_cli.options import released_checkpoint
    from ptp_core.learning.online_learner import LEARNING_RATE
    from ptp_core.training.checkpoint import load_checkpoint
    from ptp_sim.tasks import TASKS

    tasks = tuple(dict.fromkeys(args.tasks or TASKS))
    unknown = [task for task in tasks if task not in TASKS]
    if unknown:
        raise InputError(f'--tasks: there is no task "{unknown[0]}"; there are {", ".join(TASKS)}')
    settings = Settings(
        episodes=args.episodes,
        tasks=tasks,
        seed=args.seed,
        steps=args.steps,
        held_out=args.held_out,
        rate=args.rate,
        learning_rate=args.learning_rate or LEARNING_RATE,
        out=args.out,
    )
    return demonstrate(settings, load_checkpoint(args.checkpoint or released_checkpoint()))
