# SPDX-License-Identifier: Apache-2.0
"""Views of an encoded data set for learners: frames, goals by role, chunks of actions.

All methods take and return frame indices, with which a learner reads the columns it needs:

    view = DatasetView(data)
    frames = view.draw(256, rng)
    goals = view.goals(frames, roles.value, rng)
    actions, real = view.chunks(frames, 6)
    data.codes[frames], data.codes[view.ahead(frames, 1)], data.codes[goals], ...

A view never crosses trajectories. Goals and windows of a chain may cross its primitives;
`EncodedDataset.by_segment` keeps them within one primitive.
"""

from __future__ import annotations

import numpy as np

from ptp_core.config import RelabellingConfig
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.errors import DatasetError, InputError
from ptp_core.learning.relabelling import ORIGINAL, hindsight_goals


class DatasetView:
    """Samples frames of ``data`` as indices: int64 arrays (B,).

    A frame can be drawn if at least ``room`` frames follow it in its trajectory: 1 for
    transitions, 0 for single frames. ``weights`` (frames,) are sampling weights; None: uniform.
    Raises DatasetError when no frame can be drawn.
    """

    def __init__(
        self, data: EncodedDataset, *, room: int = 1, weights: np.ndarray | None = None
    ) -> None:
        self.data = data
        starts = data.starts
        self._trajectory = np.repeat(np.arange(len(data.lengths)), data.lengths)
        self._first = starts[self._trajectory]
        self._last = (starts + data.lengths - 1)[self._trajectory]
        frames = np.arange(len(self._last))
        self._drawable = frames[self._last - frames >= room]
        self._sums = None
        if weights is not None:
            self._sums = np.cumsum(weights[self._drawable], dtype=np.float64)
        if not len(self._drawable) or (self._sums is not None and not self._sums[-1] > 0):
            raise DatasetError(
                f"no frame has {room} frames after it and a weight above 0: collect longer "
                "trajectories"
            )

    def __len__(self) -> int:
        """Frames that can be drawn."""
        return len(self._drawable)

    def trajectory(self, frames: np.ndarray) -> np.ndarray:
        """Index of each frame's trajectory in ``data.metadata``."""
        return self._trajectory[frames]

    def last(self, frames: np.ndarray) -> np.ndarray:
        """Last frame of each frame's trajectory."""
        return self._last[frames]

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw frames, with replacement."""
        if self._sums is None:
            return self._drawable[rng.integers(len(self), size=count)]
        drawn = np.searchsorted(self._sums, rng.random(count) * self._sums[-1], side="right")
        return self._drawable[np.minimum(drawn, len(self) - 1)]

    def ahead(self, frames: np.ndarray, steps: int | np.ndarray) -> np.ndarray:
        """The frame ``steps`` later, at most the last one of the trajectory."""
        return np.minimum(frames + steps, self._last[frames])

    def goals(
        self, frames: np.ndarray, config: RelabellingConfig, rng: np.random.Generator
    ) -> np.ndarray:
        """Frames that serve as goals of one role; the original goal is the last frame."""
        last = self._last[frames]
        goals = hindsight_goals(frames, last, config, rng, self._random_frames)
        return np.where(goals == ORIGINAL, last, goals)

    def _random_frames(self, last: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """For each last frame a frame of another trajectory; of the same where it is alone."""
        first, total = self._first[last], len(self._last)
        if len(self.data.lengths) == 1:
            return rng.integers(total, size=len(last))
        own = last - first + 1
        drawn = (rng.random(len(last)) * (total - own)).astype(np.int64)
        return drawn + own * (drawn >= first)

    def chunks(self, frames: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
        """Chunks of actions from each frame on: float32 (B, horizon, A), bool mask (B, horizon).

        Beyond the end of the trajectory its last action is repeated, and the mask is false.
        """
        if horizon < 1:
            raise InputError(f"a chunk of {horizon} actions; it must have 1 or more")
        steps = frames[:, None] + np.arange(horizon)
        last = self._last[frames][:, None]
        return self.data.actions[np.minimum(steps, last)], steps <= last
