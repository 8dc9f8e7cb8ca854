# SPDX-License-Identifier: Apache-2.0
"""`ptp demo`: run the target tasks on ROS 2 nodes with the released checkpoint, and film them."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "demo",
        help="run the target tasks in simulation; films and figures",
        description="Run the target tasks on the simulated table, with planner, policy and "
        "encoder as ROS 2 nodes. Write a film and the planned subgoals of each episode, the "
        "figures and a page that shows them. It takes a few minutes. Files of an earlier demo in "
        "the same folder are replaced.",
    )
    add = parser.add_argument
    add("--tasks", nargs="+", metavar="T", help="default: all of the table")
    add("--episodes", type=int, default=1, metavar="N", help="of each task (default: 1)")
    add("--seed", type=int, default=0, metavar="S", help="of plans and actions (default: 0)")
    add(
        "--out",
        type=Path,
        default=Path("out", "demo"),
        metavar="DIR",
        help="default: %(default)s",
    )
    add("--checkpoint", type=Path, metavar="DIR", help="default: the released one, in models/")
    add(
        "--planner",
        default="checkpoint",
        metavar="NAME",
        help="checkpoint (its own settings), fast, descent, best, paper, or a YAML file with a "
        "planner section (default: checkpoint)",
    )
    add(
        "--finetuned",
        default="released",
        metavar="DIR",
        help="folder of fine-tuned policies of these tasks; none: the policy as trained offline "
        "(default: those in models/, if the checkpoint is the released one)",
    )
    add("--max-steps", type=int, default=400, metavar="N", help="control steps (default: 400)")


def run(args: argparse.Namespace) -> int:
    """Run the demo; return the exit status."""
    import os

    from ptp_core.errors import InputError

    for name, least in (("episodes", 1), ("seed", 0), ("max_steps", 1)):
        if getattr(args, name) < least:
            word = name.replace("_", "-")
            raise InputError(f"--{word} is {getattr(args, name)}; it must be at least {least}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the nodes need the cores

    from ptp_cli.demo.demo_run import DemoSettings, show
    from ptp_cli.options import config_file, released_checkpoint, released_finetuned
    from ptp_core.agents.ptp import planner_of
    from ptp_core.agents.registry import DEFAULT_METHOD, method_named
    from ptp_core.config.loading import PLANNER_PRESETS, planner_settings
    from ptp_core.training.checkpoint import load_checkpoint
    from ptp_sim.tasks import TASKS

    tasks = tuple(dict.fromkeys(args.tasks or TASKS))
    unknown = [task for task in tasks if task not in TASKS]
    if unknown:
        raise InputError(f'--tasks: there is no task "{unknown[0]}"; there are {", ".join(TASKS)}')
    planner = args.planner
    if planner not in (*PLANNER_PRESETS, "checkpoint"):
        planner = str(config_file(planner))
    checkpoint = load_checkpoint(args.checkpoint or released_checkpoint())
    if planner != "checkpoint":  # report an invalid preset now, before the nodes start
        method = method_named(DEFAULT_METHOD)
        planner_of(method, checkpoint.config.planner, planner_settings(planner))
    finetuned = None if args.finetuned == "none" else Path(args.finetuned)
    if args.finetuned == "released":
        released = released_finetuned()
        finetuned = released if released.is_dir() and not args.checkpoint else None
    settings = DemoSettings(
        tasks=tasks,
        episodes=args.episodes,
        seed=args.seed,
        max_steps=args.max_steps,
        planner=planner,
        out=args.out,
        checkpoint=checkpoint,
        finetuned=finetuned,
    )
    return show(settings)
