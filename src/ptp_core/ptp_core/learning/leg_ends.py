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

import numpy as np
import torch

from ptp_core.config import ToleranceConfig
from ptp_core.learning.demonstrated_legs import DemonstratedLegs
from ptp_core.learning.goal_classifier import EARLY, LATE, UNDER_WAY


@dataclass(frozen=True)
class LatentPairs:
    """Latents (B, D) to compare, whether they are the same work, and the weight in the loss."""

    first: torch.Tensor
    second: torch.Tensor
    same: torch.Tensor  # float32 (B,), 0 or 1
    weights: torch.Tensor  # float32 (B,)


class LegEndSampler:
    """Draws pairs with ends that the generator of ``legs`` decodes, beside pairs of frames."""

    def __init__(self, legs: DemonstratedLegs, config: ToleranceConfig) -> None:
        self._legs = legs
        self._config = config

    @torch.no_grad()
    def draw(self, rng: np.random.Generator, noise: torch.Generator) -> LatentPairs:
        """Draw ``batch_size`` pairs of frames, and half as many of each kind with ends."""
        config, legs = self._config, self._legs
        first, second, same = legs.draw_pairs(config.batch_size, rng)
        count = config.batch_size // 2
        chosen = legs.draw(count, rng)
        start = legs.starts(chosen, rng)
        before = legs.latents(EARLY, chosen, rng)
        during = legs.latents(UNDER_WAY, chosen, rng)
        after, again = (legs.latents(LATE, chosen, rng) for _ in range(2))
        z = legs.actions(start, after)
        one, two = (legs.ends(self._near(z, noise), start) for _ in range(2))
        order = torch.randperm(count, generator=noise)
        others = legs.ends(z[order], start)
        apart = (z - z[order]).norm(dim=1) > config.apart
        drawn = torch.rand((2, count, 1), generator=noise).to(z.device)
        done = torch.where(drawn[0] < 0.7, again, two)
        undone = torch.where(drawn[1] < 0.5, before, during)
        ones = torch.ones(count, device=z.device)
        return LatentPairs(
            first=torch.cat([first, one, one, others]),
            second=torch.cat([second, done, undone, again]),
            same=torch.cat([same, ones, 0 * ones, 0 * ones]),
            weights=torch.cat(
                [torch.ones_like(same), ones, ones, config.other_weight * apart.float()]
            ),
        )

    def _near(self, z: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        """Latent actions (B, z_dim) with noise of up to ``sigma``."""
        size = torch.rand((len(z), 1), generator=noise).sqrt()
        return z + self._config.sigma * (size * torch.randn(z.shape, generator=noise)).to(z)
