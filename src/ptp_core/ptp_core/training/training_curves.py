# SPDX-License-Identifier: Apache-2.0
"""A picture of the scalars of several training stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ptp_core.data.files import write_atomically
from ptp_core.training.scalar_log import read_scalars


@dataclass(frozen=True)
class CurvePanel:
    """A panel: one scalar of several stages, over their training minutes."""

    title: str
    scalar: str
    stages: dict[str, str]  # label to folder
    log: bool = True


def plot_curves(run: Path, path: Path, panels: Sequence[CurvePanel]) -> None:
    """Draw the scalars.csv below ``run`` into the PNG ``path``; missing stages stay empty.

    ``panels``: four of them. Thin lines are training batches, dots are validation data.
    """
    # Imported here: matplotlib takes a second to load. No pyplot: it keeps global state.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    for axes, panel in zip(figure.subplots(2, 2).flat, panels, strict=True):
        for number, (label, folder) in enumerate(panel.stages.items()):
            rows = read_scalars(run / folder / "scalars.csv")
            colour = f"C{number}"
            axes.plot(*_series(rows, panel.scalar), color=colour, linewidth=0.8, label=label)
            held_out = f"validation/{panel.scalar}"
            axes.plot(*_series(rows, held_out), "o", color=colour, markersize=4)
        axes.set_title(panel.title, fontsize=11)
        axes.set_xlabel("minutes of training")
        if panel.log:
            axes.set_yscale("log")
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    figure.suptitle("Lines: training batches. Dots: validation trajectories.", fontsize=9)
    write_atomically(path, lambda partial: figure.savefig(partial, format="png", dpi=100))


def _series(rows: list[dict[str, str]], scalar: str) -> tuple[list[float], list[float]]:
    """Minutes and values where the scalar changed; rows in between repeat validation values."""
    minutes, values, last = [], [], None
    for row in rows:
        text = row.get(scalar)
        if text and text != last:
            minutes.append(float(row["seconds"]) / 60)
            values.append(float(text))
            last = text
    return minutes, values
