# SPDX-License-Identifier: Apache-2.0
"""Networks of the conditional VAEs: a U-Net as decoder, an encoder (authors' CcVae)."""

from __future__ import annotations

import torch
from torch import nn

from ptp_core.config import LatentShape


class ConditionalUNet(nn.Module):
    """Context of one or more latents + z -> an unquantised latent.

    Latents are float32 (B, D), of a grid of H x W codes. A context is float32 (B, D * count):
    ``count`` latents one after the other, so that their channels lie one after the other. A
    subclass calls ``add_unet`` when the layers are due: their order decides what a seed gives and
    how an optimiser's state is numbered.
    """

    def add_unet(
        self, latent: LatentShape, count: int, z_dim: int, width: int, units: int
    ) -> None:
        """Make the layers for contexts of ``count`` latents. Raises ConfigError for the grid."""
        self.latent = latent
        height, breadth = latent.halved_twice("a subgoal generator")
        innermost = 2 * width * height * breadth
        self.z_features = nn.Sequential(nn.Linear(z_dim, units, bias=False), nn.ReLU())
        self.down_outer = nn.Conv2d(
            count * latent.channels, width, 4, stride=2, padding=1, bias=False
        )
        self.down_inner = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False)
        self.bottleneck = nn.Sequential(
            nn.ReLU(),
            nn.Linear(innermost + units, units),
            nn.ReLU(),
            nn.Linear(units, innermost),
        )
        self.up_inner = nn.ConvTranspose2d(4 * width, width, 4, stride=2, padding=1, bias=False)
        self.up_outer = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False)
        self.head = nn.Conv2d(width, latent.channels, 1)

    def forward(self, z: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Predict an unquantised latent (B, D) from z (B, z_dim), context (B, D * count).

        For many z of one context, ``shared_context`` predicts the same faster.
        """
        outer = self.down_outer(self.grid(context))
        inner = self.down_inner(torch.relu(outer))
        features = torch.cat([inner.flatten(1), self.z_features(z)], dim=1)
        middle = self.bottleneck(features).view_as(inner)
        up = self.up_inner(torch.relu(torch.cat([inner, middle], dim=1)))
        up = self.up_outer(torch.relu(torch.cat([outer, up], dim=1)))
        return self.head(torch.relu(up)).flatten(1)

    def grid(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents one after the other, (B, D * n), as maps (B, channels * n, H, W)."""
        channels, height, width = self.latent
        count = latents.shape[1] // self.latent.size
        return latents.view(-1, count * channels, height, width)


def latent_encoder(latent: LatentShape, count: int, width: int, units: int) -> nn.Sequential:
    """Network that reads ``count`` latents (B, channels * count, H, W): features (B, units)."""
    height, breadth = latent.halved_twice("a subgoal generator")
    return nn.Sequential(
        nn.Conv2d(count * latent.channels, width // 2, 3, stride=2, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(width // 2, width, 3, stride=2, padding=1, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(width * height * breadth, units, bias=False),
        nn.ReLU(),
    )
