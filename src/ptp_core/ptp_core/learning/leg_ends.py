# SPDX-License-Identifier: Apache-2.0
"""Pairs of latents that teach the goal classifier how much may differ. Ours.

Two frames of one demonstration show objects in exactly the same places, so a classifier of such
pairs calls a can that stands two centimetres aside other work. A robot never repeats a place so
well: its successes were not seen, and it went on until they were lost. Here the tolerance is what
the latent actions of the generator dt60 leave open:

    same:  the ends of two latent actions near by, generated from one start
           such an end, and a frame of the demonstration after the work is done
    other: such an end, and a frame of the demonstration before or during the work
           the end of a latent action far away, and a frame after the work is done

So the classifier also sees ends as the planner of legs shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ptp_core.learning.goal_classifier import EARLY, LATE, UNDER_WAY, PairSampler

if TYPE_CHECKING:
    from ptp_core.config import SingleLegsConfig, ToleranceConfig
    from ptp_core.data.encoded_dataset import EncodedDataset
    from ptp_core.encoders.vqvae import VQVAE
    from ptp_core.planners.subgoal_generator import SubgoalGenerator


@dataclass(frozen=True)
class LatentPairs:
    """Latents (B, D) to compare, whether they are the same work, and the weight in the loss."""

    first: torch.Tensor
    second: torch.Tensor
    same: torch.Tensor  # float32 (B,), 0 or 1
    weights: torch.Tensor  # float32 (B,)


class GeneratedEnds:
    """Draws frames of demonstrations, and ends that ``generator`` decodes.

    ``pairs`` draws from ``data``. ``first_frames``: in how many first frames of a demonstration
    the generator's training pairs begin.
    """

    def __init__(
        self,
        data: EncodedDataset,
        pairs: PairSampler,
        vqvae: VQVAE,
        generator: SubgoalGenerator,
        config: ToleranceConfig | SingleLegsConfig,
        first_frames: int,
    ) -> None:
        self._data = data
        self._pairs = pairs
        self._vqvae = vqvae
        self._generator = generator
        self._config = config
        self._first_frames = first_frames

    def _near(self, z: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        """Latent actions (B, z_dim) with noise of up to ``config.sigma``."""
        size = torch.rand((len(z), 1), generator=noise).sqrt()
        return z + self._config.sigma * (size * torch.randn(z.shape, generator=noise)).to(z)

    def _end(self, z: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        """Quantised ends (B, D) of latent actions (B, z_dim) from ``start`` (B, D)."""
        return self._vqvae.quantise(self._generator(z, start))[1]

    def _latents(self, frames: np.ndarray) -> torch.Tensor:
        return self._vqvae.latents_of(self._data.codes[frames])


class LegEndSampler(GeneratedEnds):
    """Draws pairs with ends that the generator decodes, beside those of ``pairs``."""

    @torch.no_grad()
    def draw(self, rng: np.random.Generator, noise: torch.Generator) -> LatentPairs:
        """Draw ``batch_size`` pairs of frames, and half as many of each kind with ends."""
        config = self._config
        known = self._pairs.draw(config.batch_size, rng)
        count = config.batch_size // 2
        chosen = rng.integers(len(self._pairs), size=count)
        frames = self._pairs.frames
        start = self._latents(frames(EARLY, chosen, rng, self._first_frames))
        before = self._latents(frames(EARLY, chosen, rng))
        during = self._latents(frames(UNDER_WAY, chosen, rng))
        after, again = (self._latents(frames(LATE, chosen, rng)) for _ in range(2))
        z = self._generator.encode(start, after)[0]
        one, two = (self._end(self._near(z, noise), start) for _ in range(2))
        order = torch.randperm(count, generator=noise)
        others = self._end(z[order], start)
        apart = (z - z[order]).norm(dim=1) > config.apart
        drawn = torch.rand((2, count, 1), generator=noise).to(z.device)
        done = torch.where(drawn[0] < 0.7, again, two)
        undone = torch.where(drawn[1] < 0.5, before, during)
        ones = torch.ones(count, device=z.device)
        same = torch.from_numpy(known.same).to(z.device)
        return LatentPairs(
            first=torch.cat([self._latents(known.first), one, one, others]),
            second=torch.cat([self._latents(known.second), done, undone, again]),
            same=torch.cat([same, ones, 0 * ones, 0 * ones]),
            weights=torch.cat(
                [torch.ones_like(same), ones, ones, config.other_weight * apart.float()]
            ),
        )
