# SPDX-License-Identifier: Apache-2.0
"""PTP's planner with a cloned diffusion policy, and a classifier that says when work is done.

Ours, not in the paper. The policy predicts chunks of actions and may see proprioception. Targets
are switched when their work is done, wherever the arm is; so the planner measures how far the end
of a plan is from the goal. V of the checkpoint's IQL is used by the planner alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ptp_core.agents.ptp import HIERARCHY, SINGLE_SUBGOAL, ptp_method
from ptp_core.agents.registry import AgentOptions, Method

if TYPE_CHECKING:
    from ptp_core.agents.subgoal_agent import SubgoalAgent
    from ptp_core.learning.online_learner import OnlineLearner
    from ptp_core.training.checkpoint import Checkpoint

PARTS = ("chunked", "classifier")


def hindsight_cloner(checkpoint: Checkpoint, *args: Any, **options: Any) -> OnlineLearner:
    """Clone what episodes changed; see `HindsightCloner`. There is no critic to train."""
    from ptp_core.learning.hindsight_cloning import HindsightCloner

    options.pop("precision", None)
    return HindsightCloner(checkpoint, *args, **options)


OTHERS = {
    "parts": ("generators", "iql", *PARTS),
    "learned": "chunked",
    "learner": hindsight_cloner,
    "judges_work": True,
}


def build(checkpoint: Checkpoint, options: AgentOptions) -> SubgoalAgent:
    """Build an agent whose diffusion policy pursues the goal itself."""
    from ptp_core.agents.subgoal_agent import subgoal_agent

    return subgoal_agent(DIFFUSION_BC, checkpoint, options)


DIFFUSION_BC = Method(
    name="diffusion_bc",
    summary="no subgoals, a cloned diffusion policy pursues the goal itself",
    build=build,
    parts=PARTS,
    learned="chunked",
    learner=hindsight_cloner,
)
METHODS = (
    ptp_method(
        "ptp_diffusion",
        "ptp with a cloned diffusion policy and a classifier of finished work",
        HIERARCHY,
        subgoal_steps=None,
        **OTHERS,
    ),
    ptp_method(
        "ptp_diffusion_single_subgoal",
        "ptp_single_subgoal with that policy and classifier",
        SINGLE_SUBGOAL,
        subgoal_steps=None,
        **OTHERS,
    ),
    DIFFUSION_BC,
)
