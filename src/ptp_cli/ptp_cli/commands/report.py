# SPDX-License-Identifier: Apache-2.0
"""`ptp report`: make a page of curves, plans and failures from practice runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ptp_cli.options import add_renamed


def add_parser(subparsers) -> None:
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


def run(args: argparse.Namespace) -> int:
    """Make the report; return the exit status."""
    from ptp_cli.options import released_checkpoint
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
    print(f"report: {page}")
    return 0
