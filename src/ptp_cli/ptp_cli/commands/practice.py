# SPDX-License-Identifier: Apache-2.0
"""`ptp practice`: practise a task in one process without ROS (Algorithm 1 of the paper)."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptp_cli.closing_lines import print_results
from ptp_cli.ctrl_c import ctrl_c_kept
from ptp_cli.options import (
    BASELINES,
    add_num_envs,
    add_options,
    add_renamed,
    checkpoint_and_method,
    require_at_least,
    run_settings,
)

RENAMED = {
    "--proven": "--reuse-plans",
    "--explore": "--actions sample",
    "--worlds": "--num-envs",
    "--updates-per-step": "--utd-ratio",
    **BASELINES,
}

if TYPE_CHECKING:
    from ptp_core.practice.practice_settings import PracticeConfig


def add_practice(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    from ptp_core.practice.practice_settings import ABOUT, PRESETS

    parser = subparsers.add_parser(
        "practice",
        help="practise a task without ROS",
        description="Practise a task for a number of epochs, and fine-tune the policy on the "
        "episodes of earlier epochs meanwhile (Algorithm 1 of the paper). Evaluate before "
        "practice, after every tenth epoch and at the end, with seeds that practice does not use. "
        "Under the table's protocol paper these are other noise in the same scene, under varied "
        "other scenes. The simulator does the success check. DIR/result.json has the figures, "
        "DIR/checkpoint the networks. An interrupted command, when repeated, resumes after its "
        "last epoch with the same result as without interruption. Success rates do not depend on "
        "--num-envs.",
    )
    add = parser.add_argument
    add("--task", metavar="T", help="default: the environment's first")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of this run")
    add("--demonstrations", type=Path, metavar="DIR", help="data set for part of each batch")
    add("--epochs", type=int, default=150, metavar="N", help="of 5 episodes (default: 150)")
    add("--episodes", type=int, default=5, metavar="N", help="of an epoch (default: 5)")
    add(
        "--preset",
        choices=PRESETS,
        default=PRESETS[0],
        help="values of the settings below that are not given (default: %(default)s)",
    )
    for about in ABOUT:
        name = f"--{about.name.replace('_', '-')}"
        if about.kind is bool:
            add(name, action=argparse.BooleanOptionalAction, help=about.help)
        elif about.choices:
            add(name, choices=about.choices, help=about.help)
        else:
            add(name, type=about.kind, metavar="X", help=about.help)
    add("--evaluate-every", type=int, default=10, metavar="N", help="epochs (default: 10)")
    add("--evaluation-episodes", type=int, default=50, metavar="N", help="default: 50")
    add_num_envs(parser, "env workers beside the learner; 0: one process acts and learns in turns")
    add(
        "--threads",
        type=int,
        default=min(4, os.cpu_count() or 1),  # four networks are trained at once
        metavar="N",
        help="of the learner, on a CPU (default: one per core, 4 at most)",
    )
    add(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="of the learner; auto uses a GPU if there is one (default: %(default)s)",
    )
    add_options(parser)
    add_renamed(parser, RENAMED)


def practice_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The preset's settings, overridden by the options, by the names of PracticeConfig.

    Raises ConfigError and CheckpointError for invalid options.
    """
    from ptp_core.agents.registry import method_named
    from ptp_core.practice.practice_settings import ABOUT, preset

    given = {about.name: getattr(args, about.name) for about in ABOUT}
    if given["reuse_plans"] is None and not method_named(checkpoint_and_method(args)[1]).plans:
        given["reuse_plans"] = False  # the preset's value is for methods that plan
    return dataclasses.asdict(preset(args.preset, **given))


def run_practice(args: argparse.Namespace) -> int:
    """Practise; return the exit status."""
    import torch

    from ptp_core.data.files import check_new_folder, reserved_folder
    from ptp_core.practice.practice_settings import PracticeConfig

    require_at_least(args, num_envs=0, threads=1)
    check_new_folder(args.out)
    torch.set_num_threads(1)  # of the agent; the learner's networks have a thread each
    config = PracticeConfig(
        **run_settings(args),
        **practice_settings(args),
        task=args.task,
        epochs=args.epochs,
        episodes=args.episodes,
        evaluate_every=args.evaluate_every,
        evaluation_episodes=args.evaluation_episodes,
    )
    with reserved_folder(args.out):
        return _practise(config, args)


def _practise(config: PracticeConfig, args: argparse.Namespace) -> int:
    """Practise in --out, which this process has locked; returns the exit status."""
    from ptp_core.data.encoded_dataset import encoded_demonstrations
    from ptp_core.practice.practice_runner import InProcessPractice
    from ptp_core.progress import Bar
    from ptp_core.training.checkpoint import load_checkpoint

    demonstrations = None
    try:
        if args.demonstrations is not None:
            with Bar(unit="image", desc="encode demonstrations") as bar:
                demonstrations = encoded_demonstrations(
                    args.demonstrations,
                    load_checkpoint(config.checkpoint),
                    args.out / "demonstrations.safetensors",
                    bar.show,
                )
        practice = InProcessPractice(
            config,
            args.out,
            demonstrations,
            num_envs=args.num_envs,
            threads=args.threads,
            device=args.device,
        )
        try:
            with ctrl_c_kept():
                result = practice.run()
        finally:
            practice.close()
    except KeyboardInterrupt:
        print("stopped; repeat the command to go on", file=sys.stderr)
        return 130
    print(f"{'epoch':>6}{'success':>9}")
    for found in result["evaluations"]:
        print(f"{found['epoch']:>6}{found['successes'] / found['episodes']:>9.1%}")
    print_results(args.out, "ptp", "report", args.out)
    return 0
