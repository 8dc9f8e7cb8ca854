# SPDX-License-Identifier: Apache-2.0
"""Actors: what turns a policy network into one action a control step.

A Gaussian policy answers every step on its own. A chunked policy predicts several actions at every
step, and the actor averages what its predictions say about now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import nn

from ptp_core.policies.chunked_policy import ChunkedPolicy
from ptp_core.policies.temporal_ensemble import TemporalEnsemble

if TYPE_CHECKING:
    from ptp_core.config import ChunkedPolicyConfig, InstructedPolicyConfig


class Actor(Protocol):
    """Chooses actions for one episode after another. Weights are read at every call."""

    proprioceptive: bool  # whether it needs proprioception

    def reset(self, seed: int) -> None:
        """Begin an episode; ``seed`` determines what it draws."""
        ...

    def act(
        self, latent: torch.Tensor, goal: torch.Tensor, proprioception: np.ndarray | None
    ) -> np.ndarray:
        """The action float32 (A,) in [-1, 1] for latent and goal (D,), proprioception (P,)."""
        ...


class GaussianActor:
    """The mean of a policy with ``act`` as `IQL` has it, or with ``sample`` a draw."""

    proprioceptive = False

    def __init__(self, policy: nn.Module, sample: bool) -> None:
        self.policy, self.sample = policy, sample
        self._noise: torch.Generator | None = None

    def reset(self, seed: int) -> None:
        """See `Actor.reset`."""
        self._noise = torch.Generator().manual_seed(seed) if self.sample else None

    @torch.no_grad()
    def act(
        self, latent: torch.Tensor, goal: torch.Tensor, proprioception: np.ndarray | None
    ) -> np.ndarray:
        """See `Actor.act`."""
        return self.policy.act(latent[None], goal[None], self._noise)[0].cpu().numpy()


class ChunkedActor:
    """Samples a chunk every step and ensembles over time; a new goal drops old chunks."""

    def __init__(self, policy: ChunkedPolicy) -> None:
        self.policy = policy
        self.proprioceptive = bool(len(policy.proprioception_mean))
        self._ensemble = TemporalEnsemble(policy.config.ensemble_decay)
        self._noise = torch.Generator()
        self._goal: torch.Tensor | None = None

    def reset(self, seed: int) -> None:
        """See `Actor.reset`."""
        self._noise = torch.Generator().manual_seed(seed)
        self._goal = None

    @torch.no_grad()
    def act(
        self, latent: torch.Tensor, goal: torch.Tensor, proprioception: np.ndarray | None
    ) -> np.ndarray:
        """See `Actor.act`."""
        if self._goal is None or not torch.equal(goal, self._goal):
            self._goal = goal
            self._ensemble.reset()
        own = None
        if self.proprioceptive:
            own = torch.from_numpy(proprioception)[None].to(latent.device)
        chunk = self.policy.sample(latent[None], goal[None], own, self._noise)
        return self._ensemble.act(chunk[0].cpu().numpy())


def sampling_settings(config: ChunkedPolicyConfig | InstructedPolicyConfig) -> dict[str, Any]:
    """What the actions of a policy that samples chunks depend on, beside its weights."""
    head = config.head
    return {
        "sampling_steps": head.sampling_steps,
        "temperature": head.temperature,
        "ensemble_decay": config.ensemble_decay,
    }


def actor_of(policy: nn.Module, sample: bool) -> Actor:
    """The actor of a policy; ``sample``: whether a Gaussian one draws its actions."""
    if isinstance(policy, ChunkedPolicy):
        return ChunkedActor(policy)
    return GaussianActor(policy, sample)
