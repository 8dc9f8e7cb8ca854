# SPDX-License-Identifier: Apache-2.0
"""LBP: Latent Space Backward Planning (arXiv 2505.06861): the goal first, then backwards to now.

At every control step a goal latent is predicted from the instruction, then subgoals from the goal
back to now; a diffusion policy acts on all of them. The planner is in
`ptp_core.planners.backward_planner`, the policy in `ptp_core.policies.instructed_policy`. An image
or a latent as goal replaces the prediction. `lbp_goal_image` is the same agent; it prefers images
where an environment gives both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ptp_core.agents.registry import AgentOptions, Method
from ptp_core.config import InstructionTrainConfig

if TYPE_CHECKING:
    from ptp_core.agents.agent import GoalKind
    from ptp_core.agents.instructed_agent import InstructedAgent
    from ptp_core.learning.practice_learner import PracticeLearner
    from ptp_core.training.checkpoint import Checkpoint


def chain_learner(checkpoint: Checkpoint, *args: Any, **options: Any) -> PracticeLearner:
    """Learn chains of practised episodes; see `HindsightChains`."""
    from ptp_core.learning.hindsight_chains import HindsightChains

    options.pop("precision", None)
    return HindsightChains(checkpoint, *args, **options)


def _method(name: str, summary: str, goals: tuple[GoalKind, ...]) -> Method:
    def build(checkpoint: Checkpoint, options: AgentOptions) -> InstructedAgent:
        from ptp_core.agents.instructed_agent import InstructedAgent

        return InstructedAgent(checkpoint, method, planner=checkpoint.part("lbp_planner"))

    method = Method(
        name=name,
        summary=summary,
        build=build,
        parts=("sentences", "lbp_planner", "lbp_policy"),
        config=InstructionTrainConfig,
        goals=goals,
        learned="lbp_policy",
        also_learned=("lbp_planner",),
        learner=chain_learner,
        subgoal_steps=None,
    )
    return method


METHODS = (
    _method(
        "lbp",
        "an instruction; goal and subgoals predicted backwards at every step",
        ("language", "image", "latent"),
    ),
    _method(
        "lbp_goal_image",
        "lbp with a goal image in place of the instruction",
        ("image", "latent", "language"),
    ),
)
