# SPDX-License-Identifier: Apache-2.0
"""Model-free baseline: IQL's goal-conditioned policy pursues the goal itself (paper Fig. 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ptp_core.agents.method import AgentOptions, Method
from ptp_core.agents.online_iql import iql_learner

if TYPE_CHECKING:
    from ptp_core.agents.subgoal_agent import SubgoalAgent
    from ptp_core.training.checkpoint import Checkpoint


def build(checkpoint: Checkpoint, options: AgentOptions) -> SubgoalAgent:
    """Build an agent whose policy pursues the goal without a plan."""
    from ptp_core.agents.subgoal_agent import subgoal_agent

    return subgoal_agent(MODEL_FREE, checkpoint, options)


MODEL_FREE = Method(
    name="model_free",
    summary="no subgoals, the policy pursues the goal itself",
    build=build,
    parts=("iql",),
    learned="iql",
    learner=iql_learner,
)
METHODS = (MODEL_FREE,)
