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
              a frame before the work of a demonstration, and one after the same work with another
              object elsewhere, or this end as the generator draws it
    no leg:   a frame in which the work is half done, and the end of the whole work from there
              a frame before the work, and one in which it is half done
              in both, the later frame as the generator draws it, or as it is

The last kind (`HalfChanges`) teaches that objects neither vanish nor appear: the generator lets a
block leave a closed drawer, and vanish where the goal image lacks it. A second leg that changes
nothing, or undoes the first, is no pair of the second kind; the goal classifier says so. Of
several second legs that one is taken which looks most like a single one. In all kinds the
generator draws ends, so the network cannot look at how it draws. Single legs are shown with the
seams of half done work, too.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch

from ptp_core.learning.goal_classifier import EARLY, LATE
from ptp_core.learning.leg_ends import GENERATED, GeneratedEnds
from ptp_core.learning.pair_classifier import Logits, PairClassifier


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
    """Draws single legs, pairs of legs, and what no leg does; see the module.

    ``classifier`` says which legs change something, ``strict`` which work is half done.
    """

    @torch.no_grad()
    def draw(
        self, rng: np.random.Generator, noise: torch.Generator, logits: Logits | None = None
    ) -> LegPairs:
        """Draw ``batch_size`` demonstrations' legs, twice, and as many pairs of legs.

        Then as many changes that no leg makes, and single legs with seams.
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
        no_leg = self._no_leg(count, rng, noise)
        parts = [
            LegPairs(before, after, ones, 0.5 * ones),
            LegPairs(first, own, ones, 0.5 * ones),
            LegPairs(before, both, 0 * ones, even(known)),
            dataclasses.replace(no_leg, weights=self._config.half_done * no_leg.weights),
            self._elsewhere(count, rng, noise),
        ]
        return LegPairs(*(torch.cat(values) for values in zip(*(vars(p).values() for p in parts))))

    def _elsewhere(self, count: int, rng: np.random.Generator, noise: torch.Generator) -> LegPairs:
        """Work, and another object elsewhere; ``count`` is taken for 0 where no data show it."""
        shown, moved = self._pairs.elsewhere(count, rng)
        frames = self._pairs.frames
        first, before = (
            self._latents(frames(EARLY, rows, rng, self._first_frames)) for rows in (shown, moved)
        )
        z = self._generator.encode(first, self._latents(frames(LATE, shown, rng)))[0]
        end = self._end(self._near(z, noise), before)
        after = self._latents(frames(LATE, moved, rng))
        drawn = torch.rand((len(shown), 1), generator=noise).to(z.device) < GENERATED
        ones = torch.ones(len(shown), device=z.device)
        return LegPairs(first, torch.where(drawn, end, after), 0 * ones, 0.5 * ones)

    def _no_leg(self, count: int, rng: np.random.Generator, noise: torch.Generator) -> LegPairs:
        """``count`` changes that no leg makes, and as many single legs with the same seams."""
        half, judge = self._half_changes(count, rng, noise), self._strict
        z = self._near(self._generator.encode(half.start, half.after)[0], noise)
        rest = self._end(z, half.half)
        begun = self._end(self._generator.encode(half.start, half.half)[0], half.start)
        known = half.known & (judge(half.half, half.start) < 0)
        known &= judge(half.half, half.after) < 0
        changes = judge(half.half, rest) < 0
        shown = (judge(begun, half.half) > 0) & (judge(begun, half.start) < 0)
        kind = torch.rand((count, 1), generator=noise).to(z.device)
        # Half of the changes go on from half done work as drawn, a quarter end in it as drawn,
        # a tenth and the rest are the same with frames.
        drawn, from_half = kind < 0.75, (kind < 0.5) | ((kind >= 0.75) & (kind < 0.85))
        after = torch.where(
            from_half,
            torch.where(drawn, rest, half.after),
            torch.where(drawn, begun, half.half),
        )
        drawn_well = torch.where(from_half[:, 0], changes, shown & (judge(begun, half.after) < 0))
        known &= drawn_well | ~drawn[:, 0]
        whole = torch.where(kind < 0.5, self._end(z, half.seam_start), half.seam_after)
        ones = torch.ones(count, device=z.device)
        return LegPairs(
            before=torch.cat([torch.where(from_half, half.half, half.start), half.seam_start]),
            after=torch.cat([after, whole]),
            single=torch.cat([0 * ones, ones]),
            weights=torch.cat([even(known), 0.5 * ones]),
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


def even(known: torch.Tensor) -> torch.Tensor:
    """Weights (B,) of the pairs that are ``known`` bool (B,), with a mean of 1 where any is."""
    return known.float() * (len(known) / known.sum().clamp(min=1))
