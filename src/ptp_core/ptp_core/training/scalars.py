# SPDX-License-Identifier: Apache-2.0
"""Scalars of a training stage as CSV and as TensorBoard events."""

from __future__ import annotations

import csv
from pathlib import Path


class ScalarLog:
    """One row of ``scalars.csv`` a call, and the same numbers for TensorBoard.

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
