# SPDX-License-Identifier: Apache-2.0
"""`ptp bench`: measure the speed of simulator, planner, training and control."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ptp_cli.closing_lines import print_results
from ptp_cli.options import add_checkpoint

if TYPE_CHECKING:
    from ptp_cli.bench.measuring import BenchSettings, Figures

# Pools of threads that numeric libraries open when they are loaded: one thread each.
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
BUSY = 0.5  # load average above which figures are unreliable


def add_bench(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    from ptp_cli.bench import GROUPS

    parser = subparsers.add_parser(
        "bench",
        help="measure simulator, planner, training and control",
        description="Measure this machine and write a flat JSON file. Each group is written when "
        "it is finished; other groups in the file are not changed. No other program should run "
        "meanwhile. docs/benchmarks.md explains every figure.",
    )
    parser.add_argument(
        "--only", nargs="+", metavar="GROUP", help=f"only these groups: {', '.join(GROUPS)}"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a run of one minute as a test; its figures mean little",
    )
    add_checkpoint(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="default: out/bench.json; with --quick out/bench_quick.json",
    )


def run_bench(args: argparse.Namespace) -> int:
    """Measure group by group; return the exit status: 1 where a group could not be measured."""
    import os

    from ptp_cli.bench import GROUPS
    from ptp_core.errors import InputError, PtpError

    chosen = list(dict.fromkeys(args.only or GROUPS))
    unknown = [name for name in chosen if name not in GROUPS]
    if unknown:
        raise InputError(
            f'--only: there is no group "{unknown[0]}"; there are {", ".join(GROUPS)}'
        )
    os.environ.update(dict.fromkeys(POOLS, "1"))  # before numpy and torch are loaded

    from ptp_cli.bench.bench_report import BenchReport, table
    from ptp_cli.bench.measuring import BenchSettings
    from ptp_cli.machine import load_average, machine

    settings = BenchSettings(quick=args.quick, checkpoint=args.checkpoint)
    out = args.out or Path("out", "bench_quick.json" if args.quick else "bench.json")
    report = BenchReport(out, machine())
    load = load_average()
    if load > BUSY:
        print(f"load average {load:.1f}: other programs run, figures suffer", file=sys.stderr)
    done, failed = [], []
    for group in chosen:
        print(f"{group}: group {chosen.index(group) + 1} of {len(chosen)}", flush=True)
        try:
            figures, origin = _measure(group, settings)
            origin["load_average"] = load
            print(table(report.put(group, figures, origin)), flush=True)
            done.append(group)
        except (PtpError, ImportError) as error:
            print(f"ptp bench: {group}: {error}", file=sys.stderr)
            failed.append(group)
        except KeyboardInterrupt:
            print(f"stopped; in {out}: {', '.join(done) or 'nothing new'}", file=sys.stderr)
            return 130
    if failed:
        print(f"ptp bench: not measured: {', '.join(failed)}", file=sys.stderr)
    if done:
        print_results(out)
    return 1 if failed else 0


def _measure(group: str, settings: BenchSettings) -> tuple[Figures, Figures]:
    """Figures of a group, and where they come from."""
    import importlib
    import time

    from ptp_cli.bench import GROUPS
    from ptp_cli.machine import git_commit

    origin = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "git_commit": git_commit(),
        "quick": settings.quick,
    }
    began = time.monotonic()
    module = importlib.import_module(f"ptp_cli.bench.{GROUPS[group].module}")
    figures = getattr(module, f"measure_{group}")(settings)
    return figures, {**origin, "took_s": time.monotonic() - began}
