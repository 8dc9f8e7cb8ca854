# SPDX-License-Identifier: Apache-2.0
"""Networks of the conditional VAEs: a U-Net as decoder, an encoder (authors' CcVae)."""

from __future__ import annotations

import torch
from torch import nn

from ptp_core.shapes import EMBEDDING_DIM, GRID


class ConditionalUNet(nn.Module):
    """Context of one or more latents + z -> an unquantised latent.

    A context is float32 (B, 720 * count): ``count`` latents one after the other, so that their
    channels lie one after the other. A subclass calls ``add_unet`` when the layers are due: their
    order decides what a seed gives and how an optimiser's state is numbered.
    """

    def add_unet(self, count: int, z_dim: int, width: int, units: int) -> None:
        """Make the layers for contexts of ``count`` latents."""
        self.context_channels = count * EMBEDDING_DIM
        self.z_features = nn.Sequential(nn.Linear(z_dim, units, bias=False), nn.ReLU())
        self.down_outer = nn.Conv2d(
            self.context_channels, width, 4, stride=2, padding=1, bias=False
        )
        self.down_inner = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False)
        self.bottleneck = nn.Sequential(
            nn.ReLU(),
            nn.Linear(18 * width + units, units),
            nn.ReLU(),
            nn.Linear(units, 18 * width),
        )
        self.up_inner = nn.ConvTranspose2d(4 * width, width, 4, stride=2, padding=1, bias=False)
        self.up_outer = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False)
        self.head = nn.Conv2d(width, EMBEDDING_DIM, 1)

    def forward(self, z: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Predict an unquantised latent (B, 720) from z (B, z_dim), context (B, 720 * count).

        For many z of one context, ``shared_context`` predicts the same faster.
        """
        outer = self.down_outer(self.grid(context))
        inner = self.down_inner(torch.relu(outer))
        features = torch.cat([inner.flatten(1), self.z_features(z)], dim=1)
        middle = self.bottleneck(features).view_as(inner)
        up = self.up_inner(torch.relu(torch.cat([inner, middle], dim=1)))
        up = self.up_outer(torch.relu(torch.cat([outer, up], dim=1)))
        return self.head(torch.relu(up)).flatten(1)

    def grid(self, context: torch.Tensor) -> torch.Tensor:
        """A context's channels as maps (B, 5 * count, 12, 12)."""
        return context.view(-1, self.context_channels, GRID, GRID)


def latent_encoder(count: int, width: int, units: int) -> nn.Sequential:
    """Network that reads ``count`` latents (B, 5 * count, 12, 12) into features (B, units)."""
    return nn.Sequential(
        nn.Conv2d(count * EMBEDDING_DIM, width // 2, 3, stride=2, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(width // 2, width, 3, stride=2, padding=1, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(9 * width, units, bias=False),
        nn.ReLU(),
    )
