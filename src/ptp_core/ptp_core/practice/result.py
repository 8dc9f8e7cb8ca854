# SPDX-License-Identifier: Apache-2.0
"""What came of an episode. Kept apart from the networks: whoever only counts needs none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_STEPS = 400  # control steps an episode (authors' train_eval_ptp.py)


@dataclass(frozen=True)
class EpisodeResult:
    """What happened in one episode."""

    success: bool  # on the last observation, as the paper judges
    steps: int  # control steps
    first_success: int | None  # step after which success first held, if ever
    plan_seconds: float | None  # None without a planner
    plan_cost: float | None
    subgoals_reached: int  # that the policy came near to before their time was over
    subgoals_timed_out: int  # that it was moved on from because their time was over
    final_distance: float  # L2 between the last latent and the goal latent
    seconds: float  # wall clock of the control loop, environment included
    latencies: np.ndarray  # float64 (steps,), seconds from image to action
