# SPDX-License-Identifier: Apache-2.0
"""`ptp diagnose`: where an agent loses success."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptp_cli.closing_lines import print_results
from ptp_cli.options import add_options, run_settings
from ptp_core.diagnosis import PARTS


def add_diagnose(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "diagnose",
        help="show where a checkpoint loses success: planner, skills, encoder or critic",
        description="Ask six questions, each apart. oracle: success with the environment's stage "
        "images as subgoals (privileged), beside the agent's own plans. primitives: success of "
        "each single skill. probes: how well latents tell positions. critic: how Q and V rank "
        "held-out demonstrations. plans: how far the latents that an instruction's plan holds are "
        "from those of held-out demonstrations. legs: how the networks of ptp_legs draw and judge "
        "what the stages of the scripted plan do (privileged). A part that lacks what it needs "
        "says so, and the others run. Ctrl-C ends it and keeps what is done. Uses one thread.",
    )
    add = parser.add_argument
    add("--tasks", nargs="+", metavar="T", help="default: the environment's default tasks")
    add(
        "--episodes",
        type=int,
        default=16,
        metavar="N",
        help="of each task and primitive; default: 16",
    )
    add("--data", type=Path, metavar="DIR", help="demonstrations, for probes, critic, plans")
    add("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts; default: all")
    add("--out", type=Path, metavar="FILE", help="write the figures to this JSON file")
    add_options(parser)


def run_diagnose(args: argparse.Namespace) -> int:
    """Diagnose; return the exit status: 2 where no part could run, 130 after Ctrl-C."""
    import json

    from ptp_cli import __version__
    from ptp_cli.machine import git_commit, machine
    from ptp_core.data.files import check_file, write_atomically
    from ptp_core.diagnosis.run_diagnosis import run_diagnosis
    from ptp_core.rollout.evaluation import EvaluationConfig

    settings = run_settings(args)
    tasks = tuple(dict.fromkeys(args.tasks or ()))
    config = EvaluationConfig(**settings, tasks=tasks, episodes=args.episodes)
    about = {
        "command": _command(args, config.checkpoint, config.method),
        "version": __version__,
        "git_commit": git_commit(),
        "machine": machine(),
    }
    if args.out is not None:
        check_file(args.out)

    def save(result: Mapping[str, Any]) -> None:
        if args.out is not None:
            text = json.dumps({**about, **result}, indent=2) + "\n"
            write_atomically(args.out, lambda path: path.write_text(text, encoding="utf-8"))

    result = run_diagnosis(
        config, data=args.data, parts=tuple(dict.fromkeys(args.only)), save=save
    )
    print("\n".join(report_lines(result)))
    if args.out is not None:
        print_results(args.out)
    if not result["finished"]:
        print(f"stopped in the part {result['interrupted']}", file=sys.stderr)
        return 130
    return 2 if len(result["without"]) == len(result["parts"]) else 0


def report_lines(result: Mapping[str, Any]) -> list[str]:
    """The result of `run_diagnosis` as lines of plain text, a table for each part."""
    tables = {
        "oracle": _oracle,
        "primitives": _primitives,
        "probes": _probes,
        "critic": _critic,
        "plans": _plans,
        "legs": _legs,
    }
    lines: list[str] = []
    for part in result["parts"]:
        if part in result:
            lines += ["", *tables[part](result[part])]
        if part in result["without"]:
            lines += ["", f"{part}: {result['without'][part]}"]
    return [*lines, "", *(f"privileged: {signal}" for signal in result["privileged"])][1:]


def _oracle(figures: Mapping[str, Any]) -> list[str]:
    rows = [
        (task, kind, *_success(row), _parts(row["parts"]))
        for task, kinds in figures.items()
        for kind, row in kinds.items()
    ]
    if len(figures) > 1:
        for kind in next(iter(figures.values())):
            total = _total([kinds[kind] for kinds in figures.values() if kind in kinds])
            rows.append(("all", kind, *total, ""))
    header = ("task", "subgoals", "success", "rate", "95 % interval", "idle", "holds at the end")
    title = "oracle: subgoals from the environment, beside the agent's own plans"
    return [title, *_table(header, rows)]


def _primitives(figures: Mapping[str, Any]) -> list[str]:
    rows = [
        (name, *_success(row), str(row["expert_failed"] or "")) for name, row in figures.items()
    ]
    if len(rows) > 1:
        rows.append(("all", *_total(list(figures.values())), ""))
    header = ("primitive", "success", "rate", "95 % interval", "idle", "expert failed")
    return ["primitives: each alone, the expert's last image is the goal", *_table(header, rows)]


def _total(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Cells of `_success` for all episodes together; idleness is not pooled."""
    from ptp_core.rollout.episode_results import wilson_interval

    successes, episodes = (sum(row[name] for row in rows) for name in ("successes", "episodes"))
    pooled = {
        "successes": successes,
        "episodes": episodes,
        "success_rate": successes / max(episodes, 1),
        "success_interval_95": wilson_interval(successes, episodes),
        "idle_fraction": None,
    }
    return _success(pooled)


