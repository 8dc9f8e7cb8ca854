# SPDX-License-Identifier: Apache-2.0
"""Where a leg can begin: an initiation set, learned from demonstrations. Ours.

A generator that is asked for an impossible leg draws its end all the same: the block on the tray,
from a scene whose closed drawer hides it. The end looks right, so a planner that judges ends alone
believes it. In the options framework (Sutton, Precup and Singh, 1999) an option has an initiation
set, the states in which it can begin. Here the option is a latent action z of the generator dt60,
and a demonstration shows one state in which it can:

    logit f(s, z) = log p(s, z) / (p(s) p(z))

is what a network learns that tells the pairs of demonstrations from pairs put together by chance.
It is very negative where no demonstration like s shows a leg like z. It is a cost of plans.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ptp_core.config import InitiationConfig, InitiationPartConfig, LatentShape
from ptp_core.learning.demonstrated_legs import DemonstratedLegs
from ptp_core.learning.goal_classifier import EARLY, LATE, Loss
from ptp_core.networks import ResidualBlock


class InitiationSet(nn.Module):
    """Logit (B,) of "the leg can begin here" for states (B, D) and latent actions (B, z_dim)."""

    def __init__(self, config: InitiationPartConfig, latent: LatentShape) -> None:
        super().__init__()
        self.config, self.latent = config, latent
        sizes = config.network
        cells = ((latent.height + 1) // 2) * ((latent.width + 1) // 2)
        self.scene = nn.Sequential(
            nn.Conv2d(latent.channels, sizes.channels, 3, stride=2, padding=1),
            nn.ReLU(),
            *(ResidualBlock(sizes.channels, sizes.channels) for _ in range(sizes.blocks)),
            nn.Flatten(),
            nn.Dropout(sizes.dropout),
            nn.Linear(sizes.channels * cells, sizes.hidden_units),
            nn.ReLU(),
        )
        self.head = nn.Sequential(
            nn.Linear(sizes.hidden_units + config.z_dim, sizes.hidden_units),
            nn.ReLU(),
            nn.Dropout(sizes.dropout),
            nn.Linear(sizes.hidden_units, sizes.hidden_units),
            nn.ReLU(),
            nn.Linear(sizes.hidden_units, 1),
        )

    def forward(self, states: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Logits (B,) of states (B, D) and latent actions (B, z_dim)."""
        return self._logits(self._features(states), z)

    def cost(self, states: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """-log P(the leg can begin here), (B,), in nats."""
        return functional.softplus(-self(states, z))

    def loss(self, states: torch.Tensor, z: torch.Tensor, order: torch.Tensor) -> Loss:
        """Binary cross-entropy of the pairs (B) of demonstrations and of those put together.

        ``order`` int64 (K, B): the latent action that each state gets in the K times as many
        pairs put together. Both kinds weigh the same.
        """
        features = self._features(states)
        shown = self._logits(features, z)
        mixed = torch.stack([self._logits(features, z[rows]) for rows in order])
        loss = 0.5 * (functional.softplus(-shown).mean() + functional.softplus(mixed).mean())
        right = 0.5 * ((shown > 0).float().mean() + (mixed <= 0).float().mean())
        return loss, {"loss": loss.detach(), "accuracy": right.detach()}

    def _features(self, states: torch.Tensor) -> torch.Tensor:
        shape = self.latent.channels, self.latent.height, self.latent.width
        return self.scene(states.view(-1, *shape))

    def _logits(self, features: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([features, z], dim=1)).squeeze(1)


class LegStartSampler:
    """Draws states in which demonstrations begin, and latent actions of what they do."""

    def __init__(self, legs: DemonstratedLegs, config: InitiationConfig) -> None:
        self._legs = legs
        self._config = config

    @torch.no_grad()
    def draw(
        self, rng: np.random.Generator, noise: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """States (B, D), latent actions (B, z_dim) and orders int64 (K, B) of `loss`."""
        config, legs = self._config, self._legs
        chosen = legs.draw(config.batch_size, rng)
        states = legs.latents(EARLY, chosen, rng)
        z = legs.actions(legs.starts(chosen, rng), legs.latents(LATE, chosen, rng))
        size = config.sigma * torch.rand((len(z), 1), generator=noise)
        z = z + (size * torch.randn(z.shape, generator=noise)).to(z)
        orders = [torch.randperm(len(z), generator=noise) for _ in range(config.mixed)]
        return states, z, torch.stack(orders).to(z.device)
