# SPDX-License-Identifier: Apache-2.0
"""Hindsight goals for a batch of transitions (HER, arXiv 1707.01495; paper section IV-A).

Probabilities and kinds are those of the authors' ptp.py.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ptp_core.config import RelabellingConfig
from ptp_core.errors import InputError

ORIGINAL = -1  # marks "keep the goal that the transition was recorded with"

RandomFrames = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def hindsight_goals(
    frames: np.ndarray,
    last_frames: np.ndarray,
    config: RelabellingConfig,
    rng: np.random.Generator,
    random_frames: RandomFrames | None = None,
) -> np.ndarray:
    """Choose for each transition the frame that serves as its goal: int64 (B,).

    ``frames`` (B,) are the frame indices of s, ``last_frames`` (B,) those of the last frames of
    their trajectories; s' is frame + 1. `RelabellingConfig` documents the kinds; the original goal
    is ORIGINAL. ``random_frames`` draws a frame of another trajectory for each last frame;
    InputError where ``config.random`` needs it and it is missing. Only kinds with a probability
    above 0 use the random generator.
    """
    kind = rng.random(len(frames))
    rest = last_frames - frames  # 0 at a last frame, which is then its own future
    if config.future_distribution == "uniform":
        ahead = 1 + (rng.random(len(frames)) * rest).astype(np.int64)
    else:
        ahead = rng.geometric(1.0 - config.discount, len(frames))
    future = frames + np.minimum(ahead, rest)
    candidates = [
        (config.future, future),
        (config.next, np.minimum(frames + 1, last_frames)),
        (config.current, frames),
        (config.final, last_frames),
    ]
    if config.random:
        if random_frames is None:
            raise InputError("random goals need the frames of other trajectories")
        candidates.append((config.random, random_frames(last_frames, rng)))
    goals = np.full(len(frames), ORIGINAL, dtype=np.int64)
    below = 0.0
    for probability, chosen in candidates:
        taken = (kind >= below) & (kind < below + probability)
        goals[taken] = chosen[taken]
        below += probability
    if not config.original:  # the sum of the probabilities may round to below 1
        goals = np.where(goals == ORIGINAL, last_frames, goals)
    return goals
