# SPDX-License-Identifier: Apache-2.0
"""GCIQL and HIQL: methods that see states, pursue goal states, and have no encoder.

Sources: OGBench (arXiv 2410.20092) for both, HIQL (arXiv 2307.11949). They learn from data sets
alone, by `ptp pretrain-states`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ptp_core.agents.registry import AgentOptions, Method
from ptp_core.config import StateTrainConfig

if TYPE_CHECKING:
    from ptp_core.agents.state_agent import StateAgent
    from ptp_core.training.checkpoint import Checkpoint


def build(name: str, checkpoint: Checkpoint, options: AgentOptions) -> StateAgent:
    """Build an agent that acts with the part ``name``."""
    from ptp_core.agents.state_agent import StateAgent

    return StateAgent(checkpoint, name)


def _method(name: str, summary: str) -> Method:
    return Method(
        name=name,
        summary=summary,
        build=partial(build, name),
        parts=(name,),
        config=StateTrainConfig,
        goals=("state",),
        learned=name,
    )


GCIQL = _method("gciql", "states instead of images, IQL with goals")
HIQL = _method("hiql", "states instead of images, two levels of policies that share one value")
METHODS = (GCIQL, HIQL)
