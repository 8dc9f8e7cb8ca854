# SPDX-License-Identifier: Apache-2.0
"""Networks of the conditional VAEs: a U-Net as decoder, an encoder (authors' CcVae)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from ptp_core.config import LatentShape


class ContextFeatures(NamedTuple):
    """What the decoder needs of a context, whatever z: each first axis is the batch."""

    hidden: torch.Tensor  # (B, hidden_units), the context's part of the first bottleneck layer
    inner: torch.Tensor  # (B, width, H / 2, W / 2), its part of the inner up-convolution
    outer: torch.Tensor  # (B, width, H, W), its part of the outer up-convolution


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
        """Predict an unquantised latent (B, D) from z (B, z_dim), context (B, D * count)."""
        grid = self.grid(context)
        outer = self.down_outer(grid)
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

    def context_features(self, context: torch.Tensor) -> ContextFeatures:
        """Compute once what many ``z`` share: contexts (B, D * count).

        Concatenation followed by a linear layer is a sum of two linear layers, one of which sees
        the context only.
        """
        outer = torch.relu(self.down_outer(self.grid(context)))
        inner = torch.relu(self.down_inner(outer))
        first, channels = self.bottleneck[1], inner.shape[1]
        return ContextFeatures(
            functional.linear(inner.flatten(1), first.weight[:, : inner[0].numel()], first.bias),
            _up(inner, self.up_inner.weight[:channels]),
            _up(outer, self.up_outer.weight[: outer.shape[1]]),
        )

    def decode_from_features(self, z: torch.Tensor, features: ContextFeatures) -> torch.Tensor:
        """Predict (B, N, D) from z (B, N, z_dim), N for each of the B contexts.

        Equal to ``forward`` up to rounding. Activations are changed in place; gradients pass only
        with N = 1.
        """
        batch, samples = z.shape[:2]
        units, width = features.hidden.shape[1], features.inner.shape[1]
        first, last = self.bottleneck[1], self.bottleneck[3]
        hidden = functional.linear(self.z_features(z), first.weight[:, -units:])
        hidden = hidden.add_(features.hidden[:, None]).relu_().flatten(0, 1)
        middle = (
            last(hidden)
            .relu_()
            .view(-1, 2 * width, self.latent.height // 4, self.latent.width // 4)
        )
        up = _up(middle, self.up_inner.weight[2 * width :])
        up = _add_context(up, features.inner, samples).relu_()
        up = _up(up, self.up_outer.weight[width:])
        up = _add_context(up, features.outer, samples).relu_()
        return self.head(up).reshape(batch, samples, -1)


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


def _up(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Up-sample by two, as the generators' up-convolutions do."""
    return functional.conv_transpose2d(x, weight, stride=2, padding=1)


def _add_context(up: torch.Tensor, feature: torch.Tensor, samples: int) -> torch.Tensor:
    """Add the map of each context to the maps of its ``samples``, in place."""
    if samples == 1:
        return up.add_(feature)
    for row, shared in zip(up.split(samples), feature):
        row.add_(shared)
    return up
