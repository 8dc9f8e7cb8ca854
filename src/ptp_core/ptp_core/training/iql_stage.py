# SPDX-License-Identifier: Apache-2.0
"""Offline goal-conditioned IQL on encoded trajectories (paper section IV-A), in two stages.

The second stage is ours: part of the goals are frames reconstructed by the subgoal generators. A
planned subgoal is blurred and quantised again. A policy that was trained only on goals from the
camera hardly moves towards it. So each frame is also reconstructed by a generator, with z from
its posterior, from a frame that lies one of the generator's gaps earlier.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

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
from ptp_core.learning.iql import IQL, Batch, reached
from ptp_core.planners.subgoal_generator import GeneratorHierarchy
from ptp_core.progress import Bar
from ptp_core.training.stage import (
    Metrics,
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
    trainer = IqlTrainer(config, vqvae, iql, data, validation)
    return iql.eval(), trainer.train("iql", folder, config.iql, progress=progress)


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
    frames = len(data.codes)
    with Bar(total=frames, unit="frame", desc="imagine goals", disable=not progress) as bar:
        shown = generated_goals(vqvae, generators, data, draws, bar.update)
    trainer = IqlTrainer(config, vqvae, tuned, data, validation, shown, settings.share)
    return tuned.eval(), trainer.train("imagined", folder, settings, progress=progress)


@torch.no_grad()
def generated_goals(
    vqvae: VQVAE,
    generators: GeneratorHierarchy,
    data: EncodedDataset,
    generator: torch.Generator,
    progress: Callable[[int], None] = lambda count: None,
) -> np.ndarray:
    """Generated codes of every frame of ``data``: uint16 (frames, N).

    The generator is drawn from those whose gap does not reach beyond the start of the trajectory.
    A frame before the smallest gap keeps its own codes. ``generator`` (CPU) draws gaps and z.
    """
    contexts, levels = _contexts(data, generators.level(0).config, generator)
    codes = data.codes.copy()
    for level in range(len(generators)):
        network = generators.level(level)
        for rows in np.array_split(frames := np.flatnonzero(levels == level), _parts(frames)):
            context, target = vqvae.latents_of(data.codes[np.stack([contexts[rows], rows])])
            mean, logvar = network.encode(context, target)
            noise = torch.randn(mean.shape, generator=generator).to(mean)
            shown = network(mean + noise * torch.exp(0.5 * logvar), context)
            codes[rows] = vqvae.quantise(shown)[0].cpu().numpy()
            progress(len(rows))
    return codes


class IqlTrainer:
    """Networks, their training data and their validation data."""

    def __init__(
        self,
        config: TrainConfig,
        vqvae: VQVAE,
        iql: IQL,
        data: EncodedDataset,
        validation: EncodedDataset,
        generated: np.ndarray | None = None,
        share: float = 0.0,
    ) -> None:
        self._config, self._vqvae = config, vqvae
        self._iql = iql.train()
        self._buffer = fill_buffer(data, config.iql)
        self._generated, self._share = generated, share
        self._inputs = encoded_fingerprint(config.iql, config.seed, data)
        if generated is not None:
            # The result depends on the weights of the previous stage, too.
            self._inputs["imagined"] = sha256(generated.tobytes() + serialise(iql)).hexdigest()
        held_out = fill_buffer(validation, config.iql)
        self._held_out = self._batch(
            held_out.sample(VALIDATION_TRANSITIONS, np.random.default_rng(0))
        )

    def train(
        self,
        name: str,
        folder: Path,
        settings: IQLConfig | GeneratedGoalsConfig,
        *,
        progress: bool,
    ) -> dict[str, float]:
        """Train until the budget of ``settings`` is spent; return the last scalars."""
        config, iql, size = self._config, self._iql, self._config.iql.batch_size
        state = StageState(
            modules={"iql": iql},
            optimisers=iql.optimisers,
            seed=config.seed,
            fingerprint={**self._inputs, "stage": without_budget(settings)},
        )

        def train_step() -> Metrics:
            codes = self._buffer.sample(size, state.rng, self._generated, self._share)
            return accelerated_update(iql, self._batch(codes), run)

        with shared_networks(self._vqvae.codebook.device) as run:
            return run_as_configured(
                name,
                folder,
                state,
                train_step,
                settings,
                config,
                validate=self._validate,
                progress=progress,
            )

    def _batch(self, codes: CodeBatch) -> Batch:
        return make_batch(codes, self._vqvae, self._config.iql.reward_epsilon)

    @torch.inference_mode()
    def _validate(self) -> Metrics:
        iql, held_out = self._iql, self._held_out
        target_q = iql.q_target(held_out.latents, held_out.actions, held_out.goals).amin(0)
        advantage = target_q - iql.value(held_out.latents, held_out.goals)
        _, value = iql.value_loss(held_out, target_q)
        _, q = iql.q_loss(held_out)
        _, policy = iql.policy_loss(held_out, advantage)
        return {**value, **q, **policy}


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
