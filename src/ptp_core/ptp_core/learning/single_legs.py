# SPDX-License-Identifier: Apache-2.0
"""Whether one demonstration does what leads from one state to another. Ours.

A latent action of the generator dt60 stands for one demonstration, and yet the generator also
draws ends that only two of them reach: from a block in the open drawer, the drawer shut and the
block on it. A planner that judges ends alone then plans one leg where two are needed, and the
policy is shown a goal that it never pursued at once. This classifier tells them apart. It learns
from demonstrations of single primitives alone, as two legs can be put together:

    single:   a frame before the work of a demonstration, and one after it
              the same, with the end as the generator draws it
    several:  a frame before the work of a demonstration, and the end that the generator draws of
              another demonstration's latent action, from a frame after the work of the first

A second leg that changes nothing, or undoes the first, is no pair of the latter kind; the goal
classifier says so. Of several second legs that one is taken which looks most like a single one.
In both kinds the generator draws ends, so the network cannot look at how it draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ptp_core.learning.goal_classifier import EARLY, LATE, GoalClassifier, PairSampler
from ptp_core.learning.leg_ends import GeneratedEnds
from ptp_core.learning.pair_classifier import PairClassifier

if TYPE_CHECKING:
    from ptp_core.config import SingleLegsConfig
    from ptp_core.data.encoded_dataset import EncodedDataset
    from ptp_core.encoders.vqvae import VQVAE
    from ptp_core.planners.subgoal_generator import SubgoalGenerator

Logits = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class SingleLegs(PairClassifier):
    """Logit (B,) of "one leg does this" for states before and after it (B, D)."""


@dataclass(frozen=True)
class LegPairs:
    """Latents (B, D) before and after, whether one leg did it, and the weight in the loss."""

    before: torch.Tensor
    after: torch.Tensor
    single: torch.Tensor  # float32 (B,), 0 or 1
    weights: torch.Tensor  # float32 (B,)


class LegSampler(GeneratedEnds):
    """Draws single legs and pairs of legs; see the module.

    ``classifier`` says which second legs change something.
    """

    def __init__(
        self,
        data: EncodedDataset,
        pairs: PairSampler,
        vqvae: VQVAE,
        generator: SubgoalGenerator,
        classifier: GoalClassifier,
        config: SingleLegsConfig,
        first_frames: int,
    ) -> None:
        super().__init__(data, pairs, vqvae, generator, config, first_frames)
        self._classifier = classifier

    @torch.no_grad()
    def draw(
        self, rng: np.random.Generator, noise: torch.Generator, logits: Logits | None = None
    ) -> LegPairs:
        """Draw ``batch_size`` demonstrations' legs, twice, and as many pairs of legs.

        ``logits`` of the network in training choose second legs; None: chance does.
        """
        count = self._config.batch_size
        chosen = rng.integers(len(self._pairs), size=count)
        frames = self._pairs.frames
        first = self._latents(frames(EARLY, chosen, rng, self._first_frames))
        before = self._latents(frames(EARLY, chosen, rng))
        after = self._latents(frames(LATE, chosen, rng))
        z = self._generator.encode(first, after)[0]
        own = self._end(self._near(z, noise), first)
        both, known = self._two_legs(z, (first, before, after, own), noise, logits)
        ones = torch.ones(count, device=z.device)
        weights = known.float() * (count / known.sum().clamp(min=1))
        return LegPairs(
            before=torch.cat([before, first, before]),
            after=torch.cat([after, own, both]),
            single=torch.cat([ones, ones, 0 * ones]),
            weights=torch.cat([0.5 * ones, 0.5 * ones, weights]),
        )

    def _two_legs(
        self,
        z: torch.Tensor,
        states: tuple[torch.Tensor, ...],
        noise: torch.Generator,
        logits: Logits | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Ends (B, D) of a second leg each, and whether (B,) these are two legs' work."""
        first, before, after, own = states
        count, tries = len(first), self._config.candidates
        apart = torch.randint(1, max(count, 2), (count, tries), generator=noise)
        others = (torch.arange(count)[:, None] + apart) % count  # rows of other demonstrations
        ends = self._end(z[others].flatten(0, 1), after.repeat_interleave(tries, 0))
        known = torch.ones(count * tries, dtype=torch.bool, device=ends.device)
        for state in (first, after, own):
            known &= self._classifier(state.repeat_interleave(tries, 0), ends) < 0
        if logits is None:
            likely = torch.zeros(count * tries, device=ends.device)
        else:
            likely = logits(before.repeat_interleave(tries, 0), ends).sigmoid()
        best = (likely + known.float()).view(count, tries).argmax(1)
        row = torch.arange(count, device=ends.device)
        return ends.view(count, tries, -1)[row, best], known.view(count, tries)[row, best]
