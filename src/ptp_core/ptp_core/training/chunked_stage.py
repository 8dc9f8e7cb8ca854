# SPDX-License-Identifier: Apache-2.0
"""Training of the chunked diffusion policy on encoded data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from ptp_core.config import ChunkedPolicyConfig, TrainConfig
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.learning.diffusion_bc import ChunkSampler, DiffusionBC
from ptp_core.learning.gradient_step import Metrics
from ptp_core.policies.chunked_policy import ChunkedPolicy
from ptp_core.training.stage import StageState, encoded_fingerprint, run_as_configured

VALIDATION_FRAMES = 1024


@contextmanager
def seeded_dropout(generator: torch.Generator) -> Iterator[None]:
    """Let dropout, which knows only torch's own generator, depend on ``generator``."""
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        yield


def make_chunked_policy(
    settings: ChunkedPolicyConfig, vqvae: VQVAE, actions: int, proprioception: int
) -> ChunkedPolicy:
    """A policy with random weights; ``proprioception``: numbers of it in the data."""
    used = proprioception if settings.proprioception else 0
    return ChunkedPolicy(settings, vqvae.latent, actions, used)


def train_chunked_policy(
    config: TrainConfig,
    vqvae: VQVAE,
    data: EncodedDataset,
    folder: Path,
    *,
    validation: EncodedDataset,
    progress: bool = True,
    row: int = 0,
) -> tuple[ChunkedPolicy, dict[str, float]]:
    """Clone the demonstrations with ``config.chunked``; return the averaged policy and scalars."""
    settings = config.chunked
    torch.manual_seed(config.seed)
    own = 0 if data.proprioception is None else data.proprioception.shape[1]
    policy, average = (
        make_chunked_policy(settings, vqvae, data.actions.shape[1], own).to(vqvae.codebook.device)
        for _ in range(2)
    )
    if settings.proprioception and own:
        values = torch.from_numpy(data.proprioception)
        policy.set_scale(values.mean(0), values.std(0))
    cloning = DiffusionBC(policy, average)
    state = StageState(
        modules={"policy": policy, "average": average},
        optimisers={"adam": cloning.optimiser},
        seed=config.seed,
        fingerprint=encoded_fingerprint(settings, config.seed, data),
    )
    sampler = ChunkSampler(data, settings)
    held_out = ChunkSampler(validation, settings).draw(
        VALIDATION_FRAMES, np.random.default_rng(config.seed)
    )

    def train_step() -> Metrics:
        batch = sampler.draw(settings.batch_size, state.rng).tensors(vqvae)
        cloning.updates = state.step
        with seeded_dropout(state.generator):
            return cloning.update(*batch, state.generator)

    @torch.no_grad()
    def validate() -> Metrics:
        latents, goals, own, chunks, weights = held_out.tensors(vqvae)
        draws = torch.Generator().manual_seed(config.seed)
        loss = average.loss(average.conditions(latents, goals, own), chunks, weights, draws)[0]
        errors = (average.sample(latents, goals, own, draws) - chunks).square().mean(-1)
        return {"loss": loss, "action_mse": (errors * weights).sum() / weights.sum()}

    policy.train()
    scalars = run_as_configured(
        "chunked policy",
        folder,
        state,
        train_step,
        settings,
        config,
        validate=validate,
        progress=progress,
        row=row,
    )
    return average.eval(), scalars