def _probes(figures: Mapping[str, Any]) -> list[str]:
    header = (
        "number",
        "regression",
        "constant",
        "latents",
        "unquantised",
        "pixels",
        "loss",
        "at most 10 %",
    )
    rows = []
    for name, number in figures["numbers"].items():
        for regression in ("linear", "kernel"):
            found = number[regression]
            cells = (_error(found.get(source)) for source in header[3:6])
            loss = "" if found["loss"] is None else f"{found['loss'] - 1:+.0%}"
            kept = {None: "", True: "yes", False: "no"}[found["kept"]]
            label = f"{name} [{number['unit']}]" if number["unit"] else name
            rows.append((label, regression, _error(number["constant"]), *cells, loss, kept))
    tested = figures["frames"] - figures["trained"]
    lines = [f"probes: median / 90 % error on {tested} frames, trained on {figures['trained']}"]
    lines += _table(header, rows)
    if figures["unchanging"]:
        lines.append(f"these do not change in the data: {', '.join(figures['unchanging'])}")
    return lines


def _critic(figures: Mapping[str, Any]) -> list[str]:
    rows = [(f"Q(expert) > Q({name})", entry) for name, entry in figures["better_than"].items()]
    rows.append(("V(s[t + 5]) > V(s[t])", figures["v_rises"]))
    cells = [
        (name, "" if e["share"] is None else f"{e['share']:.0%}", str(e["steps"]))
        for name, e in rows
    ]
    weights = " / ".join(f"{figures['weights'][q]:.2f}" for q in ("p10", "p50", "p90"))
    return [
        f"critic: on {figures['trajectories']} held-out trajectories, while the work lasts",
        *_table(("", "share", "steps"), cells),
        f"AWR weights, 10 / 50 / 90 %: {weights}",
    ]


def _plans(figures: Mapping[str, Any]) -> list[str]:
    edges = [f"to {edge:.0%}" for edge in figures["progress"]]
    rows = [
        (
            f"{level['steps']:.0f}",
            f"{level['error']:.2f}",
            f"{level['copied']:.2f}",
            *("" if error is None else f"{error:.2f}" for error in level["errors"]),
        )
        for level in figures["levels"]
    ]
    return [
        f"plans: mean squared errors of standardised latents on {figures['states']} states of "
        f"{figures['trajectories']} held-out trajectories, by the part of the task that is done",
        *_table(("steps ahead", "all", "if copied", *edges), rows),
    ]


def _legs(figures: Mapping[str, Any]) -> list[str]:
    legs, plans = [], []
    for task, row in figures.items():
        for number, leg in enumerate(row["legs"], start=1):
            single = [
                f"{leg[f'single_{end}']:.0%} ({leg[f'logit_{end}']:.1f})"
                if f"single_{end}" in leg
                else ""
                for end in ("true", "drawn")
            ]
            error = f"{1000 * leg['error']:.2f} / {1000 * leg['copied']:.2f}"
            known = f"{leg['known']:.0%} ({leg['work_left']:.2f})"
            legs.append((f"{task} {number}", error, f"{leg['told_apart']:.0%}", known, *single))
        plan = row["plans"]
        counts = f"{plan['legs']:.1f} / {plan['true_legs']:.0f}"
        shares = (f"{plan[name]:.0%}" for name in ("first", "all"))
        costs = (f"{plan[name]:.2f}" for name in ("cost", "true_cost"))
        plans.append((task, str(plan["scenes"]), counts, *shares, *costs, f"{plan['missed']:.0%}"))
    of_legs = ("leg", "1000 x error / if copied", "told apart", "drawn is known (work left)")
    of_legs += ("single (logit)", "drawn is single (logit)")
    of_plans = (
        "task",
        "scenes",
        "legs / true",
        "first right",
        "all right",
        "cost",
        "of true legs",
    )
    return [
        "legs: what the scripted plan's stages do, as the generator draws it and the classifiers "
        "judge it",
        *_table(of_legs, legs),
        *_table((*of_plans, "missed"), plans),
    ]


def _success(row: Mapping[str, Any]) -> tuple[str, ...]:
    counts = f"{row['successes']}/{row['episodes']}"
    if not row["episodes"]:
        return counts, "", "", ""
    low, high = row["success_interval_95"]
    idle = "" if row["idle_fraction"] is None else f"{row['idle_fraction']:.0%}"
    return counts, f"{row['success_rate']:.1%}", f"{low:.1%} to {high:.1%}", idle


def _parts(shares: Mapping[str, float] | None) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in (shares or {}).items())


def _error(entry: Mapping[str, float] | None) -> str:
    return "" if entry is None else f"{entry['median']:.2g} / {entry['p90']:.2g}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]


def _command(args: argparse.Namespace, checkpoint: Path, method: str) -> str:
    """The command line with what was left out filled in, so that it can be repeated."""
    words = ["ptp", "diagnose", "--checkpoint", str(checkpoint), "--method", method]
    words += ["--env", args.env]
    for pair in args.env_arg:
        words += ["--env-arg", pair]
    if args.data is not None:
        words += ["--data", str(args.data)]
    if args.tasks:
        words += ["--tasks", *args.tasks]
    if args.protocol:
        words += ["--protocol", args.protocol]
    if args.planner:
        words += ["--planner", args.planner]
    if args.subgoal_steps is not None:
        words += ["--subgoal-steps", str(args.subgoal_steps)]
    words += ["--episodes", str(args.episodes), "--seed", str(args.seed)]
    if args.max_steps is not None:
        words += ["--max-steps", str(args.max_steps)]
    words += ["--only", *args.only]
    return shlex.join(words if args.out is None else [*words, "--out", str(args.out)])
