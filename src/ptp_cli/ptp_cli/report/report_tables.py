# SPDX-License-Identifier: Apache-2.0
"""CSV tables of the report."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from ptp_cli.report.gather_runs import FoundRuns
from ptp_cli.report.report_figures import Curves, PracticeRow, practised
from ptp_core.data.files import write_atomically

SUMMARY, CURVES, RUNS = "summary.csv", "curves.csv", "runs.csv"


def write_tables(
    out: Path, found: FoundRuns, rows: Sequence[PracticeRow], curves: dict[str, Curves]
) -> None:
    """Write the table, the curves, and every evaluation and epoch of every run.

    ``curves`` maps "evaluation" and "practice" to theirs. Rates and limits are in [0, 1].
    """
    point = ("epoch", "rate", "low_95", "high_95", "successes", "episodes", "seeds")
    summary = [
        (row.task, row.method, phase, *_cells(entry), _number(theirs), row.state)
        for row in rows
        for phase, entry, theirs in (
            ("offline", row.offline, row.paper_offline),
            ("online", row.online, row.paper_online),
        )
        if entry is not None
    ]
    _write(out / SUMMARY, ("task", "method", "phase", *point, "paper", "state"), summary)
    lines = [
        (task, method, kind, *_cells(entry))
        for kind, of_kind in curves.items()
        for (task, method), points in of_kind.items()
        for entry in points
    ]
    _write(out / CURVES, ("task", "method", "kind", *point), lines)
    header = ("task", "method", "seed", "kind", "epoch", "successes", "episodes", "source")
    _write(out / RUNS, header, _raw(found))


def _raw(found: FoundRuns) -> Iterable[tuple]:
    for run in found.runs:
        who = tuple(run.settings[name] for name in ("task", "method", "seed"))
        for entry in run.evaluations:
            counts = entry["epoch"], entry["successes"], entry["episodes"]
            yield (*who, "evaluation", *counts, run.folder)
        for number in range(len(run.epochs)):
            yield (*who, "practice", number + 1, *practised(run, number), run.folder)
    for entry in found.offline:
        who = entry.task, entry.method, entry.seed
        yield (*who, "evaluation", entry.epoch, entry.successes, entry.episodes, entry.source)


def _cells(point) -> tuple:
    limits = (_number(value) for value in (point.rate, point.low, point.high))
    seeds = " ".join(map(str, point.seeds))
    return point.epoch, *limits, point.successes, point.episodes, seeds


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _write(path: Path, header: Sequence[str], lines: Iterable[Sequence]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *lines])
    write_atomically(path, lambda partial: partial.write_text(text.getvalue(), encoding="utf-8"))
