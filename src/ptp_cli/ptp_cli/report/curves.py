# SPDX-License-Identifier: Apache-2.0
"""Draw success over epochs: a panel a task, a line a method, the paper's numbers dashed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ptp_cli.report import paper
from ptp_cli.report.figures import Curves
from ptp_core.data.files import write_atomically

# Okabe and Ito's colours, which colour-blind people tell apart, and a marker each.
STYLES = (
    *(("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D")),
    *(("#56B4E9", "v"), ("#E69F00", "P"), ("#555555", "X")),
)
PAPER_COLOR = "#444444"
PAPER_LABEL = "the paper's PTP: after offline training, after 150 epochs online"
MARKED = 40  # points above which a line has no markers


def draw(
    path: Path,
    curves: Curves,
    tasks: Sequence[str],
    methods: Sequence[str],
    title: str,
    papers: Mapping[str, tuple[float | None, float | None]],
) -> None:
    """Write a PNG. Epochs up to 0 are offline, later ones online.

    ``papers``: the paper's numbers to dash, offline and online, by task.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [point.epoch for points in curves.values() for point in points] or [0]
    last = max(max(epochs), 1)
    first = min(min(epochs), -round(0.12 * last) - 1)
    figure = Figure(figsize=(max(4.6 * len(tasks), 5.5), 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    figure.suptitle(title, fontsize=12, x=0.01, ha="left", weight="bold")
    for panel, task in zip(panels, tasks, strict=True):
        panel.set_title(f"Task {task}", fontsize=11)
        panel.axvspan(first, 0, color="#f1f3f6", zorder=0)
        panel.axvline(0, color="#c3c9d2", linewidth=0.8, zorder=1)
        offline, online = papers.get(task, (None, None))
        _dash(panel, offline, (first, 0))
        _dash(panel, online, (0, last))
        for number, method in enumerate(methods):
            points = curves.get((task, method), [])
            if not points:
                continue
            color, marker = STYLES[number % len(STYLES)]
            x = [point.epoch for point in points]
            panel.fill_between(
                x,
                [100 * point.low for point in points],
                [100 * point.high for point in points],
                color=color,
                alpha=0.13,
                linewidth=0,
                zorder=2,
            )
            panel.plot(
                x,
                [100 * point.rate for point in points],
                color=color,
                linewidth=1.8,
                marker=marker if len(points) <= MARKED else None,
                markersize=5,
                label=paper.label(method),
                zorder=3 + len(methods) - number,
                clip_on=False,
            )
        panel.set_xlim(first, last)
        panel.set_ylim(0, 100)
        panel.set_xlabel("epoch", fontsize=9.5)
        panel.text(first / 2, 97, "offline", ha="center", va="top", fontsize=8, color=PAPER_COLOR)
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        panel.tick_params(labelsize=9)
        panel.grid(axis="y", color="#e4e7ec", linewidth=0.7, zorder=0)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("success, %", fontsize=9.5)
    named = {
        name: line
        for panel in panels
        for line, name in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    order = sorted(named, key=lambda name: name == PAPER_LABEL)
    figure.legend(
        [named[name] for name in order],
        order,
        loc="outside lower center",
        ncols=min(len(named), 4) or 1,
        frameon=False,
        fontsize=9.5,
    )
    write_atomically(path, lambda partial: figure.savefig(partial, format="png"))


def _dash(panel, rate: float | None, span: tuple[float, float]) -> None:
    if rate is None:
        return
    panel.plot(
        span, [100 * rate] * 2, color=PAPER_COLOR, linestyle=(0, (4, 3)), linewidth=1.3,
        label=PAPER_LABEL, zorder=2.5,
    )  # fmt: skip
    online = span[1] > 0
    panel.annotate(
        f"{100 * rate:.1f}",
        (span[online], 100 * rate),
        xytext=(4, 0) if online else (2, 3),
        textcoords="offset points",
        va="center" if online else "baseline",
        fontsize=8,
        color=PAPER_COLOR,
        annotation_clip=False,
        zorder=9,
    )
