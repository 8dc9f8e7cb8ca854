# SPDX-License-Identifier: Apache-2.0
"""A policy that predicts chunks of actions by diffusion, for a latent, a goal and proprioception.

(Chunks: ACT, arXiv 2304.13705. Diffusion: Diffusion Policy, arXiv 2303.04137.) A Gaussian policy
gives the mean of two ways to go on and hesitates between them; samples commit to one.
"""

from __future__ import annotations

import torch
from torch import nn

from ptp_core.config import ChunkedPolicyConfig, LatentShape
from ptp_core.errors import InputError
from ptp_core.networks import pair_layers, pair_maps
from ptp_core.policies.diffusion_head import DiffusionHead, Loss

OCTAVES = (1.0, 2.0, 4.0)
"""Frequencies of the Fourier features of standardised proprioception: centimetres matter."""


def waves_of(own: torch.Tensor) -> torch.Tensor:
    """Standardised proprioception (B, P) and its Fourier features: (B, P (1 + 2 octaves))."""
    angles = [factor * own for factor in OCTAVES]
    waves = (wave(angle) for angle in angles for wave in (torch.sin, torch.cos))
    return torch.cat([own, *waves], dim=1)


class ChunkedPolicy(nn.Module):
    """p(a_t, ..., a_{t+H-1} | latent, goal, proprioception), H = ``config.horizon``.

    ``proprioception``: numbers of it, 0 for a policy on latents alone. It is standardised as
    ``set_scale`` says.
    """

    def __init__(
        self, config: ChunkedPolicyConfig, latent: LatentShape, actions: int, proprioception: int
    ) -> None:
        super().__init__()
        self.config, self.latent = config, latent
        sizes = config.channels, config.blocks, config.dropout, config.condition_units
        self.features = nn.Sequential(*pair_layers(latent, *sizes))
        units = config.condition_units
        self.own = None
        if proprioception:
            waves = proprioception * (1 + 2 * len(OCTAVES))
            self.own = nn.Sequential(nn.Linear(waves, units // 2), nn.ReLU())
        self.condition = nn.Sequential(
            nn.Linear(units + (units // 2 if proprioception else 0), 2 * units),
            nn.ReLU(),
            nn.Linear(2 * units, 2 * units),
            nn.ReLU(),
            nn.Linear(2 * units, units),
        )
        self.head = DiffusionHead(config.head, config.condition_units, config.horizon, actions)
        self.register_buffer("proprioception_mean", torch.zeros(proprioception))
        self.register_buffer("proprioception_std", torch.ones(proprioception))

    def set_scale(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Standardise proprioception (P,) with this mean and standard deviation."""
        self.proprioception_mean.copy_(mean)
        self.proprioception_std.copy_(std.clamp(min=1e-3))

    def conditions(
        self,
        latents: torch.Tensor,
        goals: torch.Tensor,
        proprioception: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The head's conditions (B, C) of latents and goals (B, D), proprioception (B, P).

        Raises InputError where proprioception is missing or has another size.
        """
        size = len(self.proprioception_mean)
        given = 0 if proprioception is None else proprioception.shape[1]
        if given != size:
            raise InputError(f"the policy needs {size} numbers of proprioception, not {given}")
        features = self.features(pair_maps(self.latent, latents, goals))
        if size:
            own = (proprioception - self.proprioception_mean) / self.proprioception_std
            features = torch.cat([features, self.own(waves_of(own))], dim=1)
        return self.condition(torch.relu(features))

    def loss(
        self,
        conditions: torch.Tensor,
        chunks: torch.Tensor,
        weights: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> Loss:
        """Diffusion loss of chunks (B, H, A); see `DiffusionHead.loss`."""
        return self.head.loss(conditions, chunks, weights, generator)

    @torch.no_grad()
    def sample(
        self,
        latents: torch.Tensor,
        goals: torch.Tensor,
        proprioception: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
        noise: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Sample chunks (B, H, A) in [-1, 1]; see `DiffusionHead.sample`."""
        conditions = self.conditions(latents, goals, proprioception)
        return self.head.sample(conditions, generator, noise)
