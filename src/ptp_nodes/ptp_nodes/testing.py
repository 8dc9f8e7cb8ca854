# SPDX-License-Identifier: Apache-2.0
"""A checkpoint with tiny random networks: it knows nothing, loads at once and runs fast."""

from __future__ import annotations

from pathlib import Path

import torch

from ptp_core.agents.iql import IQL
from ptp_core.config import (
    FollowerConfig,
    IQLConfig,
    PlannerConfig,
    SubgoalGeneratorConfig,
    TrainConfig,
    VQVAEConfig,
)
from ptp_core.models.subgoal_generator import GeneratorHierarchy
from ptp_core.models.vqvae import VQVAE
from ptp_core.shapes import EMBEDDING_DIM, GRID, IMAGE_SIZE
from ptp_core.training.checkpoint import save_checkpoint


def tiny_config() -> TrainConfig:
    """Settings of the tiny networks and of a plan that takes milliseconds."""
    return TrainConfig(
        vqvae=VQVAEConfig(
            codebook_size=32,
            hidden_channels=8,
            stem_channels=4,
            residual_channels=4,
            residual_blocks=1,
        ),
        generators=SubgoalGeneratorConfig(hidden_channels=4, hidden_units=16),
        iql=IQLConfig(policy_hidden=(16,), q_hidden=(16,), value_hidden=(16,)),
        planner=PlannerConfig(samples=4, iterations=1),
        follower=FollowerConfig(timeout=3, distance_threshold=0.0),
    )


def tiny_checkpoint(folder: str | Path, seed: int = 0) -> str:
    """Write a checkpoint with weights drawn from ``seed``; its encoder id."""
    config = tiny_config()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        modules = {
            "vqvae": VQVAE(config.vqvae),
            "generators": GeneratorHierarchy(config.generators),
            "iql": IQL(config.iql),
        }
        _tell_pictures_apart(modules["vqvae"])
    with torch.no_grad():  # motions that can be seen
        for parameter in modules["iql"].parameters():
            parameter.mul_(3.0)
    return save_checkpoint(folder, modules, config, metrics={})


def _tell_pictures_apart(vqvae: VQVAE) -> None:
    """Take the codebook from what the encoder says of random tiles."""
    tiles = torch.randint(0, 256, (8, GRID, GRID, 3), dtype=torch.uint8)
    side = IMAGE_SIZE // GRID
    raw = vqvae.raw(tiles.repeat_interleave(side, 1).repeat_interleave(side, 2))
    vectors = raw.detach().view(len(tiles), EMBEDDING_DIM, -1).transpose(1, 2).flatten(0, 1)
    picks = torch.randperm(len(vectors))[: len(vqvae.codebook)]
    with torch.no_grad():
        vqvae.codebook.copy_(vectors[picks])
