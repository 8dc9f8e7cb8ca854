# SPDX-License-Identifier: Apache-2.0
"""LBP's policy with the parallel planner, a baseline: goal and subgoals in one prediction.

The planner is in `ptp_core.planners.parallel_planner`. As LBP it plans at every control step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ptp_core.agents.registry import AgentOptions, Method
from ptp_core.config import InstructionTrainConfig

if TYPE_CHECKING:
    from ptp_core.agents.instructed_agent import InstructedAgent
    from ptp_core.training.checkpoint import Checkpoint


def build(checkpoint: Checkpoint, options: AgentOptions) -> InstructedAgent:
    """Build an agent that predicts goal and subgoals at once."""
    from ptp_core.agents.instructed_agent import InstructedAgent

    return InstructedAgent(checkpoint, PARALLEL, planner=checkpoint.part("lbp_parallel_planner"))


PARALLEL = Method(
    name="lbp_parallel",
    summary="lbp with goal and subgoals predicted at once",
    build=build,
    parts=("sentences", "lbp_parallel_planner", "lbp_parallel_policy"),
    config=InstructionTrainConfig,
    goals=("language",),
    learned="lbp_parallel_policy",
    subgoal_steps=None,
)
METHODS = (PARALLEL,)
