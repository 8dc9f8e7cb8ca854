# SPDX-License-Identifier: Apache-2.0
"""Latents of demonstrations by the part of the work, and the latent actions of their legs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ptp_core.learning.goal_classifier import EARLY, PairSampler

if TYPE_CHECKING:
    from ptp_core.data.encoded_dataset import EncodedDataset
    from ptp_core.encoders.vqvae import VQVAE
    from ptp_core.planners.subgoal_generator import SubgoalGenerator


class DemonstratedLegs:
    """What demonstrations that record when their work is done show of their legs.

    ``pairs`` draws from ``data``. ``first_frames``: in how many first frames of a demonstration
    the training pairs of ``generator`` begin.
    """

    def __init__(
        self,
        data: EncodedDataset,
        pairs: PairSampler,
        vqvae: VQVAE,
        generator: SubgoalGenerator,
        first_frames: int,
    ) -> None:
        self.generator = generator
        self._data = data
        self._pairs = pairs
        self._vqvae = vqvae
        self._first_frames = first_frames

    def draw_pairs(
        self, count: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Latents (B, D) of `PairSampler.draw`, and whether they show the same work, (B,)."""
        drawn = self._pairs.draw(count, rng)
        first, second = self._latents(drawn.first), self._latents(drawn.second)
        return first, second, torch.from_numpy(drawn.same).to(first.device)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw demonstrations, int64 (N,)."""
        return rng.integers(len(self._pairs), size=count)

    def starts(self, chosen: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """Latents (N, D) from which the generator's pairs begin."""
        return self.latents(EARLY, chosen, rng, self._first_frames)

    def latents(
        self, part: int, chosen: np.ndarray, rng: np.random.Generator, most: int | None = None
    ) -> torch.Tensor:
        """Latents (N, D) of a part of the chosen demonstrations; see `PairSampler.frames`."""
        return self._latents(self._pairs.frames(part, chosen, rng, most))

    def actions(self, starts: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """Latent actions (N, z_dim) that lead from one to the other, latents (N, D)."""
        return self.generator.encode(starts, after)[0]

    def ends(self, z: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """Quantised ends (N, D) of latent actions (N, z_dim) from ``starts`` (N, D)."""
        return self._vqvae.quantise(self.generator(z, starts))[1]

    def _latents(self, frames: np.ndarray) -> torch.Tensor:
        return self._vqvae.latents_of(self._data.codes[frames])
