# SPDX-License-Identifier: Apache-2.0
"""GLCBC: behaviour cloning with an instruction and a fixed goal image, a baseline of LBP.

(arXiv 2505.06861, 5.3.) The policy is LBP's with one subgoal, the goal. For an instruction that is
what a demonstration with the same or the nearest sentence ended with, in its own scene; see
`ptp_core.encoders.sentence_goals`. A goal image of the scene itself can be given instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ptp_core.agents.registry import AgentOptions, Method
from ptp_core.config import InstructionTrainConfig

if TYPE_CHECKING:
    from ptp_core.agents.instructed_agent import InstructedAgent
    from ptp_core.training.checkpoint import Checkpoint


def build(checkpoint: Checkpoint, options: AgentOptions) -> InstructedAgent:
    """Build an agent whose policy pursues a goal image beside the instruction."""
    from ptp_core.agents.instructed_agent import InstructedAgent

    goals = checkpoint.part("sentence_goals")
    return InstructedAgent(checkpoint, GLCBC, fixed_goals=goals)


GLCBC = Method(
    name="glcbc",
    summary="an instruction and the goal image of a demonstration of it, no subgoals",
    build=build,
    parts=("sentences", "sentence_goals", "glcbc_policy"),
    config=InstructionTrainConfig,
    goals=("language", "image", "latent"),
    learned="glcbc_policy",
    subgoal_steps=None,
)
METHODS = (GLCBC,)
