# SPDX-License-Identifier: Apache-2.0
"""A classifier that says whether the work of a goal is done, wherever the arm is.

The L2 distance of latents is mostly that of the arm: with the arm in one place, the block in the
drawer is near a goal with the block on the tray. This network compares what the arm leaves behind.
It learns from demonstrations that mark when their work is done:

    same:  two frames of the first part of the work, in which the arm only comes near
           two frames after the work is done, with the arm wherever it retreats
           one frame each after the work of two demonstrations of one thing from one scene
    other: one frame of the first part, one after the work is done
           one frame of the work under way, one after it is done
           one frame each of two demonstrations of one thing from one scene, with another object
           elsewhere, both before or both after the work

The third kind shows how far results of the same work differ: a can that was pushed does not stand
where it stood the last time. Without work under way an object in the gripper, over its place,
counts as work done. Without the last kind an object that is missing hardly counts, as no
demonstration shows one that only vanishes. Before and after its work the arm is in different
places, so a network could look at the arm alone.
Where the data have proprioception, of several pairs that one is taken in which the arm tells the
wrong thing: the farthest apart of the same work, the nearest together of other work.

No state of a simulator is used. Ours; the idea of rewards from a classifier of outcomes is that of
Xie et al. (2018, arXiv 1810.01482).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ptp_core.config import GoalClassifierConfig
from ptp_core.errors import DatasetError
from ptp_core.learning.pair_classifier import PairClassifier

if TYPE_CHECKING:
    from ptp_core.data.encoded_dataset import EncodedDataset
    from ptp_core.data.trajectory import Metadata

EARLY, LATE, UNDER_WAY = range(3)  # parts of a demonstration; see `PairSampler.frames`


class GoalClassifier(PairClassifier):
    """Logit (B,) of "the work of the goal is done here" for latents and goals (B, D).

    Symmetric: both orders of a pair give the same logit.
    """

    def forward(self, latents: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
        """Logits (B,) of latents and goals (B, D)."""
        return 0.5 * (super().forward(latents, goals) + super().forward(goals, latents))

    def work_left(self, latents: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
        """-log P(done), (B,): a planner's distance to the goal."""
        return self.cost(latents, goals)


