# SPDX-License-Identifier: Apache-2.0
"""Practice for LBP: episodes become chains of backward subgoals, learned with LBP's own losses.

An episode that counts as a success is a demonstration of its instruction: goal predictor f_g,
subgoal predictor f_w and policy learn from it as from any other (arXiv 2505.06861, Eq. 2 and 5,
section 4.4). Any other episode says nothing about its instruction. It is a chain whose goals are
latents that it came to later, without an instruction: f_w and the policy learn from it, f_g does
not. The policy is given its planner's own predictions. Batches are half practice, half
demonstrations (RLPD, arXiv 2302.02948). The plan is renewed at every step, so that no plans are
kept. Practice is ours, the paper has none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ptp_core.config import InstructedPolicyConfig
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.trajectory import PracticeEpisode
from ptp_core.encoders.text import SentenceTable
from ptp_core.errors import InputError
from ptp_core.learning.diffusion_bc import ChunkSampler, DiffusionBC
from ptp_core.learning.gradient_step import Metrics
from ptp_core.learning.hindsight_cloning import (
    FEWEST,
    PAST_THE_START,
    check_proprioception,
    demonstrations_of,
)
from ptp_core.learning.practice_learner import PracticeLearner, without_idling
from ptp_core.planners.backward_planner import BackwardPlanner, Loss
from ptp_core.training.checkpoint import Checkpoint
from ptp_core.training.chunked_stage import seeded_dropout

LEARNING_RATE = 1e-4  # a third of offline training's


def hindsight_loss(planner: BackwardPlanner, latents: torch.Tensor, targets: torch.Tensor) -> Loss:
    """Eq. 5 for chains without an instruction: f_w alone learns, with both terms.

    Latents (B, D) and ``targets`` (B, levels, D) as of `BackwardPlanner.loss`. The goal is given,
    so that the first subgoal has one context, the true one.
    """
    now = planner.scale(latents)
    true = planner.scale(targets).flip(1).unbind(1)  # from the goal on
    errors, own = [], None
    for beyond, target in pairwise(true):
        found = planner.subgoal(now, beyond, None)
        errors.append(functional.mse_loss(found, target))
        if own is not None:
            own = planner.subgoal(now, own, None)
            errors.append(functional.mse_loss(own, target))
        else:
            own = found
    total = sum(errors) if errors else latents.new_zeros(())
    return total, {"hindsight_mse": torch.stack(errors).detach().mean() if errors else total}


class ChainBatch(NamedTuple):
    """Frames to learn from. B rows, of which those of ``shown`` have no instruction."""

    latents: torch.Tensor  # (B, D)
    goals: torch.Tensor  # (B, D)
    targets: torch.Tensor  # (B, levels, D): true latents of the chain, near to far
    language: torch.Tensor  # (B, E); any value where shown
    shown: torch.Tensor  # bool (B,)
    proprioception: torch.Tensor | None  # (B, P)
    chunks: torch.Tensor  # (B, H, A)
    weights: torch.Tensor  # (B, H)


class Chains:
    """Draws chains from trajectories; ``told``: the instruction of each, None: none.

    Raises GoalError for an instruction that the text encoder cannot read.
    """

    def __init__(
        self,
        data: EncodedDataset,
        told: Sequence[str | None],
        checkpoint: Checkpoint,
        config: InstructedPolicyConfig,
    ) -> None:
        self._checkpoint, self._data = checkpoint, data
        self._sampler = ChunkSampler(data, config)
        self._share = config.image_goals
        table: SentenceTable = checkpoint.part("sentences")
        known = {text: table.embed(text) for text in set(told) if text}
        nothing = torch.zeros(table.dimensions)
        self._language = torch.stack([known[text].cpu() if text else nothing for text in told])
        self._told = np.array([bool(text) for text in told])
        self._trajectory = np.repeat(np.arange(len(told)), data.lengths)

    def draw(self, count: int, planner: BackwardPlanner, rng: np.random.Generator) -> ChainBatch:
        """Draw ``count`` rows."""
        vqvae = self._checkpoint.vqvae
        frames, goals = self._sampler.draw_frames(count, rng)
        rows = self._trajectory[frames]
        shown = ~self._told[rows] | (rng.random(count) < self._share)
        goals = np.where(shown, goals, self._sampler.last(frames))
        batch = self._sampler.batch(frames, goals)
        chain = planner.frames(frames, goals, rng)
        latents, ends, *others = batch.tensors(vqvae)
        return ChainBatch(
            latents,
            ends,
            vqvae.latents_of(self._data.codes[chain]),
            self._language[torch.from_numpy(rows)].to(latents.device),
            torch.from_numpy(shown).to(latents.device),
            *others,
        )


class HindsightChains(PracticeLearner):
    """Fine-tunes planner and policy of LBP on practised episodes and on demonstrations.

    An episode's instruction counts where it succeeded; `add` raises GoalError for one that the
    text encoder cannot read. Acting weights are the planner's own and the moving average of the
    policy's.
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
        self._planner = planner = checkpoint.part("lbp_planner").requires_grad_(True)
        self._cloning = DiffusionBC.going_on(checkpoint.part("lbp_policy"), learning_rate)
        policy, average = self._cloning.policy, self._cloning.average
        config = policy.config
        self._planning = torch.optim.AdamW(
            planner.parameters(), learning_rate, weight_decay=planner.config.weight_decay
        )
        self._acts = checkpoint.together(("lbp_policy", "lbp_planner"))
        self._executed = dataclasses.replace(config, labels="executed", working_weight=1.0)
        self._offline = None
        if demonstrations is not None:
            told = [known.instruction or None for known in demonstrations.metadata]
            self._offline = Chains(demonstrations, told, checkpoint, config)
        self._online: Chains | None = None
        self.online: list[PracticeEpisode] = []  # what was learned from so far
        self._begin(
            {"planner": planner, "policy": policy, "average": average},
            {"adam": self._cloning.optimiser, "planner_adam": self._planning},
        )

    @property
    def _acting(self) -> nn.Module:
        return self._acts

    @property
    def _has_data(self) -> bool:
        return bool(self.online) or self._offline is not None

    def _check(self, episode: PracticeEpisode) -> None:
        super()._check(episode)
        check_proprioception(episode, self._executed)

    def _learn(self, episode: PracticeEpisode) -> None:
        if episode.succeeded and episode.instruction:
            self.checkpoint.part("sentences").embed(episode.instruction)  # or raise
        moving = without_idling(episode, self.checkpoint.actions)
        if moving.steps >= FEWEST:
            said = {"instruction": episode.instruction, "succeeded": episode.succeeded}
            self.online.append(dataclasses.replace(moving, **said))
            self._online = None

    def _step(self, run: Callable[..., Iterable]) -> Metrics:
        config, rng, generator = self._executed, self._state.rng, self._state.generator
        sources = [source for source in (self._practised(), self._offline) if source is not None]
        if not sources:
            raise InputError("there is nothing to learn from yet")
        size = config.batch_size // len(sources)
        drawn = [source.draw(size, self._planner, rng) for source in sources]
        batch = ChainBatch(
            *(None if part[0] is None else torch.cat(part) for part in zip(*drawn, strict=True))
        )
        metrics = self._plan_step(batch, generator)
        self._cloning.updates = PAST_THE_START
        with seeded_dropout(generator):
            return metrics | self._policy_step(batch, generator)

    def _practised(self) -> Chains | None:
        if self._online is None and self.online:
            data = demonstrations_of(self.online, self.checkpoint.encoder_id)
            told = [one.instruction if one.succeeded else None for one in self.online]
            self._online = Chains(data, told, self.checkpoint, self._executed)
        return self._online

    def _plan_step(self, batch: ChainBatch, generator: torch.Generator) -> dict:
        """LBP's planner losses, each weighted by its part of the batch."""
        total, metrics = 0.0, {}
        for rows, told in ((~batch.shown, True), (batch.shown, False)):
            if not rows.any():
                continue
            latents, targets = batch.latents[rows], batch.targets[rows]
            if told:
                found = self._planner.loss(latents, targets, batch.language[rows], generator)
            else:
                found = hindsight_loss(self._planner, latents, targets)
            total = total + found[0] * rows.float().mean()
            metrics |= {name: value for name, value in found[1].items() if name != "loss"}
        self._planning.zero_grad(set_to_none=True)
        if total.requires_grad:
            total.backward()
            if clip := self._planner.config.gradient_clip:
                nn.utils.clip_grad_norm_(self._planner.parameters(), clip)
            self._planning.step()
        return metrics | {"plan/loss": total.detach()}

    def _policy_step(self, batch: ChainBatch, generator: torch.Generator) -> dict:
        """The policy's diffusion loss, given the plans of its planner."""
        policy, shown = self._cloning.policy, batch.shown
        subgoals = self._planner.subgoals(batch.latents, batch.language)
        if shown.any():
            to_goal = self._planner.subgoals(batch.latents[shown], None, batch.goals[shown])
            subgoals[shown] = to_goal
        language = torch.where(shown[:, None], policy.no_language, batch.language)
        conditions, _ = policy.conditions(batch.latents, subgoals, language, batch.proprioception)
        return self._cloning.step(conditions, batch.chunks, batch.weights, generator)
