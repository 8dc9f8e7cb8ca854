# SPDX-License-Identifier: Apache-2.0
"""Fine-tune policy and value functions on demonstrations and practice (paper Alg. 1).

`OnlineLearner` learns from both; `fine_tune` makes some steps on demonstrations alone, and
`agreement` says what they have changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.replay_buffer import CodeBatch, ReplayBuffer
from ptp_core.data.trajectory import PracticeEpisode
from ptp_core.errors import InputError
from ptp_core.learning.accelerated_iql import accelerated_update
from ptp_core.learning.gradient_step import Metrics
from ptp_core.learning.iql import Batch
from ptp_core.learning.practice_learner import PracticeLearner, without_idling
from ptp_core.practice.practice_settings import preset
from ptp_core.training.checkpoint import Checkpoint
from ptp_core.training.iql_stage import fill_buffer, make_batch

LEARNING_RATE = preset("paper").learning_rate  # pre-training may have ended on a decayed rate
CAPACITY = 1_000_000  # online transitions (authors' code); 316 bytes each with 144 codes
PLENTY = 4_000  # practised steps from which on successes alone have their full part of a batch
SAMPLES = 2048  # transitions that losses are measured on


class OnlineLearner(PracticeLearner):
    """IQL on batches of which ``iql.online_fraction`` are practice, the rest demonstrations.

    With ``successes_only`` there are few episodes at first, so their part of a batch grows with
    them up to ``PLENTY``, and they are imitated, so their idle steps are left out. ``precision``
    is that of updates here, whatever the checkpoint was trained with (``IQLConfig.precision``).
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        demonstrations: EncodedDataset | None = None,
        *,
        successes_only: bool = False,
        utd_ratio: float = 1.0,
        learning_rate: float = LEARNING_RATE,
        precision: Literal["float32", "auto"] = "auto",
        capacity: int = CAPACITY,
        seed: int = 0,
    ) -> None:
        super().__init__(
            checkpoint, demonstrations, successes_only, utd_ratio, learning_rate, seed
        )
        codes, actions = checkpoint.vqvae.latent.codes, len(checkpoint.actions)
        self.online = ReplayBuffer(capacity, codes, actions, checkpoint.config.iql.relabelling)
        self.offline = None
        if demonstrations is not None:
            self.offline = fill_buffer(demonstrations, checkpoint.config.iql)
        self._iql = checkpoint.iql.train().requires_grad_(True)
        self._iql.config = dataclasses.replace(self._iql.config, precision=precision)
        self._iql.q_target.requires_grad_(False)
        for optimiser in self._iql.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = learning_rate
        self._begin({"iql": self._iql}, self._iql.optimisers)

    @property
    def _acting(self) -> nn.Module:
        return self._iql

    @property
    def _has_data(self) -> bool:
        return bool(len(self.online) or (self.offline and len(self.offline)))

    def _learn(self, episode: PracticeEpisode) -> None:
        kept = episode
        if self.successes_only:
            kept = without_idling(episode, self.checkpoint.actions)
        if kept.steps:
            self.online.add_trajectory(kept.codes, kept.actions, kept.targets)

    def _step(self, run: Callable[..., Iterable]) -> Metrics:
        config = self.checkpoint.config.iql
        codes = self._sample(config.batch_size, config.online_fraction)
        batch = make_batch(codes, self.checkpoint.vqvae, config.reward_epsilon)
        return accelerated_update(self._iql, batch, run)

    def _sample(self, size: int, online_fraction: float) -> CodeBatch:
        """A batch of both buffers, or of the one that has anything."""
        rng = self._state.rng
        if self.offline is None or not len(self.offline):
            return self.online.sample(size, rng)
        if not len(self.online):
            return self.offline.sample(size, rng)
        plenty = min(1.0, len(self.online) / PLENTY) if self.successes_only else 1.0
        online = round(online_fraction * plenty * size)
        parts = [
            buffer.sample(count, rng)
            for buffer, count in ((self.online, online), (self.offline, size - online))
            if count
        ]
        return CodeBatch(
            **{
                name: np.concatenate([getattr(part, name) for part in parts])
                for name in CodeBatch.__dataclass_fields__
            }
        )


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
    batch: Batch = make_batch(codes, checkpoint.vqvae, config.reward_epsilon)
    target_q = iql.q_target(batch.latents, batch.actions, batch.goals).amin(0)
    policy_loss, _ = iql.policy_loss(batch, torch.zeros_like(target_q))
    distances = []
    for start, length in zip(data.starts, data.lengths, strict=True):
        latents = checkpoint.vqvae.latents_of(data.codes[start : start + length])
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
