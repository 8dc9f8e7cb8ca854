# SPDX-License-Identifier: Apache-2.0
"""Goal-conditioned behaviour cloning of action chunks by diffusion.

    L = E_{(s_t, a_t..t+H-1) ~ D, g ~ later frames, k, eps} || eps - eps_theta(a^k, k, s_t, g) ||^2

(Diffusion Policy, arXiv 2303.04137; goals by hindsight as in PTP.) States before the work of a
demonstration is done are drawn more often than those after it, which only show waiting.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ptp_core.config import ChunkedPolicyConfig
from ptp_core.data.encoded_dataset import EXPERT_ACTIONS, DatasetView, EncodedDataset
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.errors import DatasetError
from ptp_core.learning.gradient_step import Metrics, gradient_step
from ptp_core.policies.chunked_policy import ChunkedPolicy

BURST = 0.6
"""Difference of an executed from an asked-for action above which it was a burst of noise."""


@dataclass
class ChunkBatch:
    """Frames to clone from; the arrays of B rows that `ChunkedPolicy.loss` needs."""

    codes: np.ndarray  # uint16 (B, N)
    goals: np.ndarray  # uint16 (B, N)
    proprioception: np.ndarray | None  # float32 (B, P)
    chunks: np.ndarray  # float32 (B, H, A)
    weights: np.ndarray  # float32 (B, H)

    @classmethod
    def joined(cls, batches: Sequence[ChunkBatch]) -> ChunkBatch:
        """The rows of all ``batches``, which have the same columns."""
        columns = {name: [getattr(b, name) for b in batches] for name in cls.__dataclass_fields__}
        return cls(
            **{
                name: None if values[0] is None else np.concatenate(values)
                for name, values in columns.items()
            }
        )

    def tensors(self, vqvae: VQVAE) -> tuple[torch.Tensor | None, ...]:
        """Latents, goals, proprioception, chunks and weights, on the device of ``vqvae``."""
        device = vqvae.codebook.device
        others = (self.proprioception, self.chunks, self.weights)
        return (
            vqvae.latents_of(self.codes),
            vqvae.latents_of(self.goals),
            *(None if part is None else torch.from_numpy(part).to(device) for part in others),
        )


def check_columns(
    config: ChunkedPolicyConfig, proprioception: np.ndarray | None, expert: np.ndarray | None
) -> None:
    """Raise DatasetError where the settings ask for a column that the data lack."""
    if config.proprioception and proprioception is None:
        raise DatasetError(
            "the data have no proprioception: set the policy's proprioception to false"
        )
    if config.labels == "expert" and expert is None:
        raise DatasetError(
            "the data do not have what the expert asked for: set labels to executed"
        )


class ChunkSampler:
    """Draws frames, goals and chunks of a data set.

    A goal is a later frame of the same trajectory. Where a burst of noise lies between, it is the
    last one: the expert's action leads there, and not to where the burst led. Steps from the goal
    on count only where it is the last frame. Raises DatasetError where the settings ask for a
    column that the data lack.
    """

    def __init__(self, data: EncodedDataset, config: ChunkedPolicyConfig) -> None:
        self.data, self.config = data, config
        expert = data.columns.get(EXPERT_ACTIONS)
        check_columns(config, data.proprioception, expert)
        if config.labels == "expert":
            expert = np.clip(expert, -1.0, 1.0)
            self.labels = expert.astype(np.float32)
            burst = np.abs(data.actions - expert).max(axis=1) > BURST
        else:
            self.labels, burst = data.actions, np.zeros(len(data.actions), dtype=bool)
        self._bursts = np.concatenate([[0], np.cumsum(burst)])
        failed = np.array([known.success is False for known in data.metadata])
        weights = np.where(data.working(), config.working_weight, 1.0)
        weights[np.repeat(failed, data.lengths)] = 0.0
        self._view = DatasetView(data, room=1, weights=weights)

    def draw(self, count: int, rng: np.random.Generator) -> ChunkBatch:
        """Draw a batch of ``count`` frames."""
        return self.batch(*self.draw_frames(count, rng))

    def draw_frames(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw frames and the frames of their goals, int64 (count,) each."""
        frames = self._view.draw(count, rng)
        goals = self._view.goals(frames, self.config.relabelling, rng)
        crossed = self._bursts[goals] > self._bursts[frames]
        return frames, np.where(crossed, self.last(frames), goals)

    def last(self, frames: np.ndarray) -> np.ndarray:
        """Last frame of each frame's trajectory."""
        return self._view.last(frames)

    def batch(self, frames: np.ndarray, goals: np.ndarray) -> ChunkBatch:
        """The batch of frames and of their goals' frames."""
        data, last = self.data, self.last(frames)
        steps = frames[:, None] + np.arange(self.config.horizon)
        within = steps <= last[:, None]
        counts = (steps < goals[:, None]) | (within & (goals == last)[:, None])
        chunks = self.labels[np.minimum(steps, last[:, None])]
        return ChunkBatch(
            codes=data.codes[frames],
            goals=data.codes[goals],
            proprioception=data.proprioception[frames] if self.config.proprioception else None,
            chunks=chunks,
            weights=counts.astype(np.float32),
        )


class DiffusionBC:
    """Trains a policy; ``average`` is the moving average of its weights, which acts.

    ``updates`` counts gradient steps; a resumed training sets it.
    """

    def __init__(self, policy: ChunkedPolicy, average: ChunkedPolicy) -> None:
        self.policy, self.average = policy, average
        config = policy.config
        self.optimiser = torch.optim.AdamW(
            policy.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        average.load_state_dict(policy.state_dict())
        average.requires_grad_(False).eval()
        self.updates = 0

    @classmethod
    def going_on(cls, average: ChunkedPolicy, learning_rate: float) -> DiffusionBC:
        """Train on from ``average``, with a learning rate of its own."""
        policy = copy.deepcopy(average).train().requires_grad_(True)
        policy.config = dataclasses.replace(average.config, learning_rate=learning_rate)
        return cls(policy, average)

    def update(
        self,
        latents: torch.Tensor,
        goals: torch.Tensor,
        proprioception: torch.Tensor | None,
        chunks: torch.Tensor,
        weights: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> Metrics:
        """Make one gradient step; shapes as in `ChunkBatch`, latents and goals (B, D)."""
        conditions = self.policy.conditions(latents, goals, proprioception)
        return self.step(conditions, chunks, weights, generator)

    def step(
        self,
        conditions: torch.Tensor,
        chunks: torch.Tensor,
        weights: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> Metrics:
        """Make one gradient step for conditions (B, C) that the policy computed."""
        loss, metrics = self.policy.loss(conditions, chunks, weights, generator)
        gradient_step(loss, self.optimiser, self.policy.config.gradient_clip)
        self._average()
        return metrics

    @torch.no_grad()
    def _average(self) -> None:
        self.updates += 1
        # A short memory first, so that the initial weights are soon forgotten.
        decay = min(self.policy.config.average_decay, self.updates / (self.updates + 9.0))
        for mean, value in zip(self.average.parameters(), self.policy.parameters(), strict=True):
            mean.lerp_(value, 1.0 - decay)
