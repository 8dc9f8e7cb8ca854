# SPDX-License-Identifier: Apache-2.0
"""Conditional VAEs that propose a state 15, 30 or 60 steps ahead (paper section III-B)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ptp_core.config import LatentShape, SubgoalGeneratorConfig
from ptp_core.models.unet import ConditionalUNet, latent_encoder
from ptp_core.models.vqvae import VQVAE

HORIZONS = ("dt60", "dt30", "dt15")  # level 0, 1, 2 of the planner


class SubgoalGenerator(ConditionalUNet):
    """One conditional VAE: context latent + z -> a later latent, before quantisation.

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
        """Numbers of a latent action z."""
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
    """The three generators; index 0 is the coarsest: dt60, dt30, dt15."""

    def __init__(self, config: SubgoalGeneratorConfig, latent: LatentShape) -> None:
        super().__init__({name: SubgoalGenerator(config, latent) for name in HORIZONS})

    def level(self, index: int) -> SubgoalGenerator:
        """Return the generator of planner level 0 (dt60), 1 (dt30) or 2 (dt15)."""
        return self[HORIZONS[index]]
