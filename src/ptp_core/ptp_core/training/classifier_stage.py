# SPDX-License-Identifier: Apache-2.0
"""Training of the goal classifier on encoded data, and then on ends that a generator shows."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path

import numpy as np
import torch

from ptp_core.config import TrainConfig
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.learning.goal_classifier import GoalClassifier, PairSampler
from ptp_core.learning.leg_ends import LegEndSampler
from ptp_core.planners.subgoal_generator import GeneratorHierarchy
from ptp_core.training.chunked_stage import seeded_dropout
from ptp_core.training.stage import Metrics, StageState, encoded_fingerprint, run_as_configured
from ptp_core.training.weights import serialise

VALIDATION_PAIRS = 1024


def train_goal_classifier(
    config: TrainConfig,
    vqvae: VQVAE,
    data: EncodedDataset,
    folder: Path,
    *,
    validation: EncodedDataset,
    device: torch.device,
    progress: bool = True,
) -> tuple[GoalClassifier, dict[str, float]]:
    """Train with ``config.classifier``; return the network and its last scalars."""
    settings = config.classifier
    torch.manual_seed(config.seed)
    network = GoalClassifier(settings, vqvae.latent).to(device)
    optimiser = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    state = StageState(
        modules={"classifier": network},
        optimisers={"adam": optimiser},
        generator=torch.Generator().manual_seed(config.seed),
        rng=np.random.default_rng(config.seed),
        fingerprint=encoded_fingerprint(settings, config.seed, data),
    )
    pairs, held_out = PairSampler(data, settings), PairSampler(validation, settings)
    fixed = held_out.draw(VALIDATION_PAIRS, np.random.default_rng(config.seed))

    def loss_of(source: EncodedDataset, drawn) -> tuple[torch.Tensor, Metrics]:
        latents, goals = (
            vqvae.lookup(torch.from_numpy(source.codes[frames].astype(np.int64)).to(device))
            for frames in (drawn.first, drawn.second)
        )
        return network.loss(latents, goals, torch.from_numpy(drawn.same).to(device))

    def train_step() -> Metrics:
        with seeded_dropout(state.generator):
            loss, metrics = loss_of(data, pairs.draw(settings.batch_size, state.rng))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return metrics

    @torch.no_grad()
    def validate() -> dict[str, float]:
        network.eval()
        metrics = loss_of(validation, fixed)[1]
        network.train()
        return {key: float(value) for key, value in metrics.items()}

    network.train()
    scalars = run_as_configured(
        "goal classifier",
        folder,
        state,
        train_step,
        settings,
        config,
        validate=validate,
        progress=progress,
    )
    return network.eval(), scalars


def train_tolerance(
    config: TrainConfig,
    vqvae: VQVAE,
    generators: GeneratorHierarchy,
    classifier: GoalClassifier,
    data: EncodedDataset,
    folder: Path,
    *,
    validation: EncodedDataset,
    device: torch.device,
    progress: bool = True,
) -> tuple[GoalClassifier, dict[str, float]]:
    """Continue training the classifier with ``config.tolerance``; see `LegEndSampler`.

    Returns a new network and its last scalars; ``classifier`` does not change.
    """
    settings, gaps = config.tolerance, config.generators.dt60
    network = copy.deepcopy(classifier).requires_grad_(True)
    optimiser = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    generator = generators["dt60"]
    weights = (serialise(module) for module in (classifier, generator))
    earlier = hashlib.sha256(b"".join(weights)).hexdigest()
    state = StageState(
        modules={"classifier": network},
        optimisers={"adam": optimiser},
        generator=torch.Generator().manual_seed(config.seed),
        rng=np.random.default_rng(config.seed),
        fingerprint={
            **encoded_fingerprint(settings, config.seed, data),
            "networks": earlier,
        },
    )
    sampler, held_out = (
        LegEndSampler(
            each, PairSampler(each, config.classifier), vqvae, generator, settings, gaps.minimum
        )
        for each in (data, validation)
    )
    rng, noise = np.random.default_rng(config.seed), torch.Generator().manual_seed(config.seed)
    fixed = [held_out.draw(rng, noise) for _ in range(VALIDATION_PAIRS // settings.batch_size)]

    def train_step() -> Metrics:
        drawn = sampler.draw(state.rng, state.generator)
        with seeded_dropout(state.generator):
            loss, metrics = network.loss(drawn.first, drawn.second, drawn.same, drawn.weights)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return metrics

    @torch.no_grad()
    def validate() -> dict[str, float]:
        network.eval()
        parts = [network.loss(p.first, p.second, p.same, p.weights)[1] for p in fixed]
        network.train()
        return {key: float(np.mean([float(part[key]) for part in parts])) for key in parts[0]}

    network.train()
    scalars = run_as_configured(
        "tolerance",
        folder,
        state,
        train_step,
        settings,
        config,
        validate=validate,
        progress=progress,
    )
    return network.eval().requires_grad_(False), scalars
