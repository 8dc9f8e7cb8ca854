# SPDX-License-Identifier: Apache-2.0
"""What came of an episode. Kept apart from the networks: whoever only counts needs none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_STEPS = 400  # control steps an episode (authors' train_eval_ptp.py)
IDLE_MOTION = 0.15  # of the largest motion a step, in [-1, 1]
# The policy's fixed standard deviation (paper): a smaller mean motion is less than its own noise.
COST_TERMS = ("distance", "value", "prior")


def is_idle(motion: np.ndarray) -> bool:
    """Whether motion, numbers in [-1, 1] without the gripper's, is next to none."""
    return bool((np.abs(motion) < IDLE_MOTION).all())


@dataclass(frozen=True)
class EpisodeResult:
    """What happened in one episode."""

    success: bool  # on the last observation, as the paper judges
    steps: int  # control steps
    first_success: int | None  # step after which success first held, if ever
    plan_seconds: float | None  # None without a planner
    plan_cost: float | None
    plan_costs: dict[str, float] | None  # by term: distance, value, prior; None: not told
    subgoals_reached: int  # that the policy came near to before their time was over
    subgoals_timed_out: int  # that it was moved on from because their time was over
    idle_fraction: float | None  # of the steps until success, see `is_idle`; None: not seen
    final_distance: float | None  # to the goal in the agent's measure; L2 between latents
    seconds: float  # wall clock of the control loop, environment included
    latencies: np.ndarray  # float64 (steps,), seconds from image to action
