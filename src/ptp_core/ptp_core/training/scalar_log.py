# SPDX-License-Identifier: Apache-2.0
"""The scalars of a training stage: a CSV file, and the same values for TensorBoard."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ptp_core.data.file_limits import MIB, read_bytes
from ptp_core.errors import CheckpointError

SCALARS_MOST = 256 * MIB  # bytes; a day of training writes 2


def read_scalars(path: Path) -> list[dict[str, str]]:
    """Rows of a ``scalars.csv``; none where there is no file.

    Raises CheckpointError where the file is damaged. A last row that is cut off was being written
    when a run was killed: it is left out.
    """
    if not path.exists():
        return []
    try:
        text = read_bytes(path, SCALARS_MOST).decode("utf-8")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        if rows and None in rows[-1].values():
            rows.pop()
        for row in rows:
            int(row["step"])
            for value in row.values():
                float(value or 0.0)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    # TypeError: more values than names
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise CheckpointError(
            f"{path}: damaged ({error!r}); delete it to begin the curves anew"
        ) from error
    return rows


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
            self.rows = [row for row in read_scalars(self.path) if int(row["step"]) <= step]
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
