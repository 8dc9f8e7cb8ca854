# SPDX-License-Identifier: Apache-2.0
"""Training of classifiers of pairs: whether a goal's work is done, whether one leg does a change.

The goal classifier is trained on encoded data, and then on ends that a generator shows.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ptp_core.config import (
    GoalClassifierConfig,
    SingleLegsConfig,
    ToleranceConfig,
    TrainConfig,
)
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.learning.goal_classifier import FramePairs, GoalClassifier, PairSampler
from ptp_core.learning.gradient_step import Metrics, gradient_step
from ptp_core.learning.leg_ends import LegEndSampler
from ptp_core.learning.pair_classifier import PairClassifier
from ptp_core.learning.single_legs import LegSampler, SingleLegs
from ptp_core.planners.subgoal_generator import GeneratorHierarchy
from ptp_core.training.chunked_stage import seeded_dropout
from ptp_core.training.stage import StageState, encoded_fingerprint, run_as_configured
from ptp_core.training.weights import serialise

VALIDATION_PAIRS = 1024
Inputs = tuple[torch.Tensor, ...]  # of `GoalClassifier.loss`


def train_goal_classifier(
    config: TrainConfig,
    vqvae: VQVAE,
    data: EncodedDataset,
    folder: Path,
    *,
    validation: EncodedDataset,
    progress: bool = True,
) -> tuple[GoalClassifier, dict[str, float]]:
    """Train with ``config.classifier``; return the network and its last scalars."""
    settings = config.classifier
    torch.manual_seed(config.seed)
    network = GoalClassifier(settings, vqvae.latent).to(vqvae.codebook.device)
    pairs, held_out = PairSampler(data, settings), PairSampler(validation, settings)

    def tensors(source: EncodedDataset, drawn: FramePairs) -> Inputs:
        latents, goals = (
            vqvae.latents_of(source.codes[frames]) for frames in (drawn.first, drawn.second)
        )
        return latents, goals, torch.from_numpy(drawn.same).to(latents.device)

    def draw(rng: np.random.Generator, _: torch.Generator) -> Inputs:
        return tensors(data, pairs.draw(settings.batch_size, rng))

    fixed = held_out.draw(VALIDATION_PAIRS, np.random.default_rng(config.seed))
    fingerprint = encoded_fingerprint(settings, config.seed, data)
    scalars = _fit(
        "goal classifier",
        network,
        settings,
        config,
        folder,
        fingerprint,
        draw,
        [tensors(validation, fixed)],
        progress,
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
    progress: bool = True,
) -> tuple[GoalClassifier, dict[str, float]]:
    """Continue training the classifier with ``config.tolerance``; see `LegEndSampler`.

    Returns a new network and its last scalars; ``classifier`` does not change.
    """
    settings, gaps = config.tolerance, config.generators.dt60
    network = copy.deepcopy(classifier).requires_grad_(True)
    generator = generators["dt60"]
    fingerprint = _fingerprint(settings, config.seed, data, classifier, generator)
    parts = vqvae, generator, classifier, settings, gaps.minimum
    sampler, held_out = (
        LegEndSampler(each, PairSampler(each, config.classifier), *parts)
        for each in (data, validation)
    )

    def draw(
        rng: np.random.Generator,
        noise: torch.Generator,
        of: LegEndSampler = sampler,
        logits: GoalClassifier | None = network,
    ) -> Inputs:
        drawn = of.draw(rng, noise, logits)
        return drawn.first, drawn.second, drawn.same, drawn.weights

    rng, noise = np.random.default_rng(config.seed), torch.Generator().manual_seed(config.seed)
    count = VALIDATION_PAIRS // settings.batch_size
    fixed = [draw(rng, noise, held_out, None) for _ in range(count)]
    scalars = _fit(
        "tolerance", network, settings, config, folder, fingerprint, draw, fixed, progress
    )
    return network.eval().requires_grad_(False), scalars


def train_single_legs(
    config: TrainConfig,
    vqvae: VQVAE,
    generators: GeneratorHierarchy,
    classifier: GoalClassifier,
    strict: GoalClassifier,
    data: EncodedDataset,
    folder: Path,
    *,
    validation: EncodedDataset,
    progress: bool = True,
) -> tuple[SingleLegs, dict[str, float]]:
    """Train with ``config.single_legs``; return the network and its last scalars.

    ``strict``: the classifier before `train_tolerance`, or ``classifier`` again; see `LegSampler`.
    """
    settings, gaps = config.single_legs, config.generators.dt60
    torch.manual_seed(config.seed)
    network = SingleLegs(settings, vqvae.latent).to(vqvae.codebook.device)
    generator = generators["dt60"]
    fingerprint = _fingerprint(settings, config.seed, data, classifier, strict, generator)
    parts = vqvae, generator, classifier, settings, gaps.minimum
    sampler, held_out = (
        LegSampler(each, PairSampler(each, config.classifier), *parts, strict)
        for each in (data, validation)
    )

    def draw(rng: np.random.Generator, noise: torch.Generator) -> Inputs:
        drawn = sampler.draw(rng, noise, network)
        return drawn.before, drawn.after, drawn.single, drawn.weights

    rng, noise = np.random.default_rng(config.seed), torch.Generator().manual_seed(config.seed)
    count = max(1, VALIDATION_PAIRS // settings.batch_size)
    fixed = [tuple(vars(held_out.draw(rng, noise)).values()) for _ in range(count)]
    scalars = _fit(
        "single legs", network, settings, config, folder, fingerprint, draw, fixed, progress
    )
    return network.eval().requires_grad_(False), scalars


def _fingerprint(
    settings: Any, seed: int, data: EncodedDataset, *networks: torch.nn.Module
) -> dict[str, Any]:
    """What a stage depends on that is trained with the ends of other networks."""
    weights = b"".join(serialise(network) for network in networks)
    return {
        **encoded_fingerprint(settings, seed, data),
        "networks": hashlib.sha256(weights).hexdigest(),
    }


def _fit(
    name: str,
    network: PairClassifier,
    settings: GoalClassifierConfig | ToleranceConfig | SingleLegsConfig,
    config: TrainConfig,
    folder: Path,
    fingerprint: dict[str, Any],
    draw: Callable[[np.random.Generator, torch.Generator], Inputs],
    fixed: Sequence[Inputs],
    progress: bool,
) -> dict[str, float]:
    """Train on what ``draw`` gives, validate on ``fixed``; return the last scalars."""
    optimiser = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    state = StageState(
        modules={"classifier": network},
        optimisers={"adam": optimiser},
        seed=config.seed,
        fingerprint=fingerprint,
    )

    def train_step() -> Metrics:
        with seeded_dropout(state.generator):
            drawn = draw(state.rng, state.generator)
            loss, metrics = network.loss(*drawn)
        gradient_step(loss, optimiser)
        return metrics

    @torch.no_grad()
    def validate() -> dict[str, float]:
        network.eval()
        parts = [network.loss(*each)[1] for each in fixed]
        network.train()
        return {key: float(np.mean([float(part[key]) for part in parts])) for key in parts[0]}

    network.train()
    return run_as_configured(
        name, folder, state, train_step, settings, config, validate=validate, progress=progress
    )
