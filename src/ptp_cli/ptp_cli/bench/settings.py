# SPDX-License-Identifier: Apache-2.0
"""What every group is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from ptp_core.training.checkpoint import Checkpoint

Number = TypeVar("Number", int, float)
Figures = dict[str, float | int | str]


@dataclass(frozen=True)
class BenchSettings:
    """Options of one run.

    ``quick`` shows in seconds that everything runs; its figures mean little. ``checkpoint`` None
    is the released one.
    """

    quick: bool = False
    checkpoint: Path | None = None

    def pick(self, full: Number, quick: Number) -> Number:
        """``quick`` in a quick run, else ``full``."""
        return quick if self.quick else full

    def checkpoint_folder(self) -> Path:
        """Folder of the checkpoint. Raises CheckpointError where none is released."""
        from ptp_cli.shared import released_checkpoint

        return (self.checkpoint or released_checkpoint()).absolute()

    def load(self) -> Checkpoint:
        """The checkpoint's networks. Raises CheckpointError."""
        from ptp_core.training.checkpoint import load_checkpoint

        return load_checkpoint(self.checkpoint_folder())
