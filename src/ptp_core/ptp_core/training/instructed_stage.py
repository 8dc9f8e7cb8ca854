# SPDX-License-Identifier: Apache-2.0
"""Training of planners and policies that take instructions, on encoded trajectories."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ptp_core.config import InstructedPolicyConfig, InstructionTrainConfig
from ptp_core.data.encoded_dataset import DatasetView, EncodedDataset
from ptp_core.encoders.text import SentenceTable
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.errors import DatasetError
from ptp_core.learning.diffusion_bc import ChunkSampler, DiffusionBC
from ptp_core.learning.gradient_step import Metrics, gradient_step
from ptp_core.policies.instructed_policy import InstructedPolicy
from ptp_core.training.chunked_stage import seeded_dropout
from ptp_core.training.stage import StageState, encoded_fingerprint, run_as_configured
from ptp_core.training.weights import serialise

SCALE_FRAMES = 8192  # random frames from which latents are standardised
VALIDATION_FRAMES = 1024
PLANNED_AT_ONCE = 1024  # frames whose plans are predicted in one batch


class InstructedFrames:
    """Latents, instructions and ends of the frames of a data set.

    Raises DatasetError for a sentence that the table does not know.
    """

    def __init__(self, data: EncodedDataset, table: SentenceTable, vqvae: VQVAE) -> None:
        self.data, self.table, self.vqvae = data, table, vqvae
        rows = [table.row(known.instruction) for known in data.metadata]
        if None in rows:
            text = data.metadata[rows.index(None)].instruction
            raise DatasetError(f'the text encoder does not know the instruction "{text}"')
        self._rows = np.repeat(np.array(rows, dtype=np.int64), data.lengths)
        self._last = np.repeat(data.starts + data.lengths - 1, data.lengths)

    def latents(self, frames: np.ndarray) -> torch.Tensor:
        """Latents (..., D) of frames (...)."""
        return self.vqvae.latents_of(self.data.codes[frames])

    def language(self, frames: np.ndarray) -> torch.Tensor:
        """Instructions (B, E) of frames (B,)."""
        return self.table(torch.from_numpy(self._rows[frames]).to(self.table.vectors.device))

    def last(self, frames: np.ndarray) -> np.ndarray:
        """Last frame of each frame's trajectory."""
        return self._last[frames]

    def fit(self, scale: nn.Module, rng: np.random.Generator) -> None:
        """Set the scale of standardised latents."""
        picks = rng.integers(len(self.data.codes), size=min(SCALE_FRAMES, len(self.data.codes)))
        scale.fit(self.latents(picks))

    def view(self) -> DatasetView:
        """The frames that can be learned from: all but the last ones."""
        return DatasetView(self.data)


