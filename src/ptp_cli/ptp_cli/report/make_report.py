# SPDX-License-Identifier: Apache-2.0
"""Writer of a report: curves, tables, images and page."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from ptp_cli import __version__
from ptp_cli.bench.measuring import git_commit, machine
from ptp_cli.demo.demo_page import MACHINE
from ptp_cli.process_setup import libraries_into
from ptp_cli.report import paper_numbers, repeat_commands, report_page, report_tables
from ptp_cli.report.gather_runs import FoundRuns
from ptp_cli.report.report_figures import draw, evaluation_curves, practice_curves, table
from ptp_cli.report.report_pictures import ReportPictures, picture
from ptp_core.agents.registry import checkpoint_for
from ptp_core.errors import PtpError
from ptp_core.progress import Bar
from ptp_core.rollout.past_evaluation import PastEvaluation

CURVES, PRACTICE = "curves.png", "practice.png"


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
    report_tables.write_tables(out, found, rows, curves)
    drawn = {"evaluation": CURVES, "practice": PRACTICE if curves["practice"] else ""}
    shown = found.tasks, found.methods
    papers = {
        row.task: (row.paper_offline, row.paper_online)
        for row in rows
        if row.method == paper_numbers.METHOD
    }
    draw(out / CURVES, curves["evaluation"], *shown, "Success of evaluations", papers)
    if curves["practice"]:
        draw(out / PRACTICE, curves["practice"], *shown, "Success while practising", papers)
    made = _pictures(found, out, networks) if pictures else []
    figures = machine()
    about = {
        "commands": repeat_commands.commands(found, sources, out),
        "configuration": repeat_commands.configuration(found),
        "machine": [
            (label, figures[name]) for name, label in MACHINE.items() if figures.get(name)
        ],
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "version": __version__,
        "commit": git_commit(),
        "tables": [report_tables.SUMMARY, report_tables.CURVES, report_tables.RUNS],
        "pictures_wanted": pictures,
    }
    return report_page.write(
        out, found, rows, drawn, made, _titles(found) if pictures else {}, about
    )


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
    runs = [r for r in found.runs if (r.settings["task"], r.settings["method"]) == (task, method)]
    files = [entry for entry in found.offline if (entry.task, entry.method) == (task, method)]
    try:
        if runs:
            run = min(runs, key=lambda run: (not run.finished, run.settings["seed"]))
            seed, past = run.settings["seed"], PastEvaluation.of_run(run)
        elif files:
            entry = max(files, key=lambda entry: entry.epoch)
            seed, own = entry.seed, checkpoint_for(method, networks)
            past = PastEvaluation.of_figures(entry.source, entry.values, task, own)
        else:
            return []
    except PtpError as error:
        return [ReportPictures(task, method, seed, why_not=str(error))]
    return [picture(past, out, named=found.named)]


def _titles(found: FoundRuns) -> dict[str, str]:
    """What each task is, where the simulator's tasks are meant."""
    environments = {str(run.settings.get("env", "")) for run in found.runs}
    environments |= {str(entry.values.get("env", "")) for entry in found.offline}
    if not all(name.startswith("ptp_sim.") for name in environments):
        return {}
    from ptp_sim.tasks import TASKS

    return {name: task.summary for name, task in TASKS.items()}
