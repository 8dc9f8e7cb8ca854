# SPDX-License-Identifier: Apache-2.0
"""Conditional VAEs that propose a state 15, 30 or 60 steps ahead (paper section III-B)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from ptp_core.config import SubgoalGeneratorConfig
from ptp_core.models.vqvae import VQVAE
from ptp_core.shapes import EMBEDDING_DIM, GRID

HORIZONS = ("dt60", "dt30", "dt15")  # level 0, 1, 2 of the planner


class ContextFeatures(NamedTuple):
    """What the decoder needs of a context, whatever z: each first axis is the batch."""

    hidden: torch.Tensor  # (B, hidden_units), the context's part of the first bottleneck layer
    inner: torch.Tensor  # (B, width, 6, 6), its part of the inner up-convolution
    outer: torch.Tensor  # (B, width, 12, 12), its part of the outer up-convolution


class SubgoalGenerator(nn.Module):
    """One conditional VAE: context latent + z -> a later latent, before quantisation.

    Latents are float32 (B, 720). z is (B, z_dim), 8 in the paper, with prior N(0, I).
    """

    def __init__(self, config: SubgoalGeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SubgoalGeneratorConfig()
        width, units = config.hidden_channels, config.hidden_units
        self.encoder = nn.Sequential(
            nn.Conv2d(2 * EMBEDDING_DIM, width // 2, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(9 * width, units, bias=False),
            nn.ReLU(),
        )
        self.mean = nn.Linear(units, config.z_dim)
        self.logvar = nn.Linear(units, config.z_dim)
        self.z_features = nn.Sequential(nn.Linear(config.z_dim, units, bias=False), nn.ReLU())
        self.down_outer = nn.Conv2d(EMBEDDING_DIM, width, 4, stride=2, padding=1, bias=False)
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

    @property
    def z_dim(self) -> int:
        """Numbers of a latent action z."""
        return self.config.z_dim

    def forward(self, z: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Predict a later latent, unquantised (B, 720), from z (B, z_dim) and context (B, 720)."""
        grid = context.view(-1, EMBEDDING_DIM, GRID, GRID)
        outer = self.down_outer(grid)
        inner = self.down_inner(torch.relu(outer))
        features = torch.cat([inner.flatten(1), self.z_features(z)], dim=1)
        middle = self.bottleneck(features).view_as(inner)
        up = self.up_inner(torch.relu(torch.cat([inner, middle], dim=1)))
        up = self.up_outer(torch.relu(torch.cat([outer, up], dim=1)))
        return self.head(torch.relu(up)).flatten(1)

    decode = forward

    def context_features(self, context: torch.Tensor) -> ContextFeatures:
        """Compute once what many ``z`` share: contexts (B, 720).

        Concatenation followed by a linear layer is a sum of two linear layers, one of which sees
        the context only.
        """
        outer = torch.relu(self.down_outer(context.view(-1, EMBEDDING_DIM, GRID, GRID)))
        inner = torch.relu(self.down_inner(outer))
        first, channels = self.bottleneck[1], inner.shape[1]
        return ContextFeatures(
            functional.linear(inner.flatten(1), first.weight[:, : inner[0].numel()], first.bias),
            _up(inner, self.up_inner.weight[:channels]),
            _up(outer, self.up_outer.weight[: outer.shape[1]]),
        )

    def decode_from_features(self, z: torch.Tensor, features: ContextFeatures) -> torch.Tensor:
        """Predict (B, N, 720) from z (B, N, z_dim), N for each of the B contexts.

        Equal to ``forward`` up to rounding. Inference only: activations are changed in place.
        """
        batch, samples = z.shape[:2]
        units, width = features.hidden.shape[1], features.inner.shape[1]
        first, last = self.bottleneck[1], self.bottleneck[3]
        hidden = functional.linear(self.z_features(z), first.weight[:, -units:])
        hidden = hidden.add_(features.hidden[:, None]).relu_().flatten(0, 1)
        middle = last(hidden).relu_().view(-1, 2 * width, 3, 3)
        up = _up(middle, self.up_inner.weight[2 * width :])
        up = _add_context(up, features.inner, samples).relu_()
        up = _up(up, self.up_outer.weight[width:])
        up = _add_context(up, features.outer, samples).relu_()
        return self.head(up).reshape(batch, samples, -1)

    def encode(
        self, context: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log variance (B, z_dim) of q(z | context, target), latents (B, 720)."""
        pair = torch.cat([context - target, context], dim=1)
        features = self.encoder(pair.view(-1, 2 * EMBEDDING_DIM, GRID, GRID))
        return self.mean(features), self.logvar(features)

    def loss(
        self,
        context: torch.Tensor,
        targets: torch.Tensor,
        *,
        vqvae: VQVAE,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the mean loss of ``targets`` (B, steps, 720) unrolled from ``context`` (B, 720).

        Each step: weight * SmoothL1(prediction, target) + weight * KL. The next step starts from
        the quantised prediction, without gradient through time. ``generator`` draws z.
        """
        config = self.config
        total = context.new_zeros(())
        reconstruction = context.new_zeros(())
        divergence = context.new_zeros(())
        steps = targets.shape[1]
        for step in range(steps):
            target = targets[:, step]
            mean, logvar = self.encode(context, target)
            noise = torch.randn(mean.shape, generator=generator).to(mean)
            prediction = self(mean + noise * torch.exp(0.5 * logvar), context)
            error = functional.smooth_l1_loss(prediction, target)
            kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1).mean()
            total = total + config.reconstruction_weight * error + config.kl_weight * kl
            reconstruction = reconstruction + error.detach()
            divergence = divergence + kl.detach()
            context = vqvae.quantise(prediction)[1].detach()
        metrics = {
            "loss": total.detach() / steps,
            "smooth_l1": reconstruction / steps,
            "kl": divergence / steps,
        }
        return total / steps, metrics


def _up(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Up-sample by two, as the generators' up-convolutions do."""
    return functional.conv_transpose2d(x, weight, stride=2, padding=1)


def _add_context(up: torch.Tensor, feature: torch.Tensor, samples: int) -> torch.Tensor:
    """Add the map of each context to the maps of its ``samples``, in place where possible."""
    for row, shared in zip(up.split(samples), feature):
        row.add_(shared)
    return up


class GeneratorHierarchy(nn.ModuleDict):
    """The three generators; index 0 is the coarsest: dt60, dt30, dt15."""

    def __init__(self, config: SubgoalGeneratorConfig | None = None) -> None:
        super().__init__({name: SubgoalGenerator(config) for name in HORIZONS})

    def level(self, index: int) -> SubgoalGenerator:
        """Return the generator of planner level 0 (dt60), 1 (dt30) or 2 (dt15)."""
        return self[HORIZONS[index]]
