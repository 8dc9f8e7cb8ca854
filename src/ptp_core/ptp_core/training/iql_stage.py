# SPDX-License-Identifier: Apache-2.0
"""Offline goal-conditioned IQL on encoded trajectories (paper section IV-A), in two stages.

The second stage is ours: part of the goals are frames reconstructed by the subgoal generators. A
planned subgoal is blurred and quantised again. A policy that was trained only on goals from the
camera hardly moves towards it. So each frame is also reconstructed by a generator, with z from
its posterior, from a frame that lies one of the generator's gaps earlier.
"""

from __future__ import annotations

import dataclasses
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ptp_core.config import (
    GapConfig,
    GeneratedGoalsConfig,
    IQLConfig,
    SubgoalGeneratorConfig,
    TrainConfig,
)
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.replay_buffer import CodeBatch, ReplayBuffer
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.errors import ConfigError
from ptp_core.learning.accelerated_iql import accelerated_update, shared_networks
from ptp_core.learning.gradient_step import Metrics
from ptp_core.learning.iql import IQL, Batch, reached
from ptp_core.planners.subgoal_generator import GeneratorHierarchy
from ptp_core.progress import Bar
from ptp_core.training.stage import (
    StageState,
    encoded_fingerprint,
    run_as_configured,
    without_budget,
)
from ptp_core.training.subgoal_stage import ends_from
from ptp_core.training.weights import serialise

VALIDATION_TRANSITIONS = 1024
ROWS = 256  # frames that are reconstructed at once


def train_iql(
    config: TrainConfig,
    vqvae: VQVAE,
    data: EncodedDataset,
    folder: Path,
    *,
    validation: EncodedDataset,
    progress: bool = True,
) -> tuple[IQL, dict[str, float]]:
    """Train on the trajectories of ``data``; ``config.iql.reward_epsilon`` must be a number."""
    if config.iql.reward_epsilon == "auto":
        raise ConfigError("iql.reward_epsilon is still auto; pretrain settles it first")
    torch.manual_seed(config.seed)
    iql = IQL(config.iql, vqvae.latent, data.actions.shape[1]).to(vqvae.codebook.device)
    scalars = _train("iql", iql, config.iql, config, vqvae, data, folder, validation, progress)
    return iql.eval(), scalars


def train_on_generated_goals(
    config: TrainConfig,
    vqvae: VQVAE,
    generators: GeneratorHierarchy,
    iql: IQL,
    data: EncodedDataset,
    folder: Path,
    *,
    validation: EncodedDataset,
    progress: bool = True,
) -> tuple[IQL, dict[str, float]]:
    """Continue training ``iql`` with the share ``config.imagined.share`` of generated goals.

    Returns new networks; ``iql`` does not change.
    """
    settings = config.imagined
    further = dataclasses.replace(config.iql, learning_rate=settings.learning_rate)
    tuned = IQL(further, vqvae.latent, data.actions.shape[1]).to(vqvae.codebook.device)
    tuned.load_state_dict(iql.state_dict())
    draws = torch.Generator().manual_seed(config.seed)
    shown = generated_goals(vqvae, generators, data, draws, progress=progress)
    goals = shown, settings.share
    scalars = _train(
        "imagined", tuned, settings, config, vqvae, data, folder, validation, progress, *goals
    )
    return tuned.eval(), scalars


@torch.no_grad()
def generated_goals(
    vqvae: VQVAE,
    generators: GeneratorHierarchy,
    data: EncodedDataset,
    generator: torch.Generator,
    *,
    progress: bool = False,
) -> np.ndarray:
    """Generated codes of every frame of ``data``: uint16 (frames, N).

    The generator is drawn from those whose gap does not reach beyond the start of the trajectory.
    A frame before the smallest gap keeps its own codes. ``generator`` (CPU) draws gaps and z.
    """
    contexts, levels = _contexts(data, generators.level(0).config, generator)
    codes = data.codes.copy()
    with Bar(total=len(codes), unit="frame", desc="imagine goals", disable=not progress) as bar:
        for level in range(len(generators)):
            network = generators.level(level)
            for rows in np.array_split(frames := np.flatnonzero(levels == level), _parts(frames)):
                context, target = vqvae.latents_of(data.codes[np.stack([contexts[rows], rows])])
                mean, logvar = network.encode(context, target)
                noise = torch.randn(mean.shape, generator=generator).to(mean)
                shown = network(mean + noise * torch.exp(0.5 * logvar), context)
                codes[rows] = vqvae.quantise(shown)[0].cpu().numpy()
                bar.update(len(rows))
    return codes


