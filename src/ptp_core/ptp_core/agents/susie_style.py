# SPDX-License-Identifier: Apache-2.0
"""SuSIE-style: a small latent diffusion proposes the next subgoal, which the policy pursues.

After SuSIE (arXiv 2310.10639), a baseline of LBP. It is not the paper's network, which is a
fine-tuned Stable Diffusion; size and differences are in `ptp_core.planners.subgoal_proposer`. The
policy is LBP's with one subgoal, trained on true frames as far ahead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ptp_core.agents.registry import AgentOptions, Method
from ptp_core.config import InstructionTrainConfig

if TYPE_CHECKING:
    from ptp_core.agents.instructed_agent import InstructedAgent
    from ptp_core.training.checkpoint import Checkpoint


def build(checkpoint: Checkpoint, options: AgentOptions) -> InstructedAgent:
    """Build an agent that proposes a subgoal every few control steps."""
    from ptp_core.agents.instructed_agent import InstructedAgent

    planner = checkpoint.part("susie_style_planner")
    steps = planner.config.hold_steps
    return InstructedAgent(checkpoint, SUSIE_STYLE, planner=planner, replan=steps)


SUSIE_STYLE = Method(
    name="susie_style",
    summary="the next subgoal from a small latent diffusion, in the manner of SuSIE",
    build=build,
    parts=("sentences", "susie_style_planner", "susie_style_policy"),
    config=InstructionTrainConfig,
    goals=("language",),
    learned="susie_style_policy",
    subgoal_steps=None,
)
METHODS = (SUSIE_STYLE,)
