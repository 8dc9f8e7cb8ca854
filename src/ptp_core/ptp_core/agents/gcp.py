# SPDX-License-Identifier: Apache-2.0
"""GCP: a tree of subgoals, each between two others, drawn from a midpoint generator.

(Pertsch et al. 2020, arXiv 2006.13205.) The planner, and how ours differs, is in
`ptp_core.planners.gcp_planner`. Policy and value function are the same as PTP's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ptp_core.agents.model_free import iql_learner
from ptp_core.agents.registry import AgentOptions, Method
from ptp_core.config import GcpConfig, TrainConfig
from ptp_core.planners.planner import unsearched

if TYPE_CHECKING:
    from ptp_core.agents.subgoal_agent import SubgoalAgent
    from ptp_core.training.checkpoint import Checkpoint


@dataclass(frozen=True, kw_only=True)
class GcpTrainConfig(TrainConfig):
    """Settings of a GCP checkpoint: those that its policy was trained with, and GCP's own."""

    gcp: GcpConfig = field(default_factory=GcpConfig)  # of the planner


def build(checkpoint: Checkpoint, options: AgentOptions) -> SubgoalAgent:
    """Build an agent with GCP's planner and the checkpoint's policy."""
    from ptp_core.agents.subgoal_agent import subgoal_agent
    from ptp_core.planners.gcp_planner import GcpPlanner

    if options.subgoals == "oracle":
        return subgoal_agent(GCP, checkpoint, options)
    config = checkpoint.config.gcp
    if options.subgoals == "random":
        config = unsearched(config)
    midpoints = checkpoint.part("midpoints")
    planner = GcpPlanner(checkpoint.vqvae, midpoints, checkpoint.iql.value, config)
    return subgoal_agent(GCP, checkpoint, options, planner, config)


GCP = Method(
    name="gcp",
    summary="a tree of midpoints between start and goal",
    build=build,
    parts=("midpoints", "iql"),
    config=GcpTrainConfig,
    learned="iql",
    learner=iql_learner,
    plans=True,
)
METHODS = (GCP,)