def starting_inputs(
    config: IQLConfig,
    seed: int,
    data: EncodedDataset,
    stage: IQLConfig | GeneratedGoalsConfig,
    network: nn.Module,
    generated: np.ndarray | None,
) -> dict[str, Any]:
    """Inputs of a stage with the settings ``stage``, which goes on from ``network``."""
    inputs = {**encoded_fingerprint(config, seed, data), "stage": without_budget(stage)}
    if generated is not None:
        # The result depends on the weights of the previous stage, too.
        inputs["imagined"] = sha256(generated.tobytes() + serialise(network)).hexdigest()
    return inputs


def fill_buffer(data: EncodedDataset, settings: IQLConfig) -> ReplayBuffer:
    """Return a replay buffer with the trajectories of ``data``."""
    codes, actions = data.codes.shape[1], data.actions.shape[1]
    buffer = ReplayBuffer(max(len(data.codes), 2), codes, actions, settings.relabelling)
    for start, length in zip(data.starts, data.lengths, strict=True):
        buffer.add_trajectory(
            data.codes[start : start + length], data.actions[start : start + length]
        )
    return buffer


def make_batch(codes: CodeBatch, vqvae: VQVAE, epsilon: float) -> Batch:
    """Look up latents and compute rewards: 0 where s' lies within ``epsilon`` of the goal."""
    device = vqvae.codebook.device
    stacked = np.concatenate([codes.codes, codes.next_codes, codes.goal_codes])
    latents = vqvae.lookup(torch.from_numpy(stacked).int().to(device))
    current, following, goals = latents.chunk(3)
    return Batch(
        latents=current,
        actions=torch.from_numpy(codes.actions).to(device),
        next_latents=following,
        goals=goals,
        rewards=reached(following, goals, epsilon).float() - 1.0,
    )


def _train(
    name: str,
    iql: IQL,
    settings: IQLConfig | GeneratedGoalsConfig,
    config: TrainConfig,
    vqvae: VQVAE,
    data: EncodedDataset,
    folder: Path,
    validation: EncodedDataset,
    progress: bool,
    generated: np.ndarray | None = None,
    share: float = 0.0,
) -> dict[str, float]:
    """Train ``iql`` until the budget of ``settings`` is spent; return its last scalars."""
    buffer, others = (fill_buffer(each, config.iql) for each in (data, validation))
    epsilon = config.iql.reward_epsilon
    fixed = others.sample(VALIDATION_TRANSITIONS, np.random.default_rng(0))
    held_out = make_batch(fixed, vqvae, epsilon)
    state = StageState(
        modules={"iql": iql.train()},
        optimisers=iql.optimisers,
        seed=config.seed,
        fingerprint=starting_inputs(config.iql, config.seed, data, settings, iql, generated),
    )

    def train_step() -> Metrics:
        codes = buffer.sample(config.iql.batch_size, state.rng, generated, share)
        return accelerated_update(iql, make_batch(codes, vqvae, epsilon), run)

    @torch.inference_mode()
    def validate() -> Metrics:
        target_q = iql.q_target(held_out.latents, held_out.actions, held_out.goals).amin(0)
        advantage = target_q - iql.value(held_out.latents, held_out.goals)
        _, value = iql.value_loss(held_out, target_q)
        _, q = iql.q_loss(held_out)
        _, policy = iql.policy_loss(held_out, advantage)
        return {**value, **q, **policy}

    with shared_networks(vqvae.codebook.device) as run:
        return run_as_configured(
            name, folder, state, train_step, settings, config, validate=validate, progress=progress
        )


def _contexts(
    data: EncodedDataset, settings: SubgoalGeneratorConfig, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The context frame of each generated frame, and the generator's level; -1: none."""
    count = len(data.codes)
    offset = np.concatenate([np.arange(length) for length in data.lengths])
    start = np.arange(count) - offset
    rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
    contexts = np.full((settings.levels, count), -1)
    for level, name in enumerate(settings.horizons):
        gaps: GapConfig = getattr(settings, name)
        if gaps.mode != "multistep":  # from the first frames to the last ones
            context = start + rng.integers(gaps.minimum, size=count)
            begin = data.lengths - gaps.maximum
            if gaps.mode == "done":
                begin = ends_from(data, gaps)
            fits = offset >= np.repeat(begin, data.lengths)
        else:
            context = np.arange(count) - rng.integers(gaps.minimum, gaps.maximum + 1, size=count)
            fits = context >= start
        contexts[level] = np.where(fits, context, -1)
    possible = contexts >= 0
    draw = np.where(possible, rng.random(contexts.shape), -1.0)
    levels = np.where(possible.any(0), draw.argmax(0), -1)
    return np.take_along_axis(contexts, np.maximum(levels, 0)[None], 0)[0], levels


def _parts(frames: np.ndarray) -> int:
    return max(1, -(-len(frames) // ROWS))
