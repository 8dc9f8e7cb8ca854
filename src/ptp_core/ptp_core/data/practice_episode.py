# SPDX-License-Identifier: Apache-2.0
"""What an episode leaves to learn from: latents, actions, and the subgoals that were pursued."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PracticeEpisode:
    """What the learner needs of an episode of n steps."""

    codes: np.ndarray  # (n + 1, N) of the observations
    actions: np.ndarray  # (n, A) in [-1, 1], as executed
    targets: np.ndarray | None = None  # (n, N) pursued at each step; None: a demonstration

    @property
    def steps(self) -> int:
        """Return n."""
        return len(self.actions)
