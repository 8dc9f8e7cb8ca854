# SPDX-License-Identifier: Apache-2.0
"""Controls for every planner: subgoals that nothing was searched for, and true ones.

What a planner's search adds shows against one plan drawn from what it searches in; how well its
subgoals serve shows against pictures of what the stages of the task really end with.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeVar

from ptp_core.config import GcpConfig, LeapConfig, PlannerConfig

Subgoals = Literal["planned", "random", "oracle"]
"""What plans consist of: found by the method's search, drawn without one, true pictures."""
AnyConfig = TypeVar("AnyConfig", PlannerConfig, LeapConfig, GcpConfig)


def unsearched(config: AnyConfig) -> AnyConfig:
    """The same planner with one candidate, so that its cost, still told, chooses nothing.

    PTP: one z ~ N(0, I) for each prediction of each segment of each level; plans of the buffer are
    not used. LEAP: one z ~ N(0, I) for each subgoal. GCP: one z of the learned prior
    p(z | left, right) for each node.
    """
    if isinstance(config, PlannerConfig):
        changes = {"search": "mppi", "samples": 1, "iterations": 0, "prior_only_probability": 1.0}
    elif isinstance(config, LeapConfig):
        changes = {"samples": 1, "iterations": 1, "initial_std": 1.0}
    else:
        changes = {"samples": (1,) * config.depth}
    return dataclasses.replace(config, **changes)
