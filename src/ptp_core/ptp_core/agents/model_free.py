# SPDX-License-Identifier: Apache-2.0
"""Model-free baseline: IQL's goal-conditioned policy pursues the goal itself (paper Fig. 3).

`iql_learner` is the online learner of every method whose policy IQL trains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ptp_core.agents.registry import AgentOptions, Method

if TYPE_CHECKING:
    from ptp_core.agents.subgoal_agent import SubgoalAgent
    from ptp_core.learning.practice_learner import PracticeLearner
    from ptp_core.training.checkpoint import Checkpoint


def build(checkpoint: Checkpoint, options: AgentOptions) -> SubgoalAgent:
    """Build an agent whose policy pursues the goal without a plan."""
    from ptp_core.agents.subgoal_agent import subgoal_agent

    return subgoal_agent(MODEL_FREE, checkpoint, options)


def iql_learner(checkpoint: Checkpoint, *args: Any, **options: Any) -> PracticeLearner:
    """Fine-tune policy and value functions by IQL (paper Alg. 1); see `OnlineLearner`."""
    from ptp_core.learning.online_learner import OnlineLearner

    return OnlineLearner(checkpoint, *args, **options)


MODEL_FREE = Method(
    name="model_free",
    summary="no subgoals, the policy pursues the goal itself",
    build=build,
    parts=("iql",),
    learned="iql",
    learner=iql_learner,
)
METHODS = (MODEL_FREE,)
