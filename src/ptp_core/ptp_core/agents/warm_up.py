# SPDX-License-Identifier: Apache-2.0
"""The first call of a network pays for its set-up; done here, nobody waits for it later."""

from __future__ import annotations

import contextlib

import numpy as np

from ptp_core.agents.agent import (
    Agent,
    AgentSeeds,
    AgentSpec,
    Goal,
    ImageGoal,
    LanguageGoal,
    LatentGoal,
    Observation,
)
from ptp_core.errors import InputError


def warm_up(agent: Agent) -> None:
    """Let the agent act once on a black scene, with the cheapest goal of its spec.

    The next ``reset`` makes it forget that. An agent that takes no such scene stays as it is.
    """
    spec = agent.spec
    observation = _nothing(spec)
    subgoals = None if spec.latent is None else ()  # no plan: that would take long
    with contextlib.suppress(InputError):
        agent.reset(observation, _goal(spec), AgentSeeds(0, 0), subgoals=subgoals)
        agent.act(observation)


def _nothing(spec: AgentSpec) -> Observation:
    """Zeros for everything that the agent looks at."""
    felt = np.zeros(len(spec.proprioception), np.float32) if spec.proprioception else None
    if spec.latent is not None:
        return Observation(proprioception=felt, latent=_latent(spec))
    return Observation(_images(spec), felt)


def _goal(spec: AgentSpec) -> Goal:
    if "latent" in spec.goals and spec.latent is not None:
        return LatentGoal(_latent(spec))
    return LanguageGoal("stay") if "language" in spec.goals else ImageGoal(_images(spec))


def _latent(spec: AgentSpec) -> np.ndarray:
    return np.zeros(spec.latent.shape, np.uint32 if spec.latent.kind == "indices" else np.float32)


def _images(spec: AgentSpec) -> dict[str, np.ndarray]:
    return {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in spec.cameras}
