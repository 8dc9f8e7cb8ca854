# SPDX-License-Identifier: Apache-2.0
"""LCBC: language-conditioned behaviour cloning, a baseline of LBP without a planner.

(arXiv 2505.06861, 5.3.) The policy is LBP's without subgoals: it sees the current latent and the
instruction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ptp_core.agents.registry import AgentOptions, Method
from ptp_core.config import InstructionTrainConfig

if TYPE_CHECKING:
    from ptp_core.agents.instructed_agent import InstructedAgent
    from ptp_core.training.checkpoint import Checkpoint


def build(checkpoint: Checkpoint, options: AgentOptions) -> InstructedAgent:
    """Build an agent whose policy has the instruction alone."""
    from ptp_core.agents.instructed_agent import InstructedAgent

    return InstructedAgent(checkpoint, LCBC)


LCBC = Method(
    name="lcbc",
    summary="an instruction, no subgoals: language-conditioned behaviour cloning",
    build=build,
    parts=("sentences", "lcbc_policy"),
    config=InstructionTrainConfig,
    goals=("language",),
    learned="lcbc_policy",
    subgoal_steps=None,
)
METHODS = (LCBC,)
