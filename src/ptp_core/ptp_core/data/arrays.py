# SPDX-License-Identifier: Apache-2.0
"""A data set in memory, column by column."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from ptp_core.data.metadata import Channel, Metadata
from ptp_core.data.trajectory import CAMERA
from ptp_core.errors import DatasetError


@dataclass
class DatasetArrays:
    """All frames one after the other; trajectory i has ``lengths[i]`` of them."""

    images: dict[str, np.ndarray]  # by camera: uint8 (frames, H, W, 3)
    actions: np.ndarray  # float32 (frames, A)
    lengths: np.ndarray  # int64 (trajectories,)
    metadata: list[Metadata]  # of each trajectory
    fingerprint: str  # hash of all of it; see `Dataset.fingerprint`
    proprioception: np.ndarray | None = None  # float32 (frames, P)
    action_channels: tuple[Channel, ...] = ()
    proprioception_channels: tuple[Channel, ...] = ()

    def camera(self, name: str | None = None) -> np.ndarray:
        """Images of one camera; None: of ``main_camera``. Raises DatasetError without it."""
        name = self.main_camera if name is None else name
        if name not in self.images:
            raise DatasetError(
                f'there is no camera "{name}" in the data; they have {", ".join(self.images)}'
            )
        return self.images[name]

    @property
    def main_camera(self) -> str:
        """The camera that a method with one camera looks through: "camera", or the first one."""
        return CAMERA if CAMERA in self.images else min(self.images)

    def split(self, fraction: float) -> tuple[DatasetArrays, DatasetArrays]:
        """Split into the first ``fraction`` of the trajectories and the rest (validation)."""
        cut = split_count(len(self.lengths), fraction)
        return self._part(slice(None, cut)), self._part(slice(cut, None))

    def _part(self, rows: slice) -> DatasetArrays:
        ends = np.concatenate([[0], np.cumsum(self.lengths)])
        first, last = (int(ends[i]) for i in rows.indices(len(self.lengths))[:2])
        frames = slice(first, last)
        part = f"{self.fingerprint} {rows.start} {rows.stop}"
        return DatasetArrays(
            images={camera: images[frames] for camera, images in self.images.items()},
            actions=self.actions[frames],
            lengths=self.lengths[rows],
            metadata=self.metadata[rows],
            fingerprint=hashlib.sha256(part.encode()).hexdigest(),
            proprioception=None if self.proprioception is None else self.proprioception[frames],
            action_channels=self.action_channels,
            proprioception_channels=self.proprioception_channels,
        )


def split_count(trajectories: int, fraction: float) -> int:
    """Return how many trajectories to train on: ``fraction``, with one or more on either side."""
    if trajectories < 2:
        raise DatasetError(f"{trajectories} trajectory is too few: one more is needed to validate")
    return min(max(round(fraction * trajectories), 1), trajectories - 1)
