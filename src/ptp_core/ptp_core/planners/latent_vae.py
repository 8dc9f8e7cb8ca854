# SPDX-License-Identifier: Apache-2.0
"""VAE of whole latents, the search space of LEAP (arXiv 1911.08453, section on latents).

LEAP trains it on images. Ours maps the VQ-VAE's latents to a short z and back, so that a search
decodes no images.
"""

from __future__ import annotations

import torch
from torch import nn

from ptp_core.config import LatentShape, LatentVAEConfig
from ptp_core.errors import InputError

SCALE_FLOOR = 1e-6  # least scale, so that a data set of one latent gives no division by 0


class LatentVAE(nn.Module):
    """Unconditional VAE: latent (D) -> z -> latent, before quantisation.

    Latents are float32 (B, D), D = ``latent.size``. z is (B, z_dim), 16 in LEAP, with prior
    N(0, I).
    The networks see (latent - shift) / scale. ``fit_scale`` sets both; they are part of the state
    dict. One scale for all dimensions preserves distances, which determine the nearest codes.
    """

    shift: torch.Tensor  # (D,), mean latent
    scale: torch.Tensor  # (), root mean square deviation from it

    def __init__(self, config: LatentVAEConfig, latent: LatentShape) -> None:
        super().__init__()
        self.config = config
        self.latent = latent
        units = config.hidden_units
        self.encoder = nn.Sequential(
            nn.Linear(latent.size, units),
            nn.ReLU(),
            nn.Linear(units, units),
            nn.ReLU(),
        )
        self.mean = nn.Linear(units, config.z_dim)
        self.logvar = nn.Linear(units, config.z_dim)
        self.decoder = nn.Sequential(
            nn.Linear(config.z_dim, units),
            nn.ReLU(),
            nn.Linear(units, units),
            nn.ReLU(),
            nn.Linear(units, latent.size),
        )
        self.register_buffer("shift", torch.zeros(latent.size))
        self.register_buffer("scale", torch.ones(()))

    @property
    def z_dim(self) -> int:
        """Dimensions of z."""
        return self.config.z_dim

    @torch.no_grad()
    def fit_scale(self, latents: torch.Tensor) -> None:
        """Set shift and scale from ``latents`` (N, D), before the first gradient step.

        Raises InputError for another shape, no latents, or values that are not finite.
        """
        if latents.dim() != 2 or not len(latents):
            raise InputError(
                f"the scale needs latents (N, {self.latent.size}) with N > 0, not "
                f"{tuple(latents.shape)}"
            )
        self._check_size(latents)
        if not torch.isfinite(latents).all():
            raise InputError("the scale needs finite latents: encode the data set again")
        mean = latents.mean(0)
        self.shift.copy_(mean)
        self.scale.copy_((latents - mean).square().mean().sqrt().clamp_min(SCALE_FLOOR))

    def encode(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log variance (B, z_dim) of q(z | latent) for latents (B, D)."""
        return self._encode(self._scaled(latents))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Turn z (..., z_dim) into unquantised latents (..., D)."""
        return self.decoder(z) * self.scale + self.shift

    def loss(
        self, latents: torch.Tensor, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the mean loss of ``latents`` (B, D): minus the beta-weighted ELBO.

        weight * 1/2 ||scaled - decoded||^2 + beta * KL(q(z | latent) || N(0, I)), a Gaussian of
        unit variance on the scaled latent. ``generator``, a CPU generator, draws z.
        """
        config = self.config
        scaled = self._scaled(latents)
        mean, logvar = self._encode(scaled)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        decoded = self.decoder(mean + noise * torch.exp(0.5 * logvar))
        errors = (decoded - scaled).square()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1).mean()
        loss = config.reconstruction_weight * errors.sum(1).mean() / 2 + config.kl_weight * kl
        metrics = {
            "loss": loss.detach(),
            "reconstruction_mse": errors.detach().mean(),  # the mean latent has 1
            "kl": kl.detach(),
        }
        return loss, metrics

    def _encode(self, scaled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.encoder(scaled)
        return self.mean(features), self.logvar(features)

    def _scaled(self, latents: torch.Tensor) -> torch.Tensor:
        self._check_size(latents)
        return (latents - self.shift) / self.scale

    def _check_size(self, latents: torch.Tensor) -> None:
        size = self.latent.size
        if latents.shape[-1] != size:
            raise InputError(f"a latent has {size} numbers, not {latents.shape[-1]}")
