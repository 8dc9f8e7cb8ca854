# SPDX-License-Identifier: Apache-2.0
"""A binary classifier of pairs of latents, which `GoalClassifier` and others refine."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from ptp_core.config import LatentShape, PairNetworkConfig
from ptp_core.networks import pair_layers, pair_maps

Logits = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Loss = tuple[torch.Tensor, dict[str, torch.Tensor]]


class PairClassifier(nn.Module):
    """Logit (B,) of first and second latents (B, D)."""

    def __init__(self, config: PairNetworkConfig, latent: LatentShape) -> None:
        super().__init__()
        self.config, self.latent = config, latent
        sizes = config.channels, config.blocks, config.dropout, config.hidden_units
        self.body = nn.Sequential(
            *pair_layers(latent, *sizes),
            nn.ReLU(),
            nn.Linear(config.hidden_units, 1),
        )

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Logits (B,) of latents (B, D)."""
        return self.body(pair_maps(self.latent, first, second)).squeeze(1)

    @torch.no_grad()
    def probability(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Probability (B,) of the class 1."""
        return torch.sigmoid(self(first, second))

    def cost(self, first: torch.Tensor, second: torch.Tensor, margin: float = 0.0) -> torch.Tensor:
        """-log of that probability (B,) [nats], of logits less ``margin``, with gradients."""
        return functional.softplus(margin - self(first, second))

    def loss(
        self,
        first: torch.Tensor,
        second: torch.Tensor,
        label: torch.Tensor,
        weights: torch.Tensor | None = None,
    ) -> Loss:
        """Binary cross-entropy for a ``label`` float32 (B,), 0 or 1; a weighted mean.

        ``accuracy`` in the metrics counts pairs with a weight alone.
        """
        logits = self(first, second)
        loss = functional.binary_cross_entropy_with_logits(logits, label, weights)
        right = ((logits > 0) == (label > 0.5)).float()
        if weights is None:
            return loss, {"loss": loss.detach(), "accuracy": right.mean()}
        loss = loss / weights.mean()
        counted = (weights > 0).float()
        return loss, {"loss": loss.detach(), "accuracy": (right * counted).sum() / counted.sum()}
