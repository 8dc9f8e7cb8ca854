# SPDX-License-Identifier: Apache-2.0
"""`ptp sweep`: run `ptp practice` for methods x variants x tasks x seeds."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ptp_cli.closing_lines import print_results
from ptp_cli.options import config_file, require_at_least

if TYPE_CHECKING:
    from ptp_cli.sweep.executors import Executor
    from ptp_cli.sweep.sweep_config import SweepConfig

EPILOG = (
    "The file names methods, tasks, seeds and protocol, threads and memory_gib of a run, and "
    "options of ptp practice, and variants of them to compare; docs/experiments.md describes it."
)


def add_sweep(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    parser = subparsers.add_parser(
        "sweep",
        help="practise methods x tasks x seeds, on this machine or on Ray",
        description="Run `ptp practice` for every method, variant, task and seed of a YAML file, "
        "as many at a time as the machine allows. Repeat the command to resume: finished runs are "
        "skipped. Other runs continue when one fails; the exit status is then 1.",
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("config", type=Path, metavar="FILE", help="for example config/sweep/quick.yaml")
    add(
        "--env",
        default="",
        metavar="MODULE:FACTORY",
        help="your own environment that the file names under options",
    )
    add("--out", type=Path, metavar="DIR", help="default: runs/sweep_NAME, after the file")
    add(
        "--jobs",
        type=int,
        metavar="N",
        help="concurrent runs (default: as cores and memory allow; on Ray: Ray decides)",
    )
    add(
        "--ray",
        metavar="ADDRESS",
        help="run on the Ray cluster at ADDRESS, or on a Ray of this machine: local. Needs Ray, "
        "which `make sweep` installs",
    )


def run_sweep(args: argparse.Namespace) -> int:
    """Run the sweep; return the exit status: 1 where a run failed."""
    import signal

    from ptp_cli.process_setup import end_by_interrupt
    from ptp_cli.sweep.sweep_config import (
        as_declared,
        load_sweep,
        remember,
        runs_of,
        same_variants,
    )
    from ptp_cli.sweep.sweep_schedule import alone_in, carry_out, rows_of

    require_at_least(args, jobs=1)
    if args.ray is not None:
        from ptp_cli.sweep.executors import require_ray

        require_ray()
    path = config_file(str(args.config))
    config = as_declared(load_sweep(path, args.env))
    out = args.out or Path("runs", f"sweep_{path.stem}")
    runs = runs_of(config, out)
    for method, same in same_variants(config).items():
        equal = ", ".join(f"{variant} is the same as {other}" for variant, other in same.items())
        print(f"{method}: {equal}: not run twice")

    from ptp_cli.sweep.sweep_display import LiveTable, PlainLines

    with alone_in(out):
        remember(config, out, str(args.config), runs[0].epochs)
        rows = rows_of(runs)
        if all(row.state == "finished" for row in rows):
            print(f"{len(rows)} runs are finished")
            print_results(out, "ptp", "report", out)
            return 0
        executor = _executor(args, config)
        end_by_interrupt(signal.SIGHUP)  # after Ray, which sets them
        display = LiveTable if sys.stdout.isatty() else PlainLines
        try:
            with display(sys.stdout, executor.places) as shown:
                failed = carry_out(rows, executor, shown)
        except KeyboardInterrupt:
            print("stopped; repeat the command to go on", file=sys.stderr)
            return 130
    for row in failed:
        reason = row.why[-1] if row.why else ""
        print(f"failed: {row.run.name} ({reason}); its log: {row.run.folder}", file=sys.stderr)
    print(f"{len(rows) - len(failed)} of {len(rows)} runs are finished")
    print_results(out, "ptp", "report", out)
    return 1 if failed else 0


def _executor(args: argparse.Namespace, config: SweepConfig) -> Executor:
    from ptp_cli.sweep.executors import Processes
    from ptp_cli.sweep.sweep_schedule import places

    if args.ray is None:
        return Processes(args.jobs or places(config.cores, config.memory_gib), config.threads)
    from ptp_cli.sweep.executors import RayExecutor

    return RayExecutor(args.ray, config, args.jobs)