def train_instructed_planner(
    name: str,
    planner: nn.Module,
    settings: Any,
    config: InstructionTrainConfig,
    frames: InstructedFrames,
    folder: Path,
    *,
    validation: InstructedFrames,
    progress: bool = True,
) -> dict[str, float]:
    """Train a planner with ``settings``, and its frames' table if that learns; return scalars."""
    table, seed = frames.table, config.seed
    frames.fit(planner.scale, np.random.default_rng(seed))
    modules: dict[str, nn.Module] = {"planner": planner}
    if table.vectors.requires_grad:
        modules["sentences"] = table
    parameters = [p for module in modules.values() for p in module.parameters()]
    optimiser = torch.optim.AdamW(
        parameters, settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    state = StageState(
        modules=modules,
        optimisers={"adam": optimiser},
        seed=seed,
        fingerprint=_fingerprint(settings, seed, frames),
    )
    view, held_out = frames.view(), validation.view()

    def loss_of(source: InstructedFrames, view: DatasetView, count, rng, generator):
        drawn = view.draw(count, rng)
        targets = planner.frames(drawn, source.last(drawn), rng)
        inputs = source.latents(drawn), source.latents(targets), source.language(drawn)
        return planner.loss(*inputs, generator)

    def train_step() -> Metrics:
        loss, metrics = loss_of(frames, view, settings.batch_size, state.rng, state.generator)
        gradient_step(loss, optimiser, settings.gradient_clip)
        return metrics

    @torch.no_grad()
    def validate() -> Metrics:
        rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
        return loss_of(validation, held_out, VALIDATION_FRAMES, rng, generator)[1]

    scalars = run_as_configured(
        name, folder, state, train_step, settings, config, validate=validate, progress=progress
    )
    planner.eval().requires_grad_(False)
    table.requires_grad_(False)
    return scalars


class PolicyContexts:
    """The subgoals that a policy is trained with; see `train_instructed_policy`.

    ``planner``: predictions of a plan, made once for each frame, so that the policy learns from
    what it will be given. ``true_frames``: the true latents of its frames instead.
    Without a planner: the goal itself, or with ``goals`` false nothing.
    """

    def __init__(
        self,
        frames: InstructedFrames,
        planner: nn.Module | None,
        *,
        true_frames: bool = False,
        goals: bool = False,
    ) -> None:
        self.frames, self.planner, self.goals = frames, planner, goals
        self._true = true_frames
        self._plans = None
        if planner is not None and not true_frames:
            self._plans = _plans(frames, planner)

    @property
    def levels(self) -> int:
        """Subgoals that the policy is given."""
        return int(self.goals) if self.planner is None else self.planner.levels

    @property
    def takes_images(self) -> bool:
        """Whether a goal may be an image in place of the instruction."""
        return self.goals if self.planner is None else self.planner.goal_images

    def of(
        self, drawn: np.ndarray, goals: np.ndarray, shown: np.ndarray, rng: np.random.Generator
    ) -> torch.Tensor | None:
        """Subgoals (B, levels, D) of frames (B,), whose goals are frames, too.

        ``shown``: bool (B,), where the goal is an image and there is no instruction.
        """
        frames = self.frames
        if self.planner is None:
            return frames.latents(goals)[:, None] if self.goals else None
        if self._true:
            return frames.latents(self.planner.frames(drawn, frames.last(drawn), rng))
        found = torch.from_numpy(self._plans[drawn]).float()
        found = found.to(frames.vqvae.codebook.device)
        if shown.any():
            start, goal = frames.latents(drawn[shown]), frames.latents(goals[shown])
            rows = torch.from_numpy(shown).to(found.device)
            found[rows] = self.planner.subgoals(start, None, goal)
        return found


def train_instructed_policy(
    name: str,
    policy: InstructedPolicy,
    average: InstructedPolicy,
    config: InstructionTrainConfig,
    contexts: PolicyContexts,
    folder: Path,
    *,
    validation: PolicyContexts,
    progress: bool = True,
) -> dict[str, float]:
    """Clone the demonstrations with ``config.policy``; ``average`` is what acts. Return scalars.

    Part of the frames, ``image_goals``, are shown a later frame as goal image and no instruction,
    where the method can act so.
    """
    settings: InstructedPolicyConfig = config.policy
    seed, data = config.seed, contexts.frames.data
    contexts.frames.fit(policy.scale, np.random.default_rng(seed))
    if len(policy.proprioception_mean):
        values = torch.from_numpy(data.proprioception)
        policy.set_scale(values.mean(0), values.std(0))
    cloning = DiffusionBC(policy, average)
    fingerprint = _fingerprint(settings, seed, contexts.frames)
    if contexts.planner is not None:
        fingerprint["planner"] = sha256(serialise(contexts.planner)).hexdigest()
    state = StageState(
        modules={"policy": policy, "average": average},
        optimisers={"adam": cloning.optimiser},
        seed=seed,
        fingerprint=fingerprint,
    )
    sampler = ChunkSampler(data, settings)
    held_out = ChunkSampler(validation.frames.data, settings)
    share = settings.image_goals if contexts.takes_images else 0.0

    def draw(source: PolicyContexts, sampler: ChunkSampler, network, count, rng):
        """Conditions, chunks and weights of ``count`` frames."""
        frames = source.frames
        drawn, goals = sampler.draw_frames(count, rng)
        shown = rng.random(count) < share
        goals = np.where(shown, goals, frames.last(drawn))
        latents, _, own, *cloned = sampler.batch(drawn, goals).tensors(frames.vqvae)
        rows = torch.from_numpy(shown)[:, None].to(latents.device)
        language = torch.where(rows, network.no_language, frames.language(drawn))
        subgoals = source.of(drawn, goals, shown, rng)
        conditions, attention = network.conditions(latents, subgoals, language, own)
        return conditions, *cloned, attention

    def train_step() -> Metrics:
        cloning.updates = state.step
        with seeded_dropout(state.generator):
            *batch, _ = draw(contexts, sampler, policy, settings.batch_size, state.rng)
            return cloning.step(*batch, state.generator)

    @torch.no_grad()
    def validate() -> Metrics:
        draws, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
        conditions, chunks, weights, attention = draw(
            validation, held_out, average, VALIDATION_FRAMES, rng
        )
        loss = average.loss(conditions, chunks, weights, draws)[0]
        errors = (average.head.sample(conditions, draws) - chunks).square().mean(-1)
        found = {"loss": loss, "action_mse": (errors * weights).sum() / weights.sum()}
        if attention is not None:
            found |= {f"attention_{i}": value for i, value in enumerate(attention.mean(0))}
        return found

    policy.train()
    scalars = run_as_configured(
        name, folder, state, train_step, settings, config, validate=validate, progress=progress
    )
    average.eval()
    return scalars


def _fingerprint(settings: Any, seed: int, frames: InstructedFrames) -> dict[str, Any]:
    """Inputs of a stage without its budget; a table that is trained does not count itself."""
    table = frames.table
    inputs = encoded_fingerprint(settings, seed, frames.data)
    inputs["sentences"] = list(table.config.sentences)
    inputs["text"] = table.config.kind
    if not table.vectors.requires_grad:
        inputs["table"] = sha256(serialise(table)).hexdigest()
    return inputs


@torch.no_grad()
def _plans(frames: InstructedFrames, planner: nn.Module) -> np.ndarray:
    """The plan of every frame for its instruction, float16 (frames, levels, D)."""
    count = len(frames.data.codes)
    plans = np.empty((count, planner.levels, planner.latent.size), np.float16)
    for start in range(0, count, PLANNED_AT_ONCE):
        rows = np.arange(start, min(start + PLANNED_AT_ONCE, count))
        found = planner.subgoals(frames.latents(rows), frames.language(rows))
        plans[rows] = found.cpu().numpy()
    return plans
