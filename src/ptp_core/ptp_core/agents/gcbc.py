# SPDX-License-Identifier: Apache-2.0
"""GCBC: goal-conditioned behaviour cloning, the ablation of IQL's advantage weights.

(Lynch et al. 2019, arXiv 1903.01973; Ghosh et al. 2019, arXiv 1912.06088.) It learns from
demonstrations alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ptp_core.agents.registry import AgentOptions, Method

if TYPE_CHECKING:
    from ptp_core.agents.subgoal_agent import SubgoalAgent
    from ptp_core.training.checkpoint import Checkpoint


def build(checkpoint: Checkpoint, options: AgentOptions) -> SubgoalAgent:
    """Build an agent whose cloned policy pursues the goal."""
    from ptp_core.agents.subgoal_agent import subgoal_agent

    return subgoal_agent(GCBC, checkpoint, options)


GCBC = Method(
    name="gcbc",
    summary="as model_free, with a policy that learned without values",
    build=build,
    parts=("policy",),
    learned="policy",
)
METHODS = (GCBC,)
