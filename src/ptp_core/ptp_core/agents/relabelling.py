# SPDX-License-Identifier: Apache-2.0
"""Hindsight goals for a batch of transitions (paper section IV-A; authors' ptp.py)."""

from __future__ import annotations

import numpy as np

from ptp_core.config import RelabellingConfig

ORIGINAL = -1  # marks "keep the goal that the transition was recorded with"


def hindsight_goals(
    frames: np.ndarray,
    last_frames: np.ndarray,
    config: RelabellingConfig,
    rng: np.random.Generator,
) -> np.ndarray:
    """Choose for each transition the frame that serves as its goal: int64 (B,).

    ``frames`` (B,) are the frame numbers of s, ``last_frames`` (B,) those of the last frames of
    their trajectories; s' is frame + 1. "future" is uniform over [frame + 1, last], "next" is
    frame + 1, the rest is ORIGINAL.
    """
    kind = rng.random(len(frames))
    rest = last_frames - frames  # at least 1
    future = frames + 1 + (rng.random(len(frames)) * rest).astype(np.int64)
    goals = np.full(len(frames), ORIGINAL, dtype=np.int64)
    is_future = kind < config.future
    is_next = ~is_future & (kind < config.future + config.next)
    goals[is_future] = future[is_future]
    goals[is_next] = frames[is_next] + 1
    return goals
