# SPDX-License-Identifier: Apache-2.0
"""Writer of a report: curves, CSV tables, images, and one HTML page that contains them."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptp_cli import __version__
from ptp_cli.machine import git_commit, labelled_facts, machine
from ptp_cli.pages import environment
from ptp_cli.process_setup import libraries_into
from ptp_cli.report.gather_runs import FoundRuns
from ptp_cli.report.paired_controls import Controls, paired_controls
from ptp_cli.report.repeat_commands import commands, configuration
from ptp_cli.report.report_figures import (
    PAPER_METHOD,
    SMOOTHED,
    Curves,
    PracticeRow,
    draw,
    evaluation_curves,
    method_label,
    practice_curves,
    practised,
    table,
)
from ptp_cli.report.report_pictures import ReportPictures, evaluation_pictures
from ptp_core.agents.registry import checkpoint_for
from ptp_core.data.files import write_atomically
from ptp_core.errors import PtpError
from ptp_core.progress import Bar
from ptp_core.rollout.past_evaluation import PastEvaluation

CURVES_CHART, PRACTICE_CHART = "curves.png", "practice.png"


def make(
    found: FoundRuns,
    sources: Sequence[str],
    out: Path,
    *,
    pictures: bool,
    networks: Path,
) -> Path:
    """Write curves, tables and page into the folder ``out``; the page's path.

    ``pictures``: also strips and films, for which evaluation episodes are done again; those of
    an earlier report stay. Interrupted, the next goes on. ``networks``: the checkpoint that files
    of `ptp evaluate` are about; see `checkpoint_for` for methods with another.
    """
    curves = {"evaluation": evaluation_curves(found), "practice": practice_curves(found)}
    rows = table(found, curves["evaluation"])
    write_tables(out, found, rows, curves)
    drawn = {"evaluation": CURVES_CHART, "practice": PRACTICE_CHART if curves["practice"] else ""}
    shown = found.tasks, found.methods
    papers = {
        row.task: (row.paper_offline, row.paper_online)
        for row in rows
        if row.method == PAPER_METHOD
    }
    draw(out / CURVES_CHART, curves["evaluation"], *shown, "Success of evaluations", papers)
    if curves["practice"]:
        draw(out / PRACTICE_CHART, curves["practice"], *shown, "Success while practising", papers)
    made = _pictures(found, out, networks) if pictures else []
    tables = [SUMMARY_TABLE, CURVES_TABLE, RUNS_TABLE]
    controls = paired_controls(found)
    if controls is not None:
        write_controls(out, controls)
        tables.append(CONTROLS)
    about = {
        "commands": commands(found, sources, out),
        "configuration": configuration(found),
        "machine": labelled_facts(machine()),
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "version": __version__,
        "commit": git_commit(),
        "controls": controls,
        "tables": tables,
        "pictures_wanted": pictures,
    }
    return write_page(out, found, rows, drawn, made, _titles(found) if pictures else {}, about)


def _pictures(found: FoundRuns, out: Path, networks: Path) -> list[ReportPictures]:
    """Of one evaluation a task and method: of a run if there is one, else of a file."""
    made = []
    shown = [(task, method) for task in found.tasks for method in found.methods]
    with (
        libraries_into(Path(os.devnull)) as terminal,
        Bar(shown, unit="method", desc="plans and films", file=terminal) as bar,
    ):
        for task, method in bar:
            bar.set_postfix_str(f"{method} {task}")
            made += _picture(found, task, method, out, networks)
    return made


def _picture(
    found: FoundRuns, task: str, method: str, out: Path, networks: Path
) -> list[ReportPictures]:
    """The finished run of the lowest seed, or the first file; neither: none."""
    runs = [r for r in found.runs if (r.settings["task"], found.name(r)) == (task, method)]
    files = [entry for entry in found.offline if (entry.task, entry.method) == (task, method)]
    try:
        if runs:
            run = min(runs, key=lambda run: (not run.finished, run.settings["seed"]))
            seed, past = run.settings["seed"], PastEvaluation.of_run(run)
        elif files:
            entry = max(files, key=lambda entry: entry.epoch)
            seed = entry.seed
            own = checkpoint_for(method, networks)
            past = PastEvaluation.of_figures(entry.source, entry.values, task, own)
        else:
            return []
    except PtpError as error:
        return [ReportPictures(task, method, seed, why_not=str(error))]
    return [evaluation_pictures(past, out, named=found.named, name=method)]


def _titles(found: FoundRuns) -> dict[str, str]:
    """What each task is, where the simulator's tasks are meant."""
    environments = {str(run.settings.get("env", "")) for run in found.runs}
    environments |= {str(entry.values.get("env", "")) for entry in found.offline}
    if not all(name.startswith("ptp_sim.") for name in environments):
        return {}
    from ptp_sim.long_tasks import ALL_TASKS

    return {name: task.summary for name, task in ALL_TASKS.items()}


PAGE = "index.html"


def write_page(
    out: Path,
    found: FoundRuns,
    rows: Sequence[PracticeRow],
    drawn: Mapping[str, str],
    pictures: Sequence[ReportPictures],
    titles: Mapping[str, str],
    about: Mapping[str, Any],
) -> Path:
    """Write the page into ``out``; its path.

    ``drawn`` maps "evaluation" and "practice" to PNG files in ``out``. ``titles`` says what each
    task is. ``about``: "commands", "configuration", "machine" [(label, value)], "date",
    "version", "commit", "tables" (files), "pictures_wanted", "controls" (Controls or None).
    """
    made = environment(Path(__file__).parent, inlined=out)
    made.filters["label"] = method_label
    made.filters["percent"] = percent
    made.filters["points"] = points
    text = made.get_template("page.html").render(
        found=found,
        rows=rows,
        drawn=drawn,
        pictures=pictures,
        titles=titles,
        smoothed=SMOOTHED,
        **about,
    )
    path = out / PAGE
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
    return path


def percent(rate: float | None) -> str:
    """A rate in [0, 1] as people write it, or a dash."""
    return "\N{EN DASH}" if rate is None else f"{100 * rate:.1f}\N{NO-BREAK SPACE}%"


def points(difference: float) -> str:
    """A difference of rates, in percentage points with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")


SUMMARY_TABLE, CURVES_TABLE, RUNS_TABLE = "summary.csv", "curves.csv", "runs.csv"
CONTROLS = "controls.json"


def write_controls(out: Path, controls: Controls) -> None:
    """Write variants and their differences as JSON; rates and differences are in [-1, 1]."""
    text = json.dumps(dataclasses.asdict(controls), indent=2) + "\n"
    write_atomically(out / CONTROLS, lambda partial: partial.write_text(text, encoding="utf-8"))


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
    _write_csv(out / SUMMARY_TABLE, ("task", "method", "phase", *point, "paper", "state"), summary)
    lines = [
        (task, method, kind, *_cells(entry))
        for kind, of_kind in curves.items()
        for (task, method), points in of_kind.items()
        for entry in points
    ]
    _write_csv(out / CURVES_TABLE, ("task", "method", "kind", *point), lines)
    header = ("task", "method", "seed", "kind", "epoch", "successes", "episodes", "source")
    _write_csv(out / RUNS_TABLE, header, _raw(found))


def _raw(found: FoundRuns) -> Iterable[tuple]:
    for run in found.runs:
        who = run.settings["task"], found.name(run), run.settings["seed"]
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


def _write_csv(path: Path, header: Sequence[str], lines: Iterable[Sequence]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *lines])
    write_atomically(path, lambda partial: partial.write_text(text.getvalue(), encoding="utf-8"))
