# SPDX-License-Identifier: Apache-2.0
"""Train the networks of the baselines on encoded trajectories: LEAP's VAE, GCP's midpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ptp_core.config import BaselinesConfig, LatentVAEConfig, MidpointConfig
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.planners.latent_vae import LatentVAE
from ptp_core.planners.midpoint_generator import MidpointGenerator, sample_triples
from ptp_core.training.stage import Metrics, StageState, encoded_fingerprint, run_as_configured

SCALE_LATENTS = 8192  # random latents from which the VAE's shift and scale are computed
VALIDATION_LATENTS = 1024
VALIDATION_TRIPLES = 256

Lookup = Callable[[EncodedDataset, np.ndarray], torch.Tensor]
"""Latents (..., D) of frames (...)."""
Loss = Callable[[EncodedDataset, int, np.random.Generator, torch.Generator], tuple]
"""Loss and metrics of so many examples that the first generator picks; the second draws z."""


def train_latent_vae(
    config: BaselinesConfig,
    vqvae: VQVAE,
    data: EncodedDataset,
    folder: Path,
    *,
    validation: EncodedDataset,
    progress: bool = True,
) -> tuple[LatentVAE, dict[str, float]]:
    """Train on single frames, drawn uniformly; return the network and its last scalars."""
    torch.manual_seed(config.seed)
    latents = _lookup(vqvae)
    vae = LatentVAE(config.vae, vqvae.latent).to(vqvae.codebook.device)
    picks = np.random.default_rng(config.seed).integers(len(data.codes), size=SCALE_LATENTS)
    vae.fit_scale(latents(data, picks))

    def loss(data, count, rng, generator):
        return vae.loss(latents(data, rng.integers(len(data.codes), size=count)), generator)

    scalars = _train(
        "vae", config, vae, loss, data, folder, validation, VALIDATION_LATENTS, progress
    )
    return vae.eval(), scalars


def train_midpoints(
    config: BaselinesConfig,
    vqvae: VQVAE,
    data: EncodedDataset,
    folder: Path,
    *,
    validation: EncodedDataset,
    progress: bool = True,
) -> tuple[MidpointGenerator, dict[str, float]]:
    """Train on nodes of balanced trees; return the network and its last scalars."""
    torch.manual_seed(config.seed)
    latents = _lookup(vqvae)
    midpoints = MidpointGenerator(config.midpoints, vqvae.latent).to(vqvae.codebook.device)

    def loss(data, count, rng, generator):
        triples = sample_triples(data.lengths, config.midpoints.depth, count, rng)
        left, middle, right = latents(data, triples).unbind(1)
        return midpoints.loss(left, right, middle, generator)

    scalars = _train(
        "midpoints",
        config,
        midpoints,
        loss,
        data,
        folder,
        validation,
        VALIDATION_TRIPLES,
        progress,
    )
    return midpoints.eval(), scalars


def _train(
    name: str,
    config: BaselinesConfig,
    network: nn.Module,
    loss: Loss,
    data: EncodedDataset,
    folder: Path,
    validation: EncodedDataset,
    held_out: int,
    progress: bool,
) -> dict[str, float]:
    settings: LatentVAEConfig | MidpointConfig = getattr(config, name)
    parameters = list(network.parameters())
    optimiser = torch.optim.Adam(parameters, lr=settings.learning_rate, fused=True)
    state = StageState(
        modules={name: network},
        optimisers={"adam": optimiser},
        generator=torch.Generator().manual_seed(config.seed),
        rng=np.random.default_rng(config.seed),
        fingerprint=encoded_fingerprint(settings, config.seed, data),
    )

    def train_step() -> Metrics:
        total, metrics = loss(data, settings.batch_size, state.rng, state.generator)
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(parameters, settings.gradient_clip)
        optimiser.step()
        return metrics

    @torch.inference_mode()
    def validate() -> dict[str, float]:
        # The same examples and the same z each time.
        rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
        metrics = loss(validation, held_out, rng, generator)[1]
        return {key: float(value) for key, value in metrics.items()}

    return run_as_configured(
        name,
        folder,
        state,
        train_step,
        settings,
        config,
        validate=validate,
        progress=progress,
    )


def _lookup(vqvae: VQVAE) -> Lookup:
    def latents(data: EncodedDataset, frames: np.ndarray) -> torch.Tensor:
        codes = torch.from_numpy(data.codes[frames].astype(np.int64))
        return vqvae.lookup(codes.to(vqvae.codebook.device))

    return latents
