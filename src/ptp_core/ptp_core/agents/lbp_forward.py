# SPDX-License-Identifier: Apache-2.0
"""LBP's policy with the forward planner, a baseline: subgoals 10 steps apart from now on.

The planner is in `ptp_core.planners.forward_planner`. As LBP it plans at every control step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ptp_core.agents.registry import AgentOptions, Method
from ptp_core.config import InstructionTrainConfig

if TYPE_CHECKING:
    from ptp_core.agents.instructed_agent import InstructedAgent
    from ptp_core.training.checkpoint import Checkpoint


def build(checkpoint: Checkpoint, options: AgentOptions) -> InstructedAgent:
    """Build an agent that plans forwards."""
    from ptp_core.agents.instructed_agent import InstructedAgent

    return InstructedAgent(checkpoint, FORWARD, planner=checkpoint.part("lbp_forward_planner"))


FORWARD = Method(
    name="lbp_forward",
    summary="lbp with subgoals predicted forwards, 10 steps at a time",
    build=build,
    parts=("sentences", "lbp_forward_planner", "lbp_forward_policy"),
    config=InstructionTrainConfig,
    goals=("language",),
    learned="lbp_forward_policy",
    subgoal_steps=None,
)
METHODS = (FORWARD,)
