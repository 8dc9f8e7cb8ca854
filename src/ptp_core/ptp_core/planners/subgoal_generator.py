# SPDX-License-Identifier: Apache-2.0
"""Conditional VAEs that propose a state 15, 30 or 60 steps ahead (paper section III-B).

`context_features` and `decode_from_features` are a faster `ConditionalUNet.forward` for many z
with one shared context. Concatenation followed by a linear layer is a sum of two linear layers,
one of which depends on the context only. The first function computes that one once; the second
adds the other for each z. Equal to ``forward`` up to rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from ptp_core.config import LatentShape, SubgoalGeneratorConfig
from ptp_core.encoders.vqvae import VQVAE


class ConditionalUNet(nn.Module):
    """U-Net that maps a context of one or more latents and z to an unquantised latent.

    Latents are float32 (B, D), of a grid of H x W codes. A context is float32 (B, D * count):
    ``count`` latents, concatenated along their channels. A subclass calls ``add_unet`` in its
    constructor: the order of layers determines the initial weights of a seed and the order of an
    optimiser's state.
    """

    def add_unet(
        self, latent: LatentShape, count: int, z_dim: int, width: int, units: int
    ) -> None:
        """Make the layers for contexts of ``count`` latents. ConfigError if they do not fit."""
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

        For many z of one context, `decode_from_features` predicts the same faster.
        """
        outer = self.down_outer(self.grid(context))
        inner = self.down_inner(torch.relu(outer))
        features = torch.cat([inner.flatten(1), self.z_features(z)], dim=1)
        middle = self.bottleneck(features).view_as(inner)
        up = self.up_inner(torch.relu(torch.cat([inner, middle], dim=1)))
        up = self.up_outer(torch.relu(torch.cat([outer, up], dim=1)))
        return self.head(torch.relu(up)).flatten(1)

    def grid(self, latents: torch.Tensor) -> torch.Tensor:
        """Reshape concatenated latents (B, D * n) to maps (B, channels * n, H, W)."""
        channels, height, width = self.latent
        count = latents.shape[1] // self.latent.size
        return latents.view(-1, count * channels, height, width)


def latent_encoder(latent: LatentShape, count: int, width: int, units: int) -> nn.Sequential:
    """Encoder of ``count`` latents (B, channels * count, H, W) to features (B, units)."""
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


class SubgoalGenerator(ConditionalUNet):
    """Conditional VAE: predicts a later latent, before quantisation, from a context and z.

    Latents are float32 (B, D), D = ``latent.size``. z is (B, z_dim), 8 in the paper, with prior
    N(0, I).
    """

    def __init__(self, config: SubgoalGeneratorConfig, latent: LatentShape) -> None:
        super().__init__()
        self.config = config
        width, units = config.hidden_channels, config.hidden_units
        self.encoder = latent_encoder(latent, 2, width, units)
        self.mean = nn.Linear(units, config.z_dim)
        self.logvar = nn.Linear(units, config.z_dim)
        self.add_unet(latent, 1, config.z_dim, width, units)

    @property
    def z_dim(self) -> int:
        """Dimensions of a latent action z."""
        return self.config.z_dim

    decode = ConditionalUNet.forward

    def encode(
        self, context: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log variance (B, z_dim) of q(z | context, target), latents (B, D)."""
        pair = torch.cat([context - target, context], dim=1)
        features = self.encoder(self.grid(pair))
        return self.mean(features), self.logvar(features)

    def loss(
        self,
        context: torch.Tensor,
        targets: torch.Tensor,
        *,
        vqvae: VQVAE,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the mean loss of ``targets`` (B, steps, D) unrolled from ``context`` (B, D).

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


class GeneratorHierarchy(nn.ModuleDict):
    """The generators; index 0 is the coarsest: dt60, dt30, dt15, or fewer of these."""

    def __init__(self, config: SubgoalGeneratorConfig, latent: LatentShape) -> None:
        super().__init__({name: SubgoalGenerator(config, latent) for name in config.horizons})

    def level(self, index: int) -> SubgoalGenerator:
        """Return the generator of planner level 0 (dt60), 1 (dt30) or 2 (dt15)."""
        return self[list(self)[index]]


class ContextFeatures(NamedTuple):
    """The part of the decoder's layers that depends on the context only; first axis: batch."""

    hidden: torch.Tensor  # (B, hidden_units), the context's part of the first bottleneck layer
    inner: torch.Tensor  # (B, width, H / 2, W / 2), its part of the inner up-convolution
    outer: torch.Tensor  # (B, width, H, W), its part of the outer up-convolution


def context_features(net: ConditionalUNet, context: torch.Tensor) -> ContextFeatures:
    """Compute the features of contexts (B, D * count), which many z share."""
    outer = torch.relu(net.down_outer(net.grid(context)))
    inner = torch.relu(net.down_inner(outer))
    first, channels = net.bottleneck[1], inner.shape[1]
    return ContextFeatures(
        functional.linear(inner.flatten(1), first.weight[:, : inner[0].numel()], first.bias),
        _up(inner, net.up_inner.weight[:channels]),
        _up(outer, net.up_outer.weight[: outer.shape[1]]),
    )


def decode_from_features(
    net: ConditionalUNet, z: torch.Tensor, features: ContextFeatures
) -> torch.Tensor:
    """Predict (B, N, D) from z (B, N, z_dim), N for each of the B contexts.

    Changes activations in place, so that gradients need N = 1.
    """
    batch, samples = z.shape[:2]
    units, width = features.hidden.shape[1], features.inner.shape[1]
    first, last = net.bottleneck[1], net.bottleneck[3]
    hidden = functional.linear(net.z_features(z), first.weight[:, -units:])
    hidden = hidden.add_(features.hidden[:, None]).relu_().flatten(0, 1)
    height, breadth = net.latent.height // 4, net.latent.width // 4
    middle = last(hidden).relu_().view(-1, 2 * width, height, breadth)
    up = _up(middle, net.up_inner.weight[2 * width :])
    up = _add_context(up, features.inner, samples).relu_()
    up = _up(up, net.up_outer.weight[width:])
    up = _add_context(up, features.outer, samples).relu_()
    return net.head(up).reshape(batch, samples, -1)


def use_fastest_layout(module: nn.Module) -> None:
    """Choose the fastest memory layout of transposed convolutions on a CPU; values stay."""
    made_for_inference = next(module.parameters()).is_inference()
    with torch.inference_mode(made_for_inference):  # otherwise weights must allow gradients
        module.to(memory_format=torch.channels_last)


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
