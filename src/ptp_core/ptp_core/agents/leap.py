# SPDX-License-Identifier: Apache-2.0
"""LEAP: all subgoals at once by the cross-entropy method in a VAE's latent space.

(Nasiriany et al. 2019, arXiv 1911.08453.) The planner, and how ours differs, is in
`ptp_core.planners.leap_planner`. Policy and value function are the same as PTP's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ptp_core.agents.model_free import iql_learner
from ptp_core.agents.registry import AgentOptions, Method
from ptp_core.config import LeapConfig, TrainConfig
from ptp_core.planners.planner import unsearched

if TYPE_CHECKING:
    from ptp_core.agents.subgoal_agent import SubgoalAgent
    from ptp_core.training.checkpoint import Checkpoint


@dataclass(frozen=True, kw_only=True)
class LeapTrainConfig(TrainConfig):
    """Settings of a LEAP checkpoint: those that its policy was trained with, and LEAP's own."""

    leap: LeapConfig = field(default_factory=LeapConfig)  # of the planner


def build(checkpoint: Checkpoint, options: AgentOptions) -> SubgoalAgent:
    """Build an agent with LEAP's planner and the checkpoint's policy."""
    from ptp_core.agents.subgoal_agent import subgoal_agent
    from ptp_core.planners.leap_planner import LeapPlanner

    if options.subgoals == "oracle":
        return subgoal_agent(LEAP, checkpoint, options)
    config = checkpoint.config.leap
    if options.subgoals == "random":
        config = unsearched(config)
    vae = checkpoint.part("latent_vae")
    planner = LeapPlanner(checkpoint.vqvae, vae, checkpoint.iql.value, config)
    return subgoal_agent(LEAP, checkpoint, options, planner, config)


LEAP = Method(
    name="leap",
    summary="all subgoals at once, in the latent space of a VAE of its own",
    build=build,
    parts=("latent_vae", "iql"),
    config=LeapTrainConfig,
    learned="iql",
    learner=iql_learner,
    plans=True,
)
METHODS = (LEAP,)
