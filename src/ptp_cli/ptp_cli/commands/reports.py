# SPDX-License-Identifier: Apache-2.0
"""`ptp report`, `ptp results`: make pages from runs of practice and from evaluations."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ptp_cli.closing_lines import print_results
from ptp_cli.options import (
    add_num_envs,
    add_renamed,
    config_file,
    released_checkpoint,
    require_at_least,
)


def add_report(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "report",
        help="make a page of curves, figures, plans and failures from runs",
        description="Draw success over epochs beside the paper's numbers, plans of each method "
        "and a failed episode, from runs of ptp practice and ptp sweep and from files of ptp "
        "evaluate. Writes one HTML page with everything, the curves as PNG and the numbers as "
        "CSV. Unfinished runs are marked; damaged ones are named and left out.",
    )
    add = parser.add_argument
    add(
        "runs",
        nargs="+",
        metavar="RUNS",
        help="folders of ptp practice or ptp sweep; JSON files of ptp evaluate, FILE@-50 where "
        "its networks are those of 50 epochs before the end of offline training",
    )
    add(
        *("-o", "--out"),
        type=Path,
        default=Path("out", "report"),
        metavar="DIR",
        help="default: %(default)s",
    )
    add(
        "--env",
        action="append",
        default=[],
        metavar="MODULE:FACTORY",
        help="your own environment that the runs name; it is run for films and plans",
    )
    add("--no-pictures", action="store_true", help="no films and plans, which need the simulator")
    add(
        "--checkpoint",
        type=Path,
        metavar="DIR",
        help="checkpoint of the files of ptp evaluate; those of gcp, leap and gcbc are in the "
        "folders of their names beside it (default: the released ones)",
    )
    add_renamed(parser, {"--baselines": "unnecessary: their checkpoints lie beside --checkpoint"})


def run_report(args: argparse.Namespace) -> int:
    """Make the report; return the exit status."""
    from ptp_cli.report.gather_runs import gather
    from ptp_cli.report.make_report import make
    from ptp_core.errors import InputError

    found = gather(args.runs)
    found.named = tuple(args.env)
    for line in found.complaints:
        print(f"left out: {line}", file=sys.stderr)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{args.out}: cannot be written ({error.strerror})") from error
    try:
        page = make(
            found,
            args.runs,
            args.out,
            pictures=not args.no_pictures,
            networks=args.checkpoint or released_checkpoint(),
        )
    except KeyboardInterrupt:
        print("stopped; repeat the command to go on", file=sys.stderr)
        return 130
    print_results(page)
    return 0


def add_results(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "results",
        help="run the evaluations of the results page, and make the page",
        description="Run the missing evaluations of FILE, one after another, as ptp evaluate "
        "does; then write index.html, README.md and the numbers as CSV. Repeat the command to "
        "resume after an interruption. A finished evaluation is reused if its settings are those "
        "of FILE; else the command prints the difference.",
    )
    add = parser.add_argument
    add(
        "config",
        nargs="?",
        type=Path,
        default=Path("config", "results.yaml"),
        metavar="FILE",
        help="default: %(default)s",
    )
    add(
        *("-o", "--out"),
        type=Path,
        default=Path("docs", "results"),
        metavar="DIR",
        help="folder of evaluations and page (default: %(default)s)",
    )
    add("--page-only", action="store_true", help="run nothing; list the missing evaluations")
    add("--redo", action="store_true", help="rerun evaluations with other settings than FILE")
    add("--no-pictures", action="store_true", help="no plans and films on the page")
    add_num_envs(parser)
    add_renamed(parser, {"--workers": "--num-envs"})


def run_results(args: argparse.Namespace) -> int:
    """Measure and make the page; return the exit status: 1 where an evaluation failed."""
    from ptp_cli.results.make_results import make_results
    from ptp_cli.results.results_evaluations import (
        ResultsConfig,
        measure,
        missing_evaluations,
        wanted_evaluations,
        with_tasks,
    )
    from ptp_core.config import load_config
    from ptp_core.errors import InputError

    require_at_least(args, num_envs=1)
    config = with_tasks(load_config(config_file(str(args.config)), cls=ResultsConfig))
    wanted = wanted_evaluations(config, args.out)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{args.out}: cannot be written ({error.strerror})") from error
    failed = []
    try:
        if not args.page_only:
            failed = measure(wanted, num_envs=args.num_envs, redo=args.redo)
        found, lines = missing_evaluations(wanted)
        for line in lines:
            print(line, file=sys.stderr)
        pictures = not args.no_pictures
        page = make_results(config, args.config, found, lines, args.out, pictures=pictures)
    except KeyboardInterrupt:
        print("stopped; repeat the command to go on", file=sys.stderr)
        return 130
    print_results(page)
    return 1 if failed else 0