class UnanimousClassifier(GoalClassifier):
    """Classifiers of which all must say that the work is done: the least of their logits."""

    def __init__(self, members: Sequence[GoalClassifier]) -> None:
        nn.Module.__init__(self)
        self.members = nn.ModuleList(members)

    def forward(self, latents: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
        """Logits (B,) of latents and goals (B, D)."""
        return torch.stack([member(latents, goals) for member in self.members]).amin(0)


@dataclass(frozen=True)
class FramePairs:
    """Frames (B,) int64 to compare, and whether the same work is done in both."""

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray  # float32, 0 or 1


def shows_again(demonstration: Metadata, earlier: Metadata, how: str) -> bool:
    """Whether a demonstration shows again what an earlier one shows, from the same seed.

    ``how``: "repeats", from the same scene; "elsewhere", with another object elsewhere.
    """
    extra, before = demonstration.extra, earlier.extra
    return how in extra and extra.get("seed") == before.get("seed")


class PairSampler:
    """Draws pairs of frames of demonstrations that record when their work is done.

    Raises DatasetError where none does.
    """

    def __init__(self, data: EncodedDataset, config: GoalClassifierConfig) -> None:
        early, middle, late = [], [], []
        twins: dict[str, list] = {"repeats": [], "elsewhere": []}
        before_it, row_before_it = None, None  # the demonstration before, and its first row
        for start, demonstration in zip(data.starts, data.metadata, strict=True):
            first_row = None
            for number, segment in enumerate(demonstration.segments):
                if segment.done is None or segment.success is False:
                    continue
                before = int(config.approach * (segment.done - segment.start))
                after = segment.done + config.margin
                under_way = segment.done - config.margin - segment.start - before
                if before >= 2 and segment.stop - after >= 2:
                    early.append((start + segment.start, before))
                    late.append((start + after, segment.stop - after))
                    part = (start + segment.start + before, under_way)
                    middle.append(part if under_way > 0 else early[-1])
                    if number == 0:
                        first_row = len(early) - 1
            if None not in (first_row, row_before_it):
                for how, rows in twins.items():
                    if shows_again(demonstration, before_it, how):
                        rows += [(row_before_it, first_row), (first_row, row_before_it)]
            before_it, row_before_it = demonstration, first_row
        if not early:
            raise DatasetError(
                "no demonstration records when its work was done: the goal classifier needs it; "
                "collect with an environment whose info has expert_done"
            )
        # (3, demonstrations, (first frame, frames))
        self._parts = np.array([early, late, middle])
        self._repeats, self._elsewhere = (
            np.array(rows, dtype=np.int64).reshape(-1, 2) for rows in twins.values()
        )
        self._repeated = config.repeated if len(self._repeats) else 0.0
        self._moved = config.elsewhere if len(self._elsewhere) else 0.0
        self._under_way = config.under_way
        self._arm = None
        self._candidates = 1
        if data.proprioception is not None:
            spread = data.proprioception.std(axis=0).clip(min=1e-3)
            self._arm = data.proprioception / spread
            self._candidates = config.candidates

    def __len__(self) -> int:
        """Demonstrations that say when their work is done."""
        return self._parts.shape[1]

    def frames(
        self, part: int, chosen: np.ndarray, rng: np.random.Generator, most: int | None = None
    ) -> np.ndarray:
        """Draw a frame of each demonstration in ``chosen`` (N,): int64 (N,).

        ``part``: EARLY, before anything is moved, of which ``most`` says how many frames; LATE,
        after the work is done; UNDER_WAY, between them.
        """
        start, length = self._parts[part, chosen].T
        length = length if most is None else np.minimum(length, most)
        return start + (rng.random(len(chosen)) * length).astype(np.int64)

    def elsewhere(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw pairs of demonstrations (2, count) that differ by an object elsewhere.

        ``count`` is taken for 0 where the data have none.
        """
        if not len(self._elsewhere):
            return np.zeros((2, 0), dtype=np.int64)
        return self._elsewhere[rng.integers(len(self._elsewhere), size=count)].T

    def draw(self, count: int, rng: np.random.Generator) -> FramePairs:
        """Draw ``count`` pairs, half of them the same."""
        chosen = rng.integers(self._parts.shape[1], size=count)
        first = rng.integers(2, size=count)  # 0: before the work, 1: after it
        same = rng.random(count) < 0.5
        second = np.where(same, first, 1 - first)
        under_way = ~same & (rng.random(count) < self._under_way)
        first, second = np.where(under_way, [[UNDER_WAY], [LATE]], [first, second])
        other = chosen.copy()
        if self._repeated:
            repeated = same & (first == LATE) & (rng.random(count) < self._repeated)
            drawn = rng.integers(len(self._repeats), size=repeated.sum())
            chosen[repeated], other[repeated] = self._repeats[drawn].T
        if self._moved:
            moved = ~same & (rng.random(count) < self._moved)
            chosen[moved], other[moved] = self.elsewhere(moved.sum(), rng)
            first[moved] = second[moved] = np.where(rng.random(moved.sum()) < 0.5, EARLY, LATE)
        frames = []
        for part, rows in ((first, chosen), (second, other)):
            start, length = self._parts[part, rows].T[..., None]
            drawn = rng.random((count, self._candidates))
            frames.append(start + (drawn * length).astype(np.int64))
        row = np.arange(count)
        best = np.zeros(count, dtype=np.int64)
        if self._arm is not None:
            apart = np.linalg.norm(self._arm[frames[0]] - self._arm[frames[1]], axis=-1)
            best = np.where(same, apart.argmax(axis=1), apart.argmin(axis=1))
        pairs = (candidates[row, best] for candidates in frames)
        return FramePairs(*pairs, same.astype(np.float32))
