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
           such an end, and a frame after the same work with another object elsewhere
           with ``half_done``, such an end, or a frame before or after the work, and the work half
           done (`HalfChanges`)

So the classifier also sees ends as the planner of legs shows them. Of several half done works that
one is taken which looks most like the work done.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ptp_core.learning.goal_classifier import (
    EARLY,
    LATE,
    UNDER_WAY,
    GoalClassifier,
    PairSampler,
)
from ptp_core.learning.half_changes import HalfChanges, half_changes
from ptp_core.learning.pair_classifier import Logits

if TYPE_CHECKING:
    from ptp_core.config import SingleLegsConfig, ToleranceConfig
    from ptp_core.data.encoded_dataset import EncodedDataset
    from ptp_core.encoders.vqvae import VQVAE
    from ptp_core.planners.subgoal_generator import SubgoalGenerator


FRAMES = 5  # of each part, whose medians tell what the work changes
CLEARLY_SAME = 3.0  # logit above which half of a change is taken for no change
OWN_CHANGE = 0.4  # share of pairs with work half done; the others have patches of other work
AFTER_WORK = 0.8  # share of these pairs that compare states after the work, not before it
GENERATED = 0.5  # share that compare an end that the generator draws


@dataclass(frozen=True)
class LatentPairs:
    """Latents (B, D) to compare, whether they are the same work, and the weight in the loss."""

    first: torch.Tensor
    second: torch.Tensor
    same: torch.Tensor  # float32 (B,), 0 or 1
    weights: torch.Tensor  # float32 (B,)


class GeneratedEnds:
    """Draws frames of demonstrations, and ends that ``generator`` decodes.

    ``pairs`` draws from ``data``. ``classifier`` tells work of different goals, and ``strict``, by
    default the same, where an object in two places or in none must count. ``first_frames``: in how
    many first frames of a demonstration the generator's training pairs begin.
    """

    def __init__(
        self,
        data: EncodedDataset,
        pairs: PairSampler,
        vqvae: VQVAE,
        generator: SubgoalGenerator,
        classifier: GoalClassifier,
        config: ToleranceConfig | SingleLegsConfig,
        first_frames: int,
        strict: GoalClassifier | None = None,
    ) -> None:
        self._data = data
        self._pairs = pairs
        self._vqvae = vqvae
        self._generator = generator
        self._classifier = classifier
        self._strict = strict or classifier
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

    def _half_changes(
        self, count: int, rng: np.random.Generator, noise: torch.Generator
    ) -> HalfChanges:
        """Half done work of ``count`` demonstrations, from where the generator's pairs begin."""
        chosen, latent = rng.integers(len(self._pairs), size=count), self._vqvae.latent
        maps = []
        for part, most in ((EARLY, self._first_frames), (LATE, None)):
            frames = [self._pairs.frames(part, chosen, rng, most) for _ in range(3)]
            frames += [self._pairs.frames(part, chosen, rng) for _ in range(FRAMES - 3)]
            shape = count, FRAMES, latent.channels, latent.height, latent.width
            maps.append(self._latents(np.stack(frames, 1).ravel()).view(shape))
        return half_changes(*maps, self._config.least_change, noise)


class LegEndSampler(GeneratedEnds):
    """Draws pairs with ends that the generator decodes, beside those of ``pairs``.

    ``classifier`` is the one whose training goes on, as it was before.
    """

    @torch.no_grad()
    def draw(
        self, rng: np.random.Generator, noise: torch.Generator, logits: Logits | None = None
    ) -> LatentPairs:
        """Draw ``batch_size`` pairs of frames, and half as many of each kind with ends.

        ``logits`` of the network in training choose half done work; None: chance does.
        """
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
        apart = config.other_weight * apart.float()
        parts = [
            LatentPairs(
                self._latents(known.first),
                self._latents(known.second),
                same,
                torch.ones_like(same),
            ),
            LatentPairs(one, done, ones, ones),
            LatentPairs(one, undone, 0 * ones, ones),
            LatentPairs(others, again, 0 * ones, apart),
        ]
        shown, moved = self._pairs.elsewhere(count, rng)
        if len(shown):
            start = self._latents(frames(EARLY, shown, rng, self._first_frames))
            z = self._generator.encode(start, self._latents(frames(LATE, shown, rng)))[0]
            end = self._end(self._near(z, noise), start)
            parts.append(LatentPairs(end, self._latents(frames(LATE, moved, rng)), 0 * ones, ones))
        if config.half_done:
            half = self._half_done(count, rng, noise, logits)
            parts.append(dataclasses.replace(half, weights=config.half_done * half.weights))
        return LatentPairs(
            *(torch.cat(values) for values in zip(*(vars(p).values() for p in parts)))
        )

    def _half_done(
        self, count: int, rng: np.random.Generator, noise: torch.Generator, logits: Logits | None
    ) -> LatentPairs:
        """``count`` pairs that differ by an object at one place, and as many that do not.

        A state is compared with half of its own change, or both have a patch of another
        demonstration, from before its work and from after it. The pairs of the same work have the
        seams or patches of the former.
        """
        tries = self._config.candidates
        half = self._half_changes(count * tries, rng, noise)
        z = self._generator.encode(half.start, half.after)[0]
        own = self._end(self._near(z, noise), half.start)
        size = len(own)
        kind = torch.rand((3, size, 1), generator=noise).to(own.device)
        done, drawn = kind[0] < AFTER_WORK, kind[0] < GENERATED
        frame = torch.where(done, half.after, half.start)
        again = torch.where(done, half.seam_after, half.seam_start)
        state = torch.where(drawn, own, frame)
        donors = torch.randint(1, size, (size,), generator=noise) + torch.arange(size)
        donors = donors.to(own.device) % size
        patch = half.patch[donors]
        parts = half.earlier[donors], half.later[donors]
        one = torch.where(kind[1] < 0.5, *parts)
        two = torch.where(kind[1] < 0.5, *reversed(parts))
        alone = kind[2] < OWN_CHANGE
        compared = torch.where(patch & ~alone, one, state)
        missing = torch.where(alone, half.half, torch.where(patch, two, again))
        known = torch.where(alone[:, 0], half.known, half.patch_known[donors])
        shown = torch.where(patch & ~alone, one, frame)
        other = known & (self._classifier(shown, missing) < CLEARLY_SAME)
        likely = torch.zeros(size, device=own.device)
        if logits is not None:
            likely = logits(compared, missing).sigmoid()
        best = (likely + 2.0 * other.float()).view(count, tries).argmax(1)
        best = best + tries * torch.arange(count, device=best.device)
        same = torch.where(patch & ~alone, one, again)
        ones = torch.ones(count, device=own.device)
        return LatentPairs(
            first=torch.cat([compared[best], compared[:count]]),
            second=torch.cat([missing[best], same[:count]]),
            same=torch.cat([0 * ones, ones]),
            weights=torch.cat([other[best].float(), ones]),
        )
