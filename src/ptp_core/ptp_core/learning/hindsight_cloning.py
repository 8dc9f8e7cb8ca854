# SPDX-License-Identifier: Apache-2.0
"""Practice for a cloned policy: what an episode did change becomes a demonstration of it.

A failed episode may still have moved the can or opened the drawer on its way. The goal classifier
finds the pieces of an episode that end with something newly changed. Each is a demonstration whose
goal is its own end. Steps that ask the arm for nothing are dropped. Batches are half pieces, half
demonstrations.

Goals in hindsight alone, without rewards, are what Act2Goal (arXiv 2512.23541) practises with;
symmetric batches are those of RLPD (arXiv 2302.02948). Ours otherwise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import nn

from ptp_core.config import ChunkedPolicyConfig
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.trajectory import Metadata, PracticeEpisode, Segment
from ptp_core.errors import InputError
from ptp_core.learning.diffusion_bc import ChunkBatch, ChunkSampler, DiffusionBC
from ptp_core.learning.goal_classifier import GoalClassifier
from ptp_core.learning.gradient_step import Metrics
from ptp_core.learning.practice_learner import PracticeLearner, without_idling
from ptp_core.training.checkpoint import Checkpoint
from ptp_core.training.chunked_stage import seeded_dropout

CHANGED = 0.5  # probability of the same work below which something was changed
SETTLED = 5  # control steps that a change must stand
LONGEST = 75  # control steps of a piece, as many as a demonstration has
FEWEST = 8  # moving steps of a piece; shorter ones show no primitive
LEARNING_RATE = 1e-4  # a tenth of offline training's
PAST_THE_START = 10**6  # updates after which the average has its whole memory


@torch.no_grad()
def changed_pieces(latents: torch.Tensor, classifier: GoalClassifier) -> list[tuple[int, int]]:
    """Pieces (first, last) of frames (n, D), each ending SETTLED steps after a lasting change.

    A piece begins where the one before it ended, at most LONGEST steps before its end.
    """
    pieces: list[tuple[int, int]] = []
    frames = len(latents)
    anchor = 0
    while anchor + SETTLED + 1 < frames:
        after = torch.arange(anchor + 1, frames)
        same = classifier.probability(latents[anchor].expand(len(after), -1), latents[after])
        stands = (same < CHANGED).unfold(0, SETTLED + 1, 1).all(1)
        found = None
        for start in stands.nonzero().flatten().tolist():
            first = int(after[start])
            still = classifier.probability(latents[first][None], latents[first + SETTLED][None])
            if float(still[0]) >= CHANGED:
                found = first + SETTLED
                break
        if found is None:
            break
        pieces.append((max(anchor, found - LONGEST), found))
        anchor = found
    return pieces


def demonstrations_of(pieces: Sequence[PracticeEpisode], encoder_id: str) -> EncodedDataset:
    """Pieces as demonstrations whose goal is their last frame. Raises InputError for none."""
    if not pieces:
        raise InputError("there is no piece to learn from")
    own = [piece.proprioception for piece in pieces]
    return EncodedDataset(
        codes=np.concatenate([piece.codes for piece in pieces]),
        # The last frame has no action: it repeats the one before, and is never drawn.
        actions=np.concatenate([np.concatenate([p.actions, p.actions[-1:]]) for p in pieces]),
        lengths=np.array([piece.steps + 1 for piece in pieces], dtype=np.int64),
        encoder_id=encoder_id,
        proprioception=None if any(values is None for values in own) else np.concatenate(own),
        metadata=[
            Metadata(success=True, source="practice", segments=(Segment(0, piece.steps + 1, ""),))
            for piece in pieces
        ],
    )


def check_proprioception(episode: PracticeEpisode, config: ChunkedPolicyConfig) -> None:
    """Raise InputError where the policy needs proprioception and the episode has none."""
    if config.proprioception and episode.proprioception is None:
        raise InputError("the episode has no proprioception, which the policy needs")


class HindsightCloner(PracticeLearner):
    """Fine-tunes the part ``chunked`` on pieces of practice and on demonstrations.

    The part holds the moving average of the weights, which acts.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        demonstrations: EncodedDataset | None = None,
        *,
        successes_only: bool = False,
        utd_ratio: float = 0.25,
        learning_rate: float = LEARNING_RATE,
        seed: int = 0,
    ) -> None:
        super().__init__(
            checkpoint, demonstrations, successes_only, utd_ratio, learning_rate, seed
        )
        self._cloning = DiffusionBC.going_on(checkpoint.part("chunked"), learning_rate)
        policy, average = self._cloning.policy, self._cloning.average
        config = policy.config
        self._executed = dataclasses.replace(config, labels="executed", working_weight=1.0)
        self._offline = None if demonstrations is None else ChunkSampler(demonstrations, config)
        self._online: ChunkSampler | None = None
        self.pieces: list[PracticeEpisode] = []
        self._begin({"policy": policy, "average": average}, {"adam": self._cloning.optimiser})

    @property
    def online(self) -> list[PracticeEpisode]:
        """The pieces that were found so far."""
        return self.pieces

    @property
    def _acting(self) -> nn.Module:
        return self._cloning.average

    @property
    def _has_data(self) -> bool:
        return bool(self.pieces) or self._offline is not None

    def _check(self, episode: PracticeEpisode) -> None:
        super()._check(episode)
        check_proprioception(episode, self._executed)

    def _learn(self, episode: PracticeEpisode) -> None:
        """Cut the episode into pieces."""
        latents = self.checkpoint.vqvae.latents_of(episode.codes)
        names = self.checkpoint.actions
        for first, last in changed_pieces(latents, self.checkpoint.part("classifier")):
            piece = without_idling(episode.part(first, last), names)
            if piece.steps >= FEWEST:
                self.pieces.append(piece)
                self._online = None

    def _step(self, run: Callable[..., Iterable]) -> Metrics:
        batch = ChunkBatch.joined(self._draw()).tensors(self.checkpoint.vqvae)
        self._cloning.updates = PAST_THE_START
        with seeded_dropout(self._state.generator):
            return self._cloning.update(*batch, self._state.generator)

    def _draw(self) -> list[ChunkBatch]:
        """Equal parts of a batch: pieces and demonstrations, or what there is of them."""
        samplers = [s for s in (self._pieces_sampler(), self._offline) if s is not None]
        if not samplers:
            raise InputError("there is nothing to learn from yet")
        size = self._executed.batch_size // len(samplers)
        return [sampler.draw(size, self._state.rng) for sampler in samplers]

    def _pieces_sampler(self) -> ChunkSampler | None:
        if self._online is None and self.pieces:
            found = demonstrations_of(self.pieces, self.checkpoint.encoder_id)
            self._online = ChunkSampler(found, self._executed)
        return self._online
