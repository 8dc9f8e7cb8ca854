# SPDX-License-Identifier: Apache-2.0
"""Fine-tune a checkpoint's policy on a few demonstrations, and say what that has changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.errors import InputError
from ptp_core.learning.iql import Batch
from ptp_core.learning.online_learner import LEARNING_RATE, OnlineLearner
from ptp_core.training.checkpoint import Checkpoint
from ptp_core.training.iql_stage import fill_buffer, make_batch

SAMPLES = 2048  # transitions that losses are measured on


@dataclass(frozen=True)
class Agreement:
    """How well networks agree with demonstrations."""

    policy_loss: float  # -log pi(a | s, g), mean; goals relabelled as in training
    q_loss: float  # of the same transitions
    value_loss: float
    action_distance: float  # mean L2 of the policy's actions to those shown (5 in [-1, 1])


@torch.inference_mode()
def agreement(checkpoint: Checkpoint, data: EncodedDataset) -> Agreement:
    """Compare the checkpoint's networks with demonstrations.

    Losses are measured on one fixed draw of transitions. The policy's is not weighted by
    advantages (IQL eq. 7 is), because the weights change with Q and V. For the distance the policy
    pursues the last picture of each demonstration, and every transition counts once.
    """
    config, iql = checkpoint.config.iql, checkpoint.iql
    device = checkpoint.vqvae.codebook.device
    codes = fill_buffer(data, config).sample(SAMPLES, np.random.default_rng(0))
    batch: Batch = make_batch(codes, checkpoint.vqvae, config.reward_epsilon, device)
    target_q = iql.q_target(batch.latents, batch.actions, batch.goals).amin(0)
    policy_loss, _ = iql.policy_loss(batch, torch.zeros_like(target_q))
    distances = []
    for start, length in zip(data.starts, data.lengths, strict=True):
        frames = torch.from_numpy(data.codes[start : start + length].astype(np.int64)).to(device)
        latents = checkpoint.vqvae.lookup(frames)
        goals = latents[-1:].expand(length - 1, -1)
        shown = torch.from_numpy(data.actions[start : start + length - 1]).to(device)
        distances.append((iql.act(latents[:-1], goals) - shown).norm(dim=1).cpu().numpy())
    return Agreement(
        policy_loss=float(policy_loss),
        q_loss=float(iql.q_loss(batch)[1]["q/loss"]),
        value_loss=float(iql.value_loss(batch, target_q)[0]),
        action_distance=float(np.concatenate(distances).mean()),
    )


def fine_tune(
    checkpoint: Checkpoint,
    demonstrations: EncodedDataset,
    steps: int,
    *,
    learning_rate: float = LEARNING_RATE,
    seed: int = 0,
    progress: Callable[[dict[str, float]], None] | None = None,
) -> OnlineLearner:
    """Make ``steps`` gradient steps of IQL on the demonstrations, in ``checkpoint.iql`` itself.

    ``progress`` hears the scalars of each step; it may raise, KeyboardInterrupt for one, and the
    steps made so far stay. Raises InputError for no steps, or numbers that stop being finite.
    """
    if steps < 1:
        raise InputError(f"steps is {steps}; it must be at least 1")
    learner = OnlineLearner(
        checkpoint, demonstrations, learning_rate=learning_rate, utd_ratio=0.0, seed=seed
    )
    for _ in range(steps):
        scalars = learner.update()
        if scalars["diverged"]:
            raise InputError(
                f"learning diverged after {learner.updates} steps: lower the learning rate"
            )
        if progress is not None:
            progress(scalars)
    return learner
