# SPDX-License-Identifier: Apache-2.0
"""The value of a leg: how likely the policy reaches its end from here. Learned by practice. Ours.

PTP's planner asks V(s, s') whether the policy can come from one subgoal to the next. A cloned
policy has no critic, and demonstrations do not show what fails: every leg in them was carried out.
A planner that judges images alone puts the block into a drawer that it opens afterwards, since
both orders end with the same picture. Practice shows the difference. Each leg that was pursued
either reached its end or was given up:

    loss = cross-entropy of V(s, s') with "the end s' was reached", for a state s of the leg

This is a Monte Carlo return of one leg, with reward 1 at its end and no discount. Whether the end
was reached says the goal classifier, which sees images alone. The network begins as the classifier
does, with a last layer that calls every leg likely.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ptp_core.config import LatentShape, LegValueConfig
from ptp_core.data.trajectory import PracticeEpisode
from ptp_core.learning.goal_classifier import GoalClassifier, Loss
from ptp_core.learning.gradient_step import gradient_step
from ptp_core.networks import pair_layers, pair_maps

if TYPE_CHECKING:
    from ptp_core.data.encoded_dataset import EncodedDataset
    from ptp_core.training.checkpoint import Checkpoint

HELD = 5  # last frames of a leg that must show its end for the leg to count as reached
LIKELY = 4.0  # logit of every leg before practice
LEARNING_RATE = 3e-4  # AdamW
WEIGHT_DECAY = 1e-2
BATCH = 32  # tried legs of a step, and as many of demonstrations
SHOWN = 1024  # legs of demonstrations that are drawn once
AT_ONCE = 128  # of them in one call of the generator


class LegValue(nn.Module):
    """Logit (B,) of "the policy reaches the end" for states and ends, latents (B, D)."""

    def __init__(self, config: LegValueConfig, latent: LatentShape) -> None:
        super().__init__()
        self.config, self.latent = config, latent
        sizes = config.channels, config.blocks, config.dropout, config.hidden_units
        last = nn.Linear(config.hidden_units, 1)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, LIKELY)
        self.body = nn.Sequential(*pair_layers(latent, *sizes), nn.ReLU(), last)

    @classmethod
    def of(cls, classifier: GoalClassifier) -> LegValue:
        """The value before practice, with the features of a trained goal classifier."""
        sizes = ("channels", "blocks", "dropout", "hidden_units")
        config = LegValueConfig(**{name: getattr(classifier.config, name) for name in sizes})
        value = cls(config, classifier.latent)
        value.body[:-1].load_state_dict(classifier.body[:-1].state_dict())
        return value

    def forward(self, latents: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        """Logits (B,) of states and ends, latents (B, D)."""
        return self.body(pair_maps(self.latent, latents, ends)).squeeze(1)

    @torch.no_grad()
    def cost(self, latents: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        """-log P(the end is reached), (B,), in nats."""
        return functional.softplus(-self(latents, ends))

    def loss(self, latents: torch.Tensor, ends: torch.Tensor, reached: torch.Tensor) -> Loss:
        """Binary cross-entropy for ``reached`` float32 (B,), 0 or 1."""
        logits = self(latents, ends)
        loss = functional.binary_cross_entropy_with_logits(logits, reached)
        right = ((logits > 0) == (reached > 0.5)).float().mean()
        return loss, {"value_loss": loss.detach(), "value_accuracy": right.detach()}


@dataclass(frozen=True)
class TriedLeg:
    """A leg that was pursued."""

    states: np.ndarray  # codes (n, N) of the first half of its frames
    end: np.ndarray  # codes (N,) that were pursued
    reached: bool


def tried_legs(
    episode: PracticeEpisode, latents: torch.Tensor, ends: torch.Tensor, classifier: GoalClassifier
) -> list[TriedLeg]:
    """The legs of an episode whose end is known.

    ``latents`` (steps + 1, D) of its frames, ``ends`` (steps, D) of its targets. A leg is a run of
    steps with one target. The last one is left out unless it was reached: there was no time.
    """
    targets = episode.targets
    cuts = np.flatnonzero((targets[1:] != targets[:-1]).any(axis=1)) + 1
    bounds = [0, *cuts.tolist(), len(targets)]
    legs = []
    for first, stop in itertools.pairwise(bounds):
        shown = latents[max(first, stop - HELD) + 1 : stop + 1]
        done = classifier.probability(shown, ends[first].expand_as(shown))
        reached = bool(done.mean() > 0.5)
        if reached or stop < len(targets):
            half = first + max(1, (stop - first) // 2)
            legs.append(TriedLeg(episode.codes[first:half], targets[first], reached))
    return legs


class LegLearner:
    """Trains the part ``leg_value`` of a checkpoint on legs that practice tried.

    Half of each batch are legs of ``demonstrations``, where there are any.
    """

    def __init__(
        self, checkpoint: Checkpoint, demonstrations: EncodedDataset | None, seed: int
    ) -> None:
        self.value: LegValue = checkpoint.part("leg_value").requires_grad_(True)
        self.optimiser = torch.optim.AdamW(
            self.value.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY
        )
        self.tried: list[TriedLeg] = []
        self._checkpoint = checkpoint
        self._shown = None
        if demonstrations is not None:
            self._shown = shown_pairs(checkpoint, demonstrations, np.random.default_rng(seed))

    def add(self, episode: PracticeEpisode, latents: torch.Tensor) -> None:
        """Learn from the legs of this episode, too; ``latents`` (steps + 1, D) of its frames."""
        if episode.targets is None:
            return
        ends = self._latents(episode.targets)
        classifier = self._checkpoint.part("classifier")
        self.tried += tried_legs(episode, latents, ends, classifier)

    def step(self, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Make a gradient step; its scalars, none before the first leg."""
        if not self.tried:
            return {}
        legs = [self.tried[row] for row in rng.integers(len(self.tried), size=BATCH)]
        states = self._latents(np.stack([rng.choice(leg.states) for leg in legs]))
        ends = self._latents(np.stack([leg.end for leg in legs]))
        reached = torch.tensor([float(leg.reached) for leg in legs])
        if self._shown is not None:
            rows = rng.integers(len(self._shown[0]), size=BATCH)
            states = torch.cat([states, self._latents(self._shown[0][rows])])
            ends = torch.cat([ends, self._latents(self._shown[1][rows])])
            reached = torch.cat([reached, torch.ones(BATCH)])
        self.value.train()
        loss, metrics = self.value.loss(states, ends, reached.to(states.device))
        gradient_step(loss, self.optimiser)
        self.value.eval()
        return metrics

    def _latents(self, codes: np.ndarray) -> torch.Tensor:
        return self._checkpoint.vqvae.latents_of(codes)


@torch.no_grad()
def shown_pairs(
    checkpoint: Checkpoint, data: EncodedDataset, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """States and ends, codes (SHOWN, N), of legs that demonstrations carried out.

    The ends are what the generator draws for the latent action of state and last frame.
    """
    vqvae, generator = checkpoint.vqvae, checkpoint.generators["dt60"]
    chosen = rng.integers(len(data.starts), size=SHOWN)
    starts, lengths = data.starts[chosen], data.lengths[chosen]
    first = starts + (rng.random(SHOWN) * lengths / 4).astype(np.int64)
    codes = torch.from_numpy(data.codes[np.stack([first, starts + lengths - 1])].astype(np.int64))
    ends = []
    for begin, end in zip(*(part.split(AT_ONCE) for part in codes)):
        begin, end = (vqvae.lookup(part.to(vqvae.codebook.device)) for part in (begin, end))
        ends.append(vqvae.quantise(generator(generator.encode(begin, end)[0], begin))[0].cpu())
    return codes[0].numpy(), torch.cat(ends).numpy()
