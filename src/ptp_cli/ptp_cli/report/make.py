# SPDX-License-Identifier: Apache-2.0
"""Put a report together."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ptp_cli import __version__
from ptp_cli.bench.machine import git_commit, machine
from ptp_cli.demo.page import MACHINE
from ptp_cli.report import page, repeat, tables
from ptp_cli.report.curves import draw
from ptp_cli.report.figures import evaluation_curves, practice_curves, table
from ptp_cli.report.gather import Found
from ptp_cli.report.pictures import Pictures, picture_run
from ptp_cli.terminal import libraries_into
from ptp_core.practice.run_folder import PracticeRun

CURVES, PRACTICE = "curves.png", "practice.png"


def make(
    found: Found,
    sources: Sequence[str],
    out: Path,
    *,
    pictures: bool,
    baselines: Path | None = None,
) -> Path:
    """Write curves, tables and page into the folder ``out``; the page's path.

    ``pictures``: also strips and films, for which evaluation episodes are done again; those of
    an earlier report stay. Interrupted, the next goes on. ``baselines``: networks of leap and
    gcp, where runs have these methods.
    """
    curves = {"evaluation": evaluation_curves(found), "practice": practice_curves(found)}
    rows = table(found, curves["evaluation"])
    tables.write_tables(out, found, rows, curves)
    drawn = {"evaluation": CURVES, "practice": PRACTICE if curves["practice"] else ""}
    draw(out / CURVES, curves["evaluation"], found.tasks, found.methods, "Success of evaluations")
    if curves["practice"]:
        title = "Success while practising"
        draw(out / PRACTICE, curves["practice"], found.tasks, found.methods, title)
    wanted = pictures and bool(found.runs)
    made = _pictures(found, out, baselines) if wanted else []
    figures = machine()
    about = {
        "commands": repeat.commands(found, sources, out),
        "configuration": repeat.configuration(found),
        "machine": [
            (label, figures[name]) for name, label in MACHINE.items() if figures.get(name)
        ],
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "version": __version__,
        "commit": git_commit(),
        "tables": [tables.SUMMARY, tables.CURVES, tables.RUNS],
        "pictures_wanted": wanted,
    }
    return page.write(out, found, rows, drawn, made, _titles(found) if wanted else {}, about)


def _pictures(found: Found, out: Path, baselines: Path | None) -> list[Pictures]:
    """Of one run a task and method: the first that is finished."""
    chosen = [_shown(found, task, method) for task in found.tasks for method in found.methods]
    made = []
    with libraries_into(Path(os.devnull)) as terminal:
        runs = [run for run in chosen if run is not None]
        with tqdm(runs, unit="run", desc="plans and films", file=terminal) as bar:
            for run in bar:
                bar.set_postfix_str(f"{run.settings['method']} {run.settings['task']}")
                made.append(picture_run(run, out, baselines))
    return made


def _shown(found: Found, task: str, method: str) -> PracticeRun | None:
    runs = [
        run
        for run in found.runs
        if (run.settings["task"], run.settings["method"]) == (task, method)
    ]
    return min(runs, key=lambda run: (not run.finished, run.settings["seed"]), default=None)


def _titles(found: Found) -> dict[str, str]:
    """What each task is, where the simulator's tasks are meant."""
    environments = {run.settings.get("env", "") for run in found.runs}
    if not all(name.startswith("ptp_sim.") for name in environments):
        return {}
    from ptp_sim.tasks import TASKS

    return {name: task.summary for name, task in TASKS.items()}
