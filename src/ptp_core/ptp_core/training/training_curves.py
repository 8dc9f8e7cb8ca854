# SPDX-License-Identifier: Apache-2.0
"""Scalars of a training stage as CSV and TensorBoard events, and the curves of a run."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from ptp_core.data.files import write_atomically
from ptp_core.planners.subgoal_generator import HORIZONS


class ScalarLog:
    """Writes one row of ``scalars.csv`` a call, and the same values for TensorBoard.

    On resuming at ``step``, later rows (of a run that was killed) are dropped.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        # Imported here: TensorBoard takes seconds to load and only training needs it.
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "scalars.csv"
        self.rows: list[dict[str, str]] = []
        if self.path.exists() and step:
            with self.path.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        self.fields = list(self.rows[0]) if self.rows else []
        self._rewrite()
        self._events = SummaryWriter(folder, purge_step=step + 1 if step else None)

    def write(self, step: int, seconds: float, values: dict[str, float]) -> None:
        """Append one row; new names become new columns."""
        row = {"step": str(step), "seconds": f"{seconds:.1f}"}
        row |= {name: f"{value:.6g}" for name, value in values.items()}
        self.rows.append(row)
        if set(row) <= set(self.fields):
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.fields).writerow(row)
        else:
            self.fields += [name for name in row if name not in self.fields]
            self._rewrite()
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush to the disk."""
        self._events.close()

    def _rewrite(self) -> None:
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.fields)
            if self.fields:
                writer.writeheader()
            writer.writerows(self.rows)


@dataclass(frozen=True)
class CurvePanel:
    """A panel: one scalar of several stages, over their training minutes."""

    title: str
    scalar: str
    stages: dict[str, str]  # label to folder
    log: bool = True


POLICY = {"IQL": "iql", "imagined goals": "imagined"}
PANELS = (
    CurvePanel("VQ-VAE: weighted reconstruction error", "weighted_mse", {"VQ-VAE": "vqvae"}),
    CurvePanel(
        "Subgoal generators: SmoothL1",
        "smooth_l1",
        {name: f"generators/{name}" for name in HORIZONS},
    ),
    CurvePanel("Policy: error of the action", "policy/action_mse", POLICY),
    CurvePanel("V: mean over the batch", "value/mean", POLICY, log=False),
)


def plot_curves(run: Path, path: Path) -> None:
    """Draw the scalars.csv below ``run`` into the PNG ``path``; missing stages stay empty.

    Thin lines are training batches, dots are validation data.
    """
    # Imported here: matplotlib takes a second to load. No pyplot: it keeps global state.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    for axes, panel in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        for number, (label, folder) in enumerate(panel.stages.items()):
            rows = _read(run / folder / "scalars.csv")
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


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


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
