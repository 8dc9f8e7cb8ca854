# SPDX-License-Identifier: Apache-2.0
"""PTP's coarsest generator with a planner of legs, and a cloned diffusion policy. Ours.

The planner is in `ptp_core.planners.leg_planner`. The policy predicts chunks of actions and may
see proprioception. A classifier says when the work of a subgoal is done, wherever the arm is.
There is no critic: practice clones what episodes changed.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ptp_core.agents.registry import AgentOptions, Method

if TYPE_CHECKING:
    from ptp_core.agents.subgoal_agent import SubgoalAgent
    from ptp_core.learning.practice_learner import PracticeLearner
    from ptp_core.training.checkpoint import Checkpoint


def hindsight_cloner(checkpoint: Checkpoint, *args: Any, **options: Any) -> PracticeLearner:
    """Clone what episodes changed; see `HindsightCloner`."""
    from ptp_core.learning.hindsight_cloning import HindsightCloner

    options.pop("precision", None)
    return HindsightCloner(checkpoint, *args, **options)


def build_legs(checkpoint: Checkpoint, options: AgentOptions) -> SubgoalAgent:
    """Build an agent that follows plans of legs. Random subgoals: one sample for each number."""
    from ptp_core.agents.subgoal_agent import subgoal_agent
    from ptp_core.planners.leg_planner import LegPlanner

    if options.subgoals == "oracle":
        return subgoal_agent(PTP_LEGS, checkpoint, options)
    config = checkpoint.config.legs
    if options.subgoals == "random":
        config = dataclasses.replace(config, samples=1, beam=1, last_legs=1, elites=1, sigmas=())
    planner = LegPlanner(
        checkpoint.vqvae,
        checkpoint.generators["dt60"],
        checkpoint.part("shown_legs"),
        checkpoint.part("classifier"),
        config,
        checkpoint.part("single_legs") if "single_legs" in checkpoint.parts else None,
        checkpoint.goal_classifier,
    )
    return subgoal_agent(PTP_LEGS, checkpoint, options, planner, config)


def build_cloned(checkpoint: Checkpoint, options: AgentOptions) -> SubgoalAgent:
    """Build an agent whose diffusion policy pursues the goal itself."""
    from ptp_core.agents.subgoal_agent import subgoal_agent

    return subgoal_agent(DIFFUSION_BC, checkpoint, options)


PTP_LEGS = Method(
    name="ptp_legs",
    summary="as many subgoals as primitives are needed, and a cloned diffusion policy",
    build=build_legs,
    parts=("generators", "shown_legs", "chunked", "classifier"),
    learned="chunked",
    learner=hindsight_cloner,
    plans=True,
    closed_loop=True,
    subgoal_steps=None,
)
DIFFUSION_BC = Method(
    name="diffusion_bc",
    summary="no subgoals, that diffusion policy pursues the goal itself",
    build=build_cloned,
    parts=("chunked", "classifier"),
    learned="chunked",
    learner=hindsight_cloner,
)
METHODS = (PTP_LEGS, DIFFUSION_BC)
