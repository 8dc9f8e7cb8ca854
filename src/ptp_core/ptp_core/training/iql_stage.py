# SPDX-License-Identifier: Apache-2.0
"""Stage 3: offline goal-conditioned IQL on encoded trajectories (paper section IV-A)."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ptp_core.agents.iql import IQL, Batch, reached
from ptp_core.config import IQLConfig, TrainConfig
from ptp_core.data.encoded import EncodedDataset
from ptp_core.data.replay_buffer import CodeBatch, ReplayBuffer
from ptp_core.errors import ConfigError
from ptp_core.models.subgoal_generator import GeneratorHierarchy
from ptp_core.models.vqvae import VQVAE
from ptp_core.training.imagination import imagine
from ptp_core.training.loop import Metrics, run_as_configured
from ptp_core.training.state import StageState, encoded_fingerprint
from ptp_core.training.threads import shared_networks

VALIDATION_TRANSITIONS = 1024


def train_iql(
    config: TrainConfig,
    vqvae: VQVAE,
    data: EncodedDataset,
    folder: Path,
    *,
    validation: EncodedDataset,
    device: torch.device,
    progress: bool = True,
    generators: GeneratorHierarchy | None = None,
) -> tuple[IQL, dict[str, float]]:
    """Train on the trajectories of ``data``; ``config.iql.reward_epsilon`` must be a number.

    ``generators`` are needed where ``config.iql.imagined_goals`` is above 0.
    """
    settings = config.iql
    if settings.reward_epsilon == "auto":
        raise ConfigError("iql.reward_epsilon is still auto; pretrain settles it first")
    torch.manual_seed(config.seed)
    iql = IQL(settings).to(device)
    buffer = fill_buffer(data, settings)
    imagined = _imagined(config, vqvae, generators, data, progress)
    state = StageState(
        modules={"iql": iql},
        optimisers=iql.optimisers,
        generator=torch.Generator().manual_seed(config.seed),
        rng=np.random.default_rng(config.seed),
        fingerprint={
            **encoded_fingerprint(settings, config.seed, data),
            **({} if imagined is None else {"imagined": sha256(imagined.tobytes()).hexdigest()}),
        },
    )
    held_out = make_batch(
        fill_buffer(validation, settings).sample(VALIDATION_TRANSITIONS, np.random.default_rng(0)),
        vqvae,
        settings.reward_epsilon,
        device,
    )

    def train_step() -> Metrics:
        codes = buffer.sample(settings.batch_size, state.rng, imagined, settings.imagined_goals)
        return iql.update(make_batch(codes, vqvae, settings.reward_epsilon, device), run)

    @torch.inference_mode()
    def validate() -> dict[str, float]:
        target_q = iql.q_target(held_out.latents, held_out.actions, held_out.goals).amin(0)
        _, value = iql.value_loss(held_out, target_q)
        _, q = iql.q_loss(held_out)
        _, policy = iql.policy_loss(held_out, target_q - value.pop("value/values"))
        return {key: float(entry) for key, entry in {**value, **q, **policy}.items()}

    with shared_networks(device) as run:
        scalars = run_as_configured(
            "iql",
            folder,
            state,
            train_step,
            settings,
            config,
            validate=validate,
            progress=progress,
        )
    return iql.eval(), scalars


def _imagined(
    config: TrainConfig,
    vqvae: VQVAE,
    generators: GeneratorHierarchy | None,
    data: EncodedDataset,
    progress: bool,
) -> np.ndarray | None:
    if not config.iql.imagined_goals:
        return None
    if generators is None:
        raise ConfigError("iql.imagined_goals needs generators that are trained before")
    with tqdm(
        total=len(data.codes), unit="frame", desc="imagine goals", disable=not progress
    ) as bar:
        draws = torch.Generator().manual_seed(config.seed)
        return imagine(vqvae, generators, data, draws, bar.update)


def fill_buffer(data: EncodedDataset, settings: IQLConfig) -> ReplayBuffer:
    """Return a replay buffer that holds exactly the trajectories of ``data``."""
    buffer = ReplayBuffer(max(len(data.codes), 2), settings.relabelling)
    for start, length in zip(data.starts, data.lengths, strict=True):
        buffer.add_trajectory(
            data.codes[start : start + length], data.actions[start : start + length]
        )
    return buffer


def make_batch(codes: CodeBatch, vqvae: VQVAE, epsilon: float, device: torch.device) -> Batch:
    """Look up latents and compute rewards: 0 where s' lies within ``epsilon`` of the goal."""
    stacked = np.concatenate([codes.codes, codes.next_codes, codes.goal_codes])
    latents = vqvae.lookup(torch.from_numpy(stacked).to(device))
    current, following, goals = latents.chunk(3)
    return Batch(
        latents=current,
        actions=torch.from_numpy(codes.actions).to(device),
        next_latents=following,
        goals=goals,
        rewards=reached(following, goals, epsilon).float() - 1.0,
    )
