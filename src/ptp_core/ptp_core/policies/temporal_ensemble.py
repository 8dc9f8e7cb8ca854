# SPDX-License-Identifier: Apache-2.0
"""Temporal ensembling: the mean of what earlier chunks of actions say about now (ACT)."""

from __future__ import annotations

import numpy as np

DECAY = 0.25
"""Weights are exp(-DECAY k), k = 0 for the oldest prediction (arXiv 2304.13705; LBP's value)."""


def ensemble_weights(count: int, decay: float = DECAY) -> np.ndarray:
    """Weights (count,) that sum to 1, from the oldest prediction to the newest."""
    weights = np.exp(-decay * np.arange(count))
    return weights / weights.sum()


class TemporalEnsemble:
    """Keeps the chunks that still say something, and averages what they say about now.

    ``decay`` below 0 gives new predictions more weight than old ones.
    """

    def __init__(self, decay: float = DECAY) -> None:
        self.decay = decay
        self._chunks: list[np.ndarray] = []  # from the oldest on, their first action is for now

    def reset(self) -> None:
        """Forget all chunks, as they pursue something else."""
        self._chunks = []

    def act(self, chunk: np.ndarray) -> np.ndarray:
        """Add the chunk (horizon, A) predicted now; return the action (A,) for now."""
        self._chunks.append(chunk)
        weights = ensemble_weights(len(self._chunks), self.decay)
        said = np.stack([chunk[0] for chunk in self._chunks])
        self._chunks = [chunk[1:] for chunk in self._chunks if len(chunk) > 1]
        return (weights @ said).astype(np.float32)
