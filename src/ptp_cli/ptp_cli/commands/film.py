# SPDX-License-Identifier: Apache-2.0
"""`ptp film`: a small animation of one episode, with the plan beside the camera image."""

from __future__ import annotations

import argparse
from pathlib import Path

from ptp_cli.closing_lines import print_results
from ptp_cli.options import (
    add_finetuned,
    add_options,
    finetuned_folder,
    require_at_least,
    run_settings,
)


def add_film(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "film",
        help="make a small animation of one episode, with its plan",
        description="Run one episode in process, as ptp evaluate runs it, and write an animation: "
        "the camera image, the planned subgoals, the goal, or the words that the agent was told. "
        "The same options give the same episode. After success it is shown for 40 steps more, "
        "then its last moment.",
    )
    add = parser.add_argument
    add("--task", metavar="T", help="default: the environment's first")
    add("--episode", type=int, default=0, metavar="N", help="of the evaluation (default: 0)")
    add("--instruction", metavar="TEXT", help="tell the agent this instead of the task's goal")
    add_finetuned(parser)
    add("--title", metavar="TEXT", help="above the film (default: the task, or the instruction)")
    add(
        *("-o", "--out"),
        type=Path,
        default=Path("out", "film.webp"),
        metavar="FILE",
        help="ends in .webp, .gif or .png (default: %(default)s)",
    )
    add(
        "--every",
        type=int,
        default=2,
        metavar="N",
        help="control steps between frames (default: %(default)s)",
    )
    add(
        "--rate",
        type=float,
        default=12.0,
        metavar="HZ",
        help="frames a second (default: %(default)s)",
    )
    add(
        "--most",
        type=float,
        default=1.5,
        metavar="MB",
        help="quality and size are lowered until the file is no larger (default: %(default)s)",
    )
    add_options(parser)


def run_film(args: argparse.Namespace) -> int:
    """Film an episode; return the exit status."""
    import math

    from ptp_cli.film.animation import check_format, write_animation
    from ptp_core.data.files import check_file
    from ptp_core.errors import InputError

    require_at_least(args, episode=0, every=1)
    for name, most in (("rate", 50.0), ("most", 100.0)):
        value = getattr(args, name)
        if not (math.isfinite(value) and 0.0 < value <= most):
            raise InputError(f"--{name} is {value:g}; it must be above 0 and at most {most:g}")
    check_format(args.out)
    check_file(args.out)

    from ptp_cli.film.film_episode import film_episode
    from ptp_core.data.env_spec import declared_spec
    from ptp_core.rollout.evaluation import EvaluationConfig

    finetuned = finetuned_folder(args)
    settings = run_settings(args)
    spec = declared_spec(args.env, settings["env_kwargs"])
    task = spec.choose_task(args.task)
    config = EvaluationConfig(**settings, tasks=(task,), episodes=1, finetuned=finetuned)
    filmed = film_episode(
        config,
        args.episode,
        instruction=args.instruction,
        title=_title(task) if args.title is None else args.title,
        every=args.every,
        rate=args.rate,
    )
    size = write_animation(args.out, filmed.frames, filmed.seconds, round(args.most * 1e6))
    result = filmed.result
    end = "success" if result.success else "no success"
    first = "" if result.first_success is None else f", first after {result.first_success}"
    print(f"task {task}, episode {args.episode}: {end} after {result.steps} steps{first}")
    print(
        f"{len(filmed.frames)} frames of {size.width} x {size.height}, {size.bytes / 1e6:.2f} MB"
    )
    print_results(args.out)
    return 0


def _title(task: str) -> str:
    """The task in words, where it is one of the simulated table."""
    from ptp_sim.tasks import TASKS

    return f"Task {task}: {TASKS[task].summary}" if task in TASKS else f"Task {task}"
