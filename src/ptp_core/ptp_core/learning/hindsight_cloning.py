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

import copy
import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.trajectory import Metadata, PracticeEpisode, Segment
from ptp_core.errors import InputError
from ptp_core.learning.diffusion_bc import ChunkBatch, ChunkSampler, DiffusionBC
from ptp_core.learning.goal_classifier import GoalClassifier
from ptp_core.learning.online_learner import check_learner_inputs, without_idling
from ptp_core.policies.live_weights import WeightsUpdate
from ptp_core.training.checkpoint import Checkpoint
from ptp_core.training.chunked_stage import seeded_dropout
from ptp_core.training.stage import StageState

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


class HindsightCloner:
    """Fine-tunes the part ``chunked`` on pieces of practice and on demonstrations.

    Counts as `OnlineLearner` does: ``utd_ratio`` gradient steps are due for each practised step.
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
        check_learner_inputs(checkpoint, demonstrations, utd_ratio)
        self.checkpoint = checkpoint
        self.successes_only = successes_only
        self.utd_ratio = utd_ratio
        self.diverged = 0
        average = checkpoint.part("chunked")
        config = dataclasses.replace(average.config, learning_rate=learning_rate)
        policy = copy.deepcopy(average).train().requires_grad_(True)
        policy.config = config
        self._cloning = DiffusionBC(policy, average)
        self._executed = dataclasses.replace(config, labels="executed", working_weight=1.0)
        self._offline = None if demonstrations is None else ChunkSampler(demonstrations, config)
        self._online: ChunkSampler | None = None
        self.pieces: list[PracticeEpisode] = []
        self._steps = 0
        self.inputs = {
            "encoder_id": checkpoint.encoder_id,
            "seed": seed,
            "learn_from": "successes" if successes_only else "all",
            "utd_ratio": utd_ratio,
            "learning_rate": learning_rate,
            "demonstrations": None if demonstrations is None else demonstrations.content_hash(),
        }
        self._state = StageState(
            modules={"policy": policy, "average": average},
            optimisers={"adam": self._cloning.optimiser},
            generator=torch.Generator().manual_seed(seed),
            rng=np.random.default_rng(seed),
            fingerprint={"encoder_id": checkpoint.encoder_id, "seed": seed},
        )

        self._remember()

    @property
    def updates(self) -> int:
        """Gradient steps since the checkpoint."""
        return self._state.step

    @property
    def steps(self) -> int:
        """Practised steps that were added."""
        return self._steps

    @property
    def online(self) -> list[PracticeEpisode]:
        """The pieces that were found so far."""
        return self.pieces

    @property
    def due(self) -> int:
        """Gradient steps that the practised steps still call for; 0 while nothing was learned."""
        if not self.pieces and self._offline is None:
            return 0
        return math.floor(self._steps * self.utd_ratio + 1e-9) - self.updates

    def add(self, episode: PracticeEpisode, learn: bool = True) -> None:
        """Cut the episode into pieces; without ``learn`` its steps count for ``due`` alone.

        Raises InputError where its parts do not fit together, or proprioception is missing.
        """
        if not np.isfinite(episode.actions).all():
            raise InputError("the episode has actions that are not finite: it is left out")
        if self._executed.proprioception and episode.proprioception is None:
            raise InputError("the episode has no proprioception, which the policy needs")
        if learn:
            vqvae = self.checkpoint.vqvae
            codes = torch.from_numpy(episode.codes.astype(np.int64))
            latents = vqvae.lookup(codes.to(vqvae.codebook.device))
            names = self.checkpoint.actions
            for first, last in changed_pieces(latents, self.checkpoint.part("classifier")):
                piece = without_idling(episode.part(first, last), names)
                if piece.steps >= FEWEST:
                    self.pieces.append(piece)
                    self._online = None
        self._steps += episode.steps

    def update(self, run: Callable[..., Iterable] = map) -> dict[str, float]:
        """Make one gradient step; return its scalars. Raises InputError without data."""
        config, rng = self._executed, self._state.rng
        half = config.batch_size // 2
        samplers = [s for s in (self._pieces_sampler(), self._offline) if s is not None]
        if not samplers:
            raise InputError("there is nothing to learn from yet")
        size = half if len(samplers) == 2 else config.batch_size
        self._cloning.updates = PAST_THE_START
        with seeded_dropout(self._state.generator):
            batch = self._tensors([sampler.draw(size, rng) for sampler in samplers])
            metrics = self._cloning.update(*batch, self._state.generator)
        self._state.step += 1
        scalars = {name: float(value) for name, value in metrics.items()}
        bad = not all(math.isfinite(value) for value in scalars.values())
        if bad:
            self.diverged += 1
            self._take_back()
        return {**scalars, "diverged": float(bad)}

    def weights(self, version: int) -> WeightsUpdate:
        """Return the weights to use from now on; they become the last good ones."""
        self._remember()
        return WeightsUpdate.of(self._cloning.average, version, self.checkpoint.encoder_id)

    def save(self, path: Path) -> None:
        """Write weights, optimiser, counts and random state atomically; episodes not."""
        self._state.save(path)

    def resume(self, path: Path) -> bool:
        """Go on from ``save``; see `OnlineLearner.resume`."""
        if not self._state.resume(path):
            return False
        self._remember()
        return True

    def _remember(self) -> None:
        self._good = copy.deepcopy(
            (
                *(module.state_dict() for module in self._modules),
                self._cloning.optimiser.state_dict(),
            )
        )

    def _take_back(self) -> None:
        *weights, optimiser = copy.deepcopy(self._good)
        for module, values in zip(self._modules, weights, strict=True):
            module.load_state_dict(values)
        self._cloning.optimiser.load_state_dict(optimiser)

    @property
    def _modules(self) -> tuple[torch.nn.Module, torch.nn.Module]:
        return self._cloning.policy, self._cloning.average

    def _pieces_sampler(self) -> ChunkSampler | None:
        if self._online is None and self.pieces:
            found = demonstrations_of(self.pieces, self.checkpoint.encoder_id)
            self._online = ChunkSampler(found, self._executed)
        return self._online

    def _tensors(self, batches: Sequence[ChunkBatch]) -> tuple[torch.Tensor | None, ...]:
        vqvae = self.checkpoint.vqvae
        device = vqvae.codebook.device

        def joined(name: str) -> torch.Tensor:
            return torch.from_numpy(np.concatenate([getattr(b, name) for b in batches])).to(device)

        latents, goals = (
            vqvae.lookup(torch.from_numpy(np.concatenate(codes).astype(np.int64)).to(device))
            for codes in ([b.codes for b in batches], [b.goals for b in batches])
        )
        own = joined("proprioception") if self._executed.proprioception else None
        return latents, goals, own, joined("chunks"), joined("weights")
