# SPDX-License-Identifier: Apache-2.0
"""Stage 1: train the VQ-VAE on single frames (paper section III-A)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ptp_core.config import TrainConfig, VQVAEConfig
from ptp_core.encoders.recolouring import recoloured
from ptp_core.encoders.vqvae import VQVAE, to_float
from ptp_core.learning.gradient_step import Metrics, gradient_step
from ptp_core.training.stage import StageState, run_as_configured, without_budget

VALIDATION_IMAGES = 512
FOREGROUND_THRESHOLD = 0.1  # of the full range, largest colour difference to the median image


def train_vqvae(
    config: TrainConfig,
    images: np.ndarray,
    folder: Path,
    *,
    validation: np.ndarray,
    device: torch.device,
    content: str = "",
    progress: bool = True,
) -> tuple[VQVAE, dict[str, float]]:
    """Train on uint8 images (frames, S, S, 3); return the network and its last scalars.

    ``content`` is a hash of the data set; with another one the stage starts again.
    """
    settings = config.vqvae
    torch.manual_seed(config.seed)
    vqvae = VQVAE(settings).to(device)
    parameters = [p for p in vqvae.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=settings.learning_rate, fused=True)
    state = StageState(
        modules={"vqvae": vqvae},
        optimisers={"adam": optimiser},
        seed=config.seed,
        fingerprint={
            "config": without_budget(settings),
            "seed": config.seed,
            "frames": len(images),
            "content": content,
        },
        extra=vqvae.codebook_state(),
    )
    frames = torch.from_numpy(images)
    weighting = _Weighting(settings, images, device)
    held_out = torch.from_numpy(_spread(validation, VALIDATION_IMAGES)).to(device)

    def train_step() -> Metrics:
        chosen = torch.from_numpy(state.rng.integers(len(images), size=settings.batch_size))
        batch = frames[chosen].to(device)
        loss, metrics = vqvae.loss(
            batch,
            seen=_seen(batch, settings, state.generator) if settings.recoloured else None,
            pixel_weights=weighting(batch),
            quantised=state.step >= settings.quantise_after,
            generator=state.generator,
        )
        gradient_step(loss, optimiser, settings.gradient_clip)
        return metrics

    def errors(see: Callable[[torch.Tensor], torch.Tensor | None]) -> Metrics:
        parts = [
            vqvae.loss(part, seen=see(part), pixel_weights=weighting(part))[1]
            for part in held_out.split(64)
        ]
        keys = ("reconstruction_mse", "weighted_mse", "perplexity")
        return {key: torch.stack([part[key] for part in parts]).mean() for key in keys}

    @torch.inference_mode()
    def validate() -> Metrics:
        vqvae.eval()
        found = errors(lambda part: None)
        if settings.recoloured:
            draws = torch.Generator().manual_seed(config.seed)
            others = errors(lambda part: recoloured(to_float(part, settings.image_size), draws))
            found["recoloured_mse"] = others["weighted_mse"]
        vqvae.train()
        return found

    vqvae.train()
    scalars = run_as_configured(
        "vqvae", folder, state, train_step, settings, config, validate=validate, progress=progress
    )
    return vqvae.eval(), scalars


def _seen(images: torch.Tensor, config: VQVAEConfig, generator: torch.Generator) -> torch.Tensor:
    """Float images (B, 3, S, S), a share of ``config.recoloured`` of them in other colours."""
    own = to_float(images, config.image_size)
    chosen = torch.rand((len(own), 1, 1, 1), generator=generator) < config.recoloured
    return torch.where(chosen.to(own.device), recoloured(own, generator), own)


class _Weighting:
    """Pixel weights of the reconstruction error, mean 1; None for "uniform"."""

    def __init__(self, config: VQVAEConfig, images: np.ndarray, device: torch.device) -> None:
        self.config = config
        sample = _spread(images, 2000)
        if config.reconstruction_weighting == "deviation":
            deviation = sample.std(axis=0, dtype=np.float32).mean(axis=-1)
            weights = np.maximum(deviation / max(deviation.mean(), 1e-6), config.deviation_floor)
            self.weights = torch.from_numpy(weights / weights.mean()).to(device)
        elif config.reconstruction_weighting == "foreground":
            median = np.median(sample, axis=0).astype(np.uint8)
            background = to_float(torch.from_numpy(median[None]), config.image_size)
            self.background = background.to(device)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor | None:
        if self.config.reconstruction_weighting == "uniform":
            return None
        if self.config.reconstruction_weighting == "deviation":
            return self.weights
        difference = (
            (to_float(batch, self.config.image_size) - self.background).abs().amax(1, keepdim=True)
        )
        weights = 1 + self.config.foreground_gain * (difference > FOREGROUND_THRESHOLD).float()
        return weights / weights.mean()


def _spread(images: np.ndarray, count: int) -> np.ndarray:
    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
    return images[chosen]
