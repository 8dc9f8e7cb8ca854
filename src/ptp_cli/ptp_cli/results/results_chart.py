# SPDX-License-Identifier: Apache-2.0
"""Draw success of the rows of a protocol: a panel a task, a point with its interval a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ptp_cli.results.evaluation_files import Standing
from ptp_core.data.files import write_atomically
from ptp_core.practice.summary import wilson_interval

# Okabe and Ito's colours, which colour-blind people tell apart.
COLORS = {"planned": "#0072B2", "random": "#D55E00", "oracle": "#009E73"}


def draw_success(
    path: Path, tasks: Sequence[str], found: Mapping[str, Standing], title: str
) -> bool:
    """Write a PNG of the rows that are measured; False where none is. ``found``: by row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    rows = [standing for standing in found.values() if standing.values is not None]
    if not rows:
        return False
    height = 0.32 * len(rows) + 1.5
    figure = Figure(figsize=(3.1 * len(tasks) + 2.4, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    figure.suptitle(title, fontsize=11, x=0.01, ha="left", weight="bold")
    for panel, task in zip(panels, tasks, strict=True):
        panel.set_title(f"Task {task}", fontsize=10)
        for place, standing in enumerate(rows):
            figures = standing.values["tasks"][task]
            low, high = wilson_interval(figures["successes"], figures["episodes"])
            rate, color = figures["success_rate"], COLORS[standing.wanted.row.subgoals]
            panel.plot([100 * low, 100 * high], [place, place], color=color, linewidth=2.2)
            panel.plot([100 * rate], [place], color=color, marker="o", markersize=5.5)
        panel.set_xlim(-2, 102)
        panel.set_xlabel("success, %", fontsize=9)
        panel.tick_params(labelsize=8.5)
        panel.grid(axis="x", color="#e4e7ec", linewidth=0.7)
        panel.spines[["top", "right"]].set_visible(False)
    shown = dict.fromkeys(standing.wanted.row.subgoals for standing in rows)
    lines = [Line2D([], [], color=COLORS[name], marker="o") for name in shown]
    names = [f"{name} subgoals" if name != "planned" else "method" for name in shown]
    figure.legend(lines, names, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    panels[0].set_yticks(range(len(rows)), [standing.wanted.row.name for standing in rows])
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    write_atomically(path, lambda partial: figure.savefig(partial, format="png"))
    return True
