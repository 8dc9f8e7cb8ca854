# SPDX-License-Identifier: Apache-2.0
"""Training of the networks that only a baseline has, on encoded trajectories."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ptp_core.config import (
    BaselinesConfig,
    GeneratedGoalsConfig,
    IQLConfig,
    LatentVAEConfig,
    MidpointConfig,
)
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.replay_buffer import CodeBatch
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.learning.gradient_step import Metrics, gradient_step
from ptp_core.learning.iql import IQL, GoalNetwork
from ptp_core.planners.gcp_planner import MidpointGenerator, sample_triples
from ptp_core.planners.leap_planner import LatentVAE
from ptp_core.training.checkpoint import Checkpoint
from ptp_core.training.iql_stage import (
    VALIDATION_TRANSITIONS,
    fill_buffer,
    generated_goals,
    make_batch,
    starting_inputs,
)
from ptp_core.training.stage import StageState, encoded_fingerprint, run_as_configured

SCALE_LATENTS = 8192  # random latents from which the VAE's shift and scale are computed
VALIDATION_LATENTS = 1024
VALIDATION_TRIPLES = 256

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
    vae = LatentVAE(config.vae, vqvae.latent).to(vqvae.codebook.device)
    picks = np.random.default_rng(config.seed).integers(len(data.codes), size=SCALE_LATENTS)
    vae.fit_scale(vqvae.latents_of(data.codes[picks]))

    def loss(data, count, rng, generator):
        frames = rng.integers(len(data.codes), size=count)
        return vae.loss(vqvae.latents_of(data.codes[frames]), generator)

    scalars = _train_network(
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
    midpoints = MidpointGenerator(config.midpoints, vqvae.latent).to(vqvae.codebook.device)

    def loss(data, count, rng, generator):
        triples = sample_triples(data.lengths, config.midpoints.depth, count, rng)
        left, middle, right = vqvae.latents_of(data.codes[triples]).unbind(1)
        return midpoints.loss(left, right, middle, generator)

    scalars = _train_network(
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


def train_gcbc(
    config: BaselinesConfig,
    checkpoint: Checkpoint,
    data: EncodedDataset,
    folder: Path,
    *,
    validation: EncodedDataset,
    progress: bool = True,
) -> tuple[GoalNetwork, dict[str, float]]:
    """Train with the checkpoint's ``iql`` and ``imagined`` settings; return network and scalars.

    GCBC is goal-conditioned behaviour cloning (Lynch et al. 2019, arXiv 1903.01973; Ghosh et al.
    2019, arXiv 1912.06088): IQL's policy loss with all weights 1, an ablation of the advantage
    weights. Network, initial weights, trajectories, relabelled goals, generated goals, number of
    updates and learning rates are those of the checkpoint's policy. There is no V and no Q. All
    its computation is in float32.

    ``folder`` holds one folder a stage. The second stage's scalars begin with "imagined/".
    """
    settings, generated = checkpoint.config.iql, checkpoint.config.imagined
    vqvae, common = checkpoint.vqvae, {"validation": validation, "progress": progress}
    clone = partial(_clone, config, checkpoint, data, **common)
    torch.manual_seed(config.seed)
    sizes = vqvae.latent, data.actions.shape[1]
    first = IQL(settings, *sizes).to(vqvae.codebook.device)
    scalars = clone(first, settings, folder / "camera")
    if not generated.steps:
        return first.policy.eval(), scalars
    further = dataclasses.replace(settings, learning_rate=generated.learning_rate)
    second = IQL(further, *sizes).to(vqvae.codebook.device)
    second.policy.load_state_dict(first.policy.state_dict())
    draws = torch.Generator().manual_seed(config.seed)
    shown = generated_goals(vqvae, checkpoint.generators, data, draws, progress=progress)
    more = clone(second, generated, folder / "imagined", shown, generated.share)
    scalars |= {f"imagined/{name}": value for name, value in more.items()}
    return second.policy.eval(), scalars


def _train_network(
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
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, fused=True)
    state = StageState(
        modules={name: network},
        optimisers={"adam": optimiser},
        seed=config.seed,
        fingerprint=encoded_fingerprint(settings, config.seed, data),
    )

    def train_step() -> Metrics:
        total, metrics = loss(data, settings.batch_size, state.rng, state.generator)
        gradient_step(total, optimiser, settings.gradient_clip)
        return metrics

    @torch.inference_mode()
    def validate() -> Metrics:
        # The same examples and the same z each time.
        rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
        return loss(validation, held_out, rng, generator)[1]

    return run_as_configured(
        name, folder, state, train_step, settings, config, validate=validate, progress=progress
    )


def _clone(
    config: BaselinesConfig,
    checkpoint: Checkpoint,
    data: EncodedDataset,
    iql: IQL,
    budget: IQLConfig | GeneratedGoalsConfig,
    folder: Path,
    generated: np.ndarray | None = None,
    share: float = 0.0,
    *,
    validation: EncodedDataset,
    progress: bool,
) -> dict[str, float]:
    """Train the policy of ``iql`` until the budget is spent; return its last scalars."""
    settings, vqvae = checkpoint.config.iql, checkpoint.vqvae
    policy, optimiser = iql.policy.train(), iql.optimisers["policy"]
    buffer, others = (fill_buffer(each, settings) for each in (data, validation))
    held_out = others.sample(VALIDATION_TRANSITIONS, np.random.default_rng(0))
    state = StageState(
        modules={"policy": policy},
        optimisers={"policy": optimiser},
        seed=config.seed,
        fingerprint=starting_inputs(settings, config.seed, data, budget, policy, generated),
    )

    def cloning_loss(codes: CodeBatch) -> tuple[torch.Tensor, Metrics]:
        """IQL's policy loss with all advantages 0, so that all weights are 1."""
        batch = make_batch(codes, vqvae, settings.reward_epsilon)
        loss, metrics = iql.policy_loss(batch, torch.zeros_like(batch.rewards))
        return loss, {"loss": metrics["policy/loss"], "action_mse": metrics["policy/action_mse"]}

    def train_step() -> Metrics:
        loss, metrics = cloning_loss(
            buffer.sample(settings.batch_size, state.rng, generated, share)
        )
        gradient_step(loss, optimiser, settings.gradient_clip)
        return metrics

    @torch.inference_mode()
    def validate() -> Metrics:
        return cloning_loss(held_out)[1]

    return run_as_configured(
        "gcbc", folder, state, train_step, budget, config, validate=validate, progress=progress
    )
