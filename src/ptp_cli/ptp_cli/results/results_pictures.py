# SPDX-License-Identifier: Apache-2.0
"""Chart, subgoal strips and films of the results page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ptp_cli.process_setup import libraries_into
from ptp_cli.report.report_pictures import TRIES, ReportPictures, evaluation_pictures
from ptp_cli.results.results_evaluations import EvaluationFile
from ptp_core.data.files import write_atomically
from ptp_core.errors import InputError
from ptp_core.rollout.episode_results import wilson_interval
from ptp_core.rollout.past_evaluation import PastEvaluation

# Okabe and Ito's colours, which colour-blind people tell apart.
COLORS = {"planned": "#0072B2", "random": "#D55E00", "oracle": "#009E73"}


def draw_success(
    path: Path, tasks: Sequence[str], found: Mapping[str, EvaluationFile], title: str
) -> bool:
    """Write a PNG of the rows that are measured; False where none is. ``found``: by row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    rows = [file for file in found.values() if file.values is not None]
    if not rows:
        return False
    height = 0.32 * len(rows) + 1.5
    figure = Figure(figsize=(3.1 * len(tasks) + 2.4, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    figure.suptitle(title, fontsize=11, x=0.01, ha="left", weight="bold")
    for panel, task in zip(panels, tasks, strict=True):
        panel.set_title(f"Task {task}", fontsize=10)
        for place, file in enumerate(rows):
            figures = file.values["tasks"][task]
            low, high = wilson_interval(figures["successes"], figures["episodes"])
            rate, color = figures["success_rate"], COLORS[file.wanted.row.subgoals]
            panel.plot([100 * low, 100 * high], [place, place], color=color, linewidth=2.2)
            panel.plot([100 * rate], [place], color=color, marker="o", markersize=5.5)
        panel.set_xlim(-2, 102)
        panel.set_xlabel("success, %", fontsize=9)
        panel.tick_params(labelsize=8.5)
        panel.grid(axis="x", color="#e4e7ec", linewidth=0.7)
        panel.spines[["top", "right"]].set_visible(False)
    shown = dict.fromkeys(file.wanted.row.subgoals for file in rows)
    lines = [Line2D([], [], color=COLORS[name], marker="o") for name in shown]
    names = [f"{name} subgoals" if name != "planned" else "method" for name in shown]
    figure.legend(lines, names, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    panels[0].set_yticks(range(len(rows)), [file.wanted.row.name for file in rows])
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    write_atomically(path, lambda partial: figure.savefig(partial, format="png"))
    return True


FOLDER = "pictures"  # below the folder of results


@dataclass(frozen=True)
class RowPictures:
    """Of a row on one task. Paths are below the folder of results."""

    protocol: str
    row: str
    task: str
    strip: str | None  # the plan of the first episode
    strip_success: bool
    film: str | None  # of the first episode that failed
    film_episode: int
    tried: int  # episodes among which a failure was looked for
    why_not: str  # why there are no pictures


def results_pictures(found: Sequence[EvaluationFile], out: Path) -> list[RowPictures]:
    """Of every measured row that asks for pictures. Those of an earlier page stay.

    Raises PlanCancelled.
    """
    wanted = [
        (file, task)
        for file in found
        if file.values is not None and file.wanted.row.pictures != "none"
        for task in file.wanted.config.tasks
    ]
    made = []
    with (
        libraries_into(Path(os.devnull)) as terminal,
        tqdm(wanted, unit="film", desc="plans and films", file=terminal) as bar,
    ):
        for file, task in bar:
            bar.set_postfix_str(f"{file.wanted.name} {task}")
            made.append(_of_row(file, task, out))
    return made


def _of_row(file: EvaluationFile, task: str, out: Path) -> RowPictures:
    wanted = file.wanted
    below = Path(FOLDER, wanted.protocol, wanted.row.name)
    config = wanted.config
    try:
        past = PastEvaluation.of_figures(str(wanted.path), file.values, task, config.checkpoint)
        tries = TRIES if wanted.row.pictures == "film" else 1
        shown = evaluation_pictures(past, out / below, tries=tries)
    except InputError as error:
        shown = ReportPictures(task, wanted.row.method, config.seed, why_not=str(error))
    film = None if wanted.row.pictures != "film" or shown.film is None else below / shown.film
    return RowPictures(
        wanted.protocol,
        wanted.row.name,
        task,
        strip=None if shown.strip is None else str(below / shown.strip),
        strip_success=shown.strip_success,
        film=None if film is None else str(film),
        film_episode=shown.film_episode,
        tried=shown.tried if wanted.row.pictures == "film" else 0,
        why_not=shown.why_not,
    )
