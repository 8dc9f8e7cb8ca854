# SPDX-License-Identifier: Apache-2.0
"""`ptp evaluate`: measure success rates on the target tasks in process."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptp_cli.closing_lines import print_results
from ptp_cli.options import (
    BASELINES,
    ENV,
    add_finetuned,
    add_num_envs,
    add_options,
    add_renamed,
    finetuned_folder,
    require_at_least,
    run_settings,
)

if TYPE_CHECKING:
    from ptp_core.rollout.evaluation import EvaluationConfig

TABLE, DRIVER = "table", "arm_driver"
SIMULATED = "sim_joint"  # the robot whose limits are those of the simulated table
DRIVEN = "ptp_sim.driven_env:make_env"


def add_evaluate(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure success rates on the target tasks",
        description="Run episodes of each task and write success rates with 95 % intervals, plan "
        "seconds and control latency. With --json, finished episodes are saved in FILE.partial, "
        "and the same command resumes. Success rates do not depend on --num-envs.",
    )
    add = parser.add_argument
    add(
        "--tasks",
        nargs="+",
        metavar="T",
        help="default: those of two stages on the table, A B C; all of another environment",
    )
    add("--episodes", type=int, default=50, metavar="N", help="of each task (default: 50)")
    add("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    add(
        "--actions",
        choices=("mean", "sample"),
        help="use the policy's mean action, or sample one (default: the checkpoint's setting)",
    )
    add(
        "--plan-buffer",
        type=Path,
        metavar="FILE",
        help="plan buffer: start searches from the plans in FILE and add to them; needs "
        "--num-envs 1",
    )
    add(
        "--reuse-plans",
        type=Path,
        metavar="FILE",
        help="plan library: reuse the plans with the best record, from the plans.safetensors of a "
        "practice run; for every method that plans",
    )
    add(
        "--subgoals",
        choices=("planned", "random", "oracle"),
        default="planned",
        help="controls: random subgoals are one sample of the method's generators, without a "
        "search; oracle subgoals are images of the stage ends of the scripted expert's plan in "
        "the same scene, for any planner (default: %(default)s)",
    )
    add_finetuned(parser)
    add(
        "--paraphrases",
        action="store_true",
        help="tell the agent, in turn, the paraphrases of each task's instruction that no "
        "demonstration has",
    )
    add(
        "--through",
        choices=(TABLE, DRIVER),
        default=TABLE,
        help="what executes the commands: the simulated table itself, or the arm driver with its "
        "safety filter and joint commands, as in ptp up real robot:=sim_joint (default: "
        "%(default)s)",
    )
    add_num_envs(parser)
    add_options(parser)
    add_renamed(parser, {"--proven": "--reuse-plans", "--workers": "--num-envs", **BASELINES})


def run_evaluate(args: argparse.Namespace) -> int:
    """Evaluate; return the exit status."""
    from ptp_core.rollout.evaluation import evaluate

    config = evaluation_config(args)
    try:
        result = evaluate(config, num_envs=args.num_envs, output=args.json)
    except KeyboardInterrupt:
        print("stopped" + ("; repeat the command to go on" if args.json else ""), file=sys.stderr)
        return 130
    _print(result)
    if args.json:
        print_results(args.json, "ptp", "report", args.json)
    else:
        print("results: not kept; --json FILE keeps them")
    return 0


def evaluation_config(args: argparse.Namespace) -> EvaluationConfig:
    """Configuration of these options. Raises InputError, ConfigError and CheckpointError."""
    import dataclasses

    from ptp_core.agents.registry import method_named
    from ptp_core.rollout.evaluation import EvaluationConfig
    from ptp_core.training.checkpoint import load_checkpoint

    require_at_least(args, num_envs=1)
    settings = run_settings(args)
    if args.through == DRIVER:
        settings |= _through_the_driver(settings)
    if args.actions is not None:
        stored = load_checkpoint(settings["checkpoint"]).config
        follower = settings["follower"] or method_named(settings["method"]).follower(stored)
        sampled = args.actions == "sample"
        settings["follower"] = dataclasses.replace(follower, sample_actions=sampled)
    return EvaluationConfig(
        **settings,
        tasks=tuple(dict.fromkeys(args.tasks or ())),
        episodes=args.episodes,
        plan_buffer=args.plan_buffer,
        reuse_plans=args.reuse_plans,
        subgoals=args.subgoals,
        finetuned=finetuned_folder(args),
        paraphrases=args.paraphrases,
    )


def _through_the_driver(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with the environment behind the arm driver. InputError for another environment.

    They contain all limits instead of a path, so that the JSON file is complete.
    """
    from ptp_bringup.arguments import robot_file
    from ptp_core.config import to_dict
    from ptp_core.errors import InputError
    from ptp_robot.robot_file import load_robot

    if settings["env"] != ENV:
        raise InputError(f"--through {DRIVER} is for the simulated table, not for --env")
    robot = to_dict(load_robot(robot_file(SIMULATED)))
    return {"env": DRIVEN, "env_kwargs": {"robot": robot, **settings["env_kwargs"]}}


def _stages(figures: dict[str, Any]) -> str:
    """The stage score of a task and the share of episodes that reached each stage."""
    if "stages" not in figures:
        return ""
    rates = " ".join(f"{rate:.0%}" for rate in figures["stages"]["rates"])
    return f"  {figures['stages']['score']:.1%}: {rates}"


def _print(result: dict[str, Any]) -> None:
    from ptp_core.data.coverage import warning_line
    from ptp_core.rollout.episode_results import STAGES_SIGNAL

    width = max(5, *map(len, result["tasks"])) + 1
    staged = "mean_stage_score" in result
    print(
        f"{'task':<{width}}{'success':>9}  {'95 % interval':<16}{'plan':>8}{'latency p99':>14}"
        f"{'idle':>7}  subgoals reached, timed out" + ("  stages: mean, each" if staged else "")
    )
    for task, figures in result["tasks"].items():
        low, high = figures["success_interval_95"]
        plan, idle = figures["plan_seconds"], figures["idle_fraction"]
        print(
            f"{task:<{width}}{figures['success_rate']:>9.1%}  {low:.1%} to {high:.1%}".ljust(
                27 + width
            )
            + ("       -" if plan is None else f"{plan:>6.2f} s")
            + f"{figures['control_latency_ms']['p99']:>11.1f} ms"
            + ("      -" if idle is None else f"{idle:>7.0%}")
            + f"  {figures['subgoals_reached']:.1f}, {figures['subgoals_timed_out']:.1f}"
            + _stages(figures)
        )
        if shares := figures["plan_cost_shares"]:
            terms = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
            print(f"      cost of a plan {figures['final_cost']:.2f}: {terms}")
    print(f"{'mean':<{width}}{result['mean_success_rate']:>9.1%}")
    if staged:
        print(f"mean stage score {result['mean_stage_score']:.1%}, judged by the {STAGES_SIGNAL}")
    for task, shares in (result["coverage"] or {}).items():
        if line := warning_line(task, result["protocol"], shares):
            print(line)
    for signal in result["privileged"]:
        print(f"privileged: {signal}")
