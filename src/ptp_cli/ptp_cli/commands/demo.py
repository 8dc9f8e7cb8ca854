# SPDX-License-Identifier: Apache-2.0
"""`ptp demo`, `ptp demo-teleop`: show the target tasks, and learning from teleoperation."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ptp_cli.options import (
    CHECKPOINT,
    PLANNERS,
    RELEASED,
    add_checkpoint,
    config_file,
    released_checkpoint,
    released_finetuned,
    require_at_least,
)

if TYPE_CHECKING:
    from ptp_cli.demo.demo_run import DemoPart

SHOWN = ("A", "B", "C", "D", "long_1", "long_2")
"""Two primitives in fixed scenes, three in scenes that vary, two instructions for one scene."""


def add_demo(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "demo",
        help="run the target tasks in simulation; films and figures",
        description="Run tasks on the simulated table, with planner, policy and encoder as ROS 2 "
        "nodes. A, B and C start from the authors' fixed scenes. D, E and F take three or four "
        "primitives in scenes that vary. long_1 to long_10 are told in words. Write a film and "
        "the planned subgoals of each episode, the figures and a page that shows them. It takes a "
        "few minutes. Files of an earlier demo in the same folder are replaced.",
    )
    add = parser.add_argument
    add(
        "--tasks",
        nargs="+",
        metavar="T",
        help=f"default: {' '.join(SHOWN)}; with --checkpoint A B C",
    )
    add("--episodes", type=int, default=1, metavar="N", help="of each task (default: 1)")
    add("--seed", type=int, default=0, metavar="S", help="of plans and actions (default: 0)")
    add(
        "--out",
        type=Path,
        default=Path("out", "demo"),
        metavar="DIR",
        help="default: %(default)s",
    )
    add_checkpoint(parser)
    add(
        "--planner",
        default=CHECKPOINT,
        metavar="NAME",
        help=f"{PLANNERS} (default: checkpoint)",
    )
    add(
        "--finetuned",
        default=RELEASED,
        metavar="DIR",
        help="folder of fine-tuned policies of these tasks; none: the policy as trained offline "
        "(default: those in models/, if the checkpoint is the released one)",
    )
    add(
        "--max-steps",
        type=int,
        metavar="N",
        help="control steps of every episode (default: as many as its task has)",
    )


def run_demo(args: argparse.Namespace) -> int:
    """Run the demo; return the exit status."""
    import os

    require_at_least(args, episodes=1, seed=0, max_steps=1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the nodes need the cores

    from ptp_cli.demo.demo_run import DemoPart, DemoSettings, show
    from ptp_core.agents.ptp import planner_of
    from ptp_core.agents.registry import DEFAULT_METHOD, method_named
    from ptp_core.config.train_config import PLANNER_PRESETS, planner_settings
    from ptp_core.training.checkpoint import load_checkpoint

    planner = args.planner
    if planner not in (*PLANNER_PRESETS, CHECKPOINT):
        planner = str(config_file(planner))
    if args.checkpoint:
        finetuned = None if args.finetuned in ("none", RELEASED) else Path(args.finetuned)
        tasks, checkpoint = _tasks(args.tasks), load_checkpoint(args.checkpoint)
        parts = (DemoPart(tasks, checkpoint, "", "paper", planner, finetuned),)
    else:
        parts = _released_parts(_tasks(args.tasks or SHOWN, words=True), planner, args.finetuned)
    if planner != CHECKPOINT:  # report an invalid preset now, before the nodes start
        method = method_named(DEFAULT_METHOD)
        planner_of(method, parts[0].checkpoint.config.planner, planner_settings(planner))
    settings = DemoSettings(
        parts=parts,
        episodes=args.episodes,
        seed=args.seed,
        max_steps=args.max_steps,
        out=args.out,
        chosen=bool(args.checkpoint),
    )
    return show(settings)


def _released_parts(tasks: Sequence[str], planner: str, finetuned: str) -> tuple[DemoPart, ...]:
    """The tasks with the released checkpoints that are made for them.

    Raises InputError where a planner is chosen, and no task has it.
    """
    from ptp_cli.demo.demo_run import DemoPart
    from ptp_core.errors import InputError
    from ptp_core.training.checkpoint import load_checkpoint
    from ptp_sim.long_tasks import LONG_TASKS
    from ptp_sim.tasks import PAPER_TASKS

    known = released_finetuned()
    folder = known if known.is_dir() else None
    if finetuned != RELEASED:
        folder = None if finetuned == "none" else Path(finetuned)
    models = released_checkpoint().parent
    rest = [task for task in tasks if task not in (*PAPER_TASKS, *LONG_TASKS)]
    if planner != CHECKPOINT and not set(tasks) & set(PAPER_TASKS):
        raise InputError(f"--planner is for {', '.join(PAPER_TASKS)}, and none of them is shown")
    kinds = (
        ([task for task in tasks if task in PAPER_TASKS], released_checkpoint(), "", "paper"),
        (rest, models / "varied", "ptp_legs", "varied"),
        ([task for task in tasks if task in LONG_TASKS], models / "lbp", "lbp", "varied"),
    )
    return tuple(
        DemoPart(
            tuple(chosen),
            load_checkpoint(path),
            method,
            protocol,
            CHECKPOINT if method else planner,
            None if method else folder,
        )
        for chosen, path, method, protocol in kinds
        if chosen
    )


def add_demo_teleop(subparsers) -> None:
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
    add("--tasks", nargs="+", metavar="T", help="default: those of two stages, A B C")
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
    add_checkpoint(parser)


def run_demo_teleop(args: argparse.Namespace) -> int:
    """Run the demo; return the exit status."""
    import os

    from ptp_core.errors import InputError

    require_at_least(args, episodes=2, seed=0, steps=1)
    for name, most in (("held_out", 1.0), ("rate", 60.1), ("learning_rate", 1.0)):
        value = getattr(args, name)
        if value is not None and not 0.0 < value < most:
            word = name.replace("_", "-")
            raise InputError(f"--{word} is {value:g}; it must be above 0 and below {most:g}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the nodes need the cores

    from ptp_cli.demo.teleop_demo import Settings, demonstrate
    from ptp_core.learning.online_learner import LEARNING_RATE
    from ptp_core.training.checkpoint import load_checkpoint

    settings = Settings(
        episodes=args.episodes,
        tasks=_tasks(args.tasks),
        seed=args.seed,
        steps=args.steps,
        held_out=args.held_out,
        rate=args.rate,
        learning_rate=args.learning_rate or LEARNING_RATE,
        out=args.out,
    )
    return demonstrate(settings, load_checkpoint(args.checkpoint or released_checkpoint()))


def _tasks(names: Sequence[str] | None, words: bool = False) -> tuple[str, ...]:
    """The named tasks of the table, by default those of two stages. Raises InputError.

    ``words``: those that are told in words, too.
    """
    from ptp_core.errors import InputError, quoted
    from ptp_sim.long_tasks import LONG_TASKS
    from ptp_sim.tasks import PAPER_TASKS, TASKS

    tasks = tuple(dict.fromkeys(names or PAPER_TASKS))
    known = [*TASKS, *(LONG_TASKS if words else ())]
    if unknown := [task for task in tasks if task not in known]:
        raise InputError(
            f"--tasks: there is no task {quoted(unknown[0])}; there are {', '.join(known)}"
        )
    return tasks
