# SPDX-License-Identifier: Apache-2.0
"""Replay buffer that stores code indices, not latents: 2 bytes a code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptp_core.config import RelabellingConfig
from ptp_core.errors import InputError
from ptp_core.learning.relabelling import hindsight_goals


@dataclass
class CodeBatch:
    """A sampled batch; codes are uint16 (B, N), actions float32 (B, A)."""

    codes: np.ndarray
    actions: np.ndarray
    next_codes: np.ndarray
    goal_codes: np.ndarray


class ReplayBuffer:
    """Ring of frames grouped in trajectories; the oldest trajectories make room for new ones.

    A trajectory of T frames gives T - 1 transitions. A frame holds N = ``codes`` codes (uint16),
    the action taken there (A = ``actions`` dimensions, float32) and two indices (int32). Each goal
    that transitions were recorded with is stored once. Without one, the last frame of the
    trajectory is the original goal.
    """

    def __init__(
        self,
        capacity: int,
        codes: int,
        actions: int,
        relabelling: RelabellingConfig | None = None,
    ) -> None:
        if capacity < 2:
            raise InputError(f"a replay buffer needs room for 2 frames or more, not {capacity}")
        self.capacity = capacity
        self.relabelling = relabelling or RelabellingConfig()
        self._codes = np.zeros((capacity, codes), dtype=np.uint16)
        self._actions = np.zeros((capacity, actions), dtype=np.float32)
        self._last = np.full(capacity, -1, dtype=np.int32)  # last frame of the trajectory; -1 free
        self._goal = np.full(capacity, -1, dtype=np.int32)  # row of _goals; -1 = last frame
        self._goals = np.zeros((0, codes), dtype=np.uint16)
        self._goal_rows: dict[bytes, int] = {}
        self._head = 0
        self._end = 0  # frames used so far: sampling draws below this
        self._transitions = 0

    def __len__(self) -> int:
        """Transitions that can be sampled."""
        return self._transitions

    @property
    def bytes_per_transition(self) -> float:
        """Memory of the arrays, goals included, divided by the frames they can hold."""
        arrays = (self._codes, self._actions, self._last, self._goal, self._goals)
        return sum(array.nbytes for array in arrays) / self.capacity

    def add_trajectory(
        self, codes: np.ndarray, actions: np.ndarray, goals: np.ndarray | None = None
    ) -> None:
        """Append frames (T, N) with actions (T, A) or (T - 1, A).

        ``goals`` (T - 1, N) or (T, N): the goal pursued at each step, for the "original" kind.
        Raises InputError when sizes disagree or the trajectory does not fit.
        """
        length = len(codes)
        wanted = self._codes.shape[1]
        if codes.ndim != 2 or codes.shape[1] != wanted or length < 2:
            raise InputError(f"codes must be (2 or more, {wanted}), not {codes.shape}")
        if actions.shape[1:] != self._actions.shape[1:] or len(actions) not in (
            length - 1,
            length,
        ):
            raise InputError(f"{length} frames do not go with actions {actions.shape}")
        if goals is not None and len(goals) not in (length - 1, length):
            raise InputError(f"{length} frames do not go with goals {goals.shape}")
        if length > self.capacity:
            raise InputError(f"{length} frames do not fit a buffer of {self.capacity}")
        if self._head + length > self.capacity:
            self._release(self._head, self.capacity)
            self._head = 0
        start, stop = self._head, self._head + length
        self._release(start, stop)
        self._codes[start:stop] = codes
        self._actions[start : start + len(actions)] = actions
        self._last[start:stop] = stop - 1
        self._goal[start:stop] = -1
        if goals is not None:
            self._goal[start : start + len(goals)] = [self._goal_row(goal) for goal in goals]
        self._head = stop % self.capacity
        self._end = max(self._end, stop)
        self._transitions += length - 1

    def sample(
        self,
        batch: int,
        rng: np.random.Generator,
        generated: np.ndarray | None = None,
        fraction: float = 0.0,
    ) -> CodeBatch:
        """Draw transitions uniformly, with relabelled goals.

        ``generated`` (frames, N): generated codes of the buffer's frames. A ``fraction`` of the
        goals that are frames of the buffer takes these.
        """
        if not self._transitions:
            raise InputError("the replay buffer is empty")
        frames = rng.integers(self._end, size=batch)
        # Redraw last frames, which have no next state, and frames of released trajectories.
        while True:
            bad = np.flatnonzero(self._last[frames] <= frames)
            if not len(bad):
                break
            frames[bad] = rng.integers(self._end, size=len(bad))
        last = self._last[frames].astype(np.int64)
        goal_frames = hindsight_goals(frames, last, self.relabelling, rng, self._random_frames)
        rows = self._goal[frames]
        goal_frames = np.where((goal_frames < 0) & (rows < 0), last, goal_frames)
        goal_codes = self._codes.take(goal_frames, 0)  # takes half the time of indexing
        recorded = np.flatnonzero(goal_frames < 0)
        if len(recorded):
            goal_codes[recorded] = self._goals[rows[recorded]]
        if generated is not None:
            shown = np.flatnonzero((rng.random(batch) < fraction) & (goal_frames >= 0))
            goal_codes[shown] = generated[goal_frames[shown]]
        return CodeBatch(
            codes=self._codes.take(frames, 0),
            actions=self._actions.take(frames, 0),
            next_codes=self._codes.take(frames + 1, 0),
            goal_codes=goal_codes,
        )

    def _random_frames(self, last: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """For each last frame a frame of another trajectory; of the same where it is alone."""
        frames = rng.integers(self._end, size=len(last))
        used = self._last[: self._end]
        used = used[used >= 0]
        several = (used != used[0]).any()
        while True:
            found = self._last[frames]
            bad = np.flatnonzero((found < 0) | ((found == last) & several))
            if not len(bad):
                return frames
            frames[bad] = rng.integers(self._end, size=len(bad))

    def _release(self, start: int, stop: int) -> None:
        """Free every trajectory that has a frame in [start, stop)."""
        lasts = np.unique(self._last[start:stop])
        for last in lasts[lasts >= 0]:
            # The trajectory ends at ``last``; its frames are those that point to it.
            first = int(last)
            while first > 0 and self._last[first - 1] == last:
                first -= 1
            self._last[first : last + 1] = -1
            self._transitions -= int(last) - first

    def _goal_row(self, goal: np.ndarray) -> int:
        goal = np.ascontiguousarray(goal, dtype=np.uint16)
        row = self._goal_rows.setdefault(goal.tobytes(), len(self._goal_rows))
        if row >= len(self._goals):
            room = np.zeros((max(64, len(self._goals)), len(goal)), dtype=np.uint16)
            self._goals = np.concatenate([self._goals, room])
        self._goals[row] = goal
        return row
