# SPDX-License-Identifier: Apache-2.0
"""Building blocks of the networks: MLPs, residual block, FiLM, standardised latents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from ptp_core.config import LatentShape


def mlp(inputs: int, hidden: Sequence[int], outputs: int, last_layer_bound: float = 3e-3):
    """Return a ReLU network ``inputs -> hidden -> outputs`` with fan-in initialised layers.

    The last layer starts in U(-last_layer_bound, last_layer_bound), so that outputs start near 0
    (authors' code: 3e-3 for Q and V, 1e-3 for the policy).
    """
    layers: list[nn.Module] = []
    size = inputs
    for width in hidden:
        layer = nn.Linear(size, width)
        fan_in_(layer)
        layers += [layer, nn.ReLU()]
        size = width
    last = nn.Linear(size, outputs)
    nn.init.uniform_(last.weight, -last_layer_bound, last_layer_bound)
    nn.init.uniform_(last.bias, -last_layer_bound, last_layer_bound)
    return nn.Sequential(*layers, last)


def fan_in_(layer: nn.Linear) -> None:
    """Initialise weights in U(+-1/sqrt(rows)), biases with 0.

    ``rows`` is the output width: the authors' code takes the first size of the weight.
    """
    bound = layer.weight.shape[0] ** -0.5
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.zeros_(layer.bias)


def gelu_mlp(
    inputs: int,
    hidden: Sequence[int],
    outputs: int,
    *,
    layer_norm: bool = False,
    last_gain: float = 1.0,
) -> nn.Sequential:
    """Return a network of Linear, GELU and, where asked, LayerNorm (OGBench's MLP).

    Weights are Xavier-uniform, the last layer's times ``last_gain``; biases are 0.
    """
    layers: list[nn.Module] = []
    size = inputs
    for width in hidden:
        layers += [_xavier(size, width, 1.0), nn.GELU(approximate="tanh")]
        if layer_norm:
            layers.append(nn.LayerNorm(width, eps=1e-6))
        size = width
    return nn.Sequential(*layers, _xavier(size, outputs, last_gain))


def _xavier(inputs: int, outputs: int, gain: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Let gradients of what is computed within pass through ``module``, but not into it."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


class ResidualBlock(nn.Module):
    """ReLU(x + conv3x3(ReLU(conv3x3(x)))), no biases (authors' VQ-VAE)."""

    def __init__(self, channels: int, bottleneck: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(channels, bottleneck, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(bottleneck, channels, 3, padding=1, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, channels, H, W) to the same shape."""
        return torch.relu(x + self.block(x))


def pair_layers(
    latent: LatentShape, channels: int, blocks: int, dropout: float, units: int
) -> list[nn.Module]:
    """Layers from `pair_maps` (B, 3 C, H, W) to features (B, units), on half the grid."""
    height, breadth = (latent.height + 1) // 2, (latent.width + 1) // 2
    return [
        nn.Conv2d(3 * latent.channels, channels, 3, stride=2, padding=1),
        nn.ReLU(),
        *(ResidualBlock(channels, channels) for _ in range(blocks)),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(channels * height * breadth, units),
    ]


def pair_maps(latent: LatentShape, latents: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
    """Latents, goals (B, D) and their difference as maps (B, 3 C, H, W)."""
    maps = torch.cat([latents, goals, goals - latents], dim=1)
    return maps.view(-1, 3 * latent.channels, latent.height, latent.width)


def two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear, GELU, LayerNorm, Linear; Kaiming-normal weights (LBP's released code)."""
    first, last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
    for layer in (first, last):
        nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(first, nn.GELU(), nn.LayerNorm(hidden), last)


class FiLM(nn.Module):
    """x * (1 + scale) + shift for each channel, linear in a condition (arXiv 1709.07871).

    It begins as the identity.
    """

    def __init__(self, condition: int, channels: int) -> None:
        super().__init__()
        self.layer = nn.Linear(condition, 2 * channels)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Modulate maps x (B, channels, H, W) by conditions (B, C)."""
        scale, shift = self.layer(condition)[..., None, None].chunk(2, dim=1)
        return x * (1.0 + scale) + shift


STD_FLOOR = 0.1
"""Least standard deviation of a dimension, as a share of the root mean square over all."""


class Standardise(nn.Module):
    """(x - mean) / std for each of ``size`` dimensions; std has a floor, so values stay finite.

    A code that changes in one image of thousands would otherwise weigh more than all others.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    @torch.no_grad()
    def fit(self, values: torch.Tensor) -> None:
        """Set mean and std to those of ``values`` (N, size). Where nothing varies, std is 1."""
        std = values.std(0, correction=0)
        floor = STD_FLOOR * std.square().mean().sqrt()
        self.mean.copy_(values.mean(0))
        self.std.copy_(std.clamp(min=floor) if floor > 0 else torch.ones_like(std))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Standardise (..., size)."""
        return (values - self.mean) / self.std

    def inverse(self, values: torch.Tensor) -> torch.Tensor:
        """From standardised values (..., size) to those that they stand for."""
        return values * self.std + self.mean
