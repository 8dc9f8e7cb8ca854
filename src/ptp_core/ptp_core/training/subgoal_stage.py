# SPDX-License-Identifier: Apache-2.0
"""Stage 2: train the subgoal generators on encoded trajectories (paper section III-B)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ptp_core.config import GapConfig, ShownLegsConfig, SubgoalGeneratorConfig, TrainConfig
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.errors import DatasetError
from ptp_core.learning.gradient_step import Metrics, gradient_step
from ptp_core.planners.shown_legs import ShownLegs
from ptp_core.planners.subgoal_generator import GeneratorHierarchy, SubgoalGenerator
from ptp_core.training.stage import StageState, encoded_fingerprint, run_as_configured

VALIDATION_WINDOWS = 256


def train_generators(
    config: TrainConfig,
    vqvae: VQVAE,
    data: EncodedDataset,
    folder: Path,
    *,
    validation: EncodedDataset,
    progress: bool = True,
    row: int = 0,
) -> tuple[GeneratorHierarchy, dict[str, float]]:
    """Train dt60, dt30 and dt15, one after the other; return them and their last scalars.

    ``config.generators.levels`` says how many of them; more can be added to a finished stage.
    """
    torch.manual_seed(config.seed)
    hierarchy = GeneratorHierarchy(config.generators, vqvae.latent).to(vqvae.codebook.device)
    scalars: dict[str, float] = {}
    for number, name in enumerate(config.generators.horizons):
        result = _train_one(
            config,
            number,
            hierarchy[name],
            vqvae,
            data,
            folder / name,
            validation,
            progress=progress,
            row=row,
        )
        scalars |= {f"{name}/{key}": value for key, value in result.items()}
    return hierarchy.eval(), scalars


def frames_needed(gaps: GapConfig) -> int:
    """Frames of the shortest trajectory that a generator can learn from."""
    if gaps.mode != "multistep":
        return gaps.minimum + gaps.maximum
    return gaps.minimum * gaps.unroll + 1


def sample_windows(
    data: EncodedDataset, gaps: GapConfig, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw frames of a context and its targets: int64 (count, 1 + unroll), ascending.

    Raises DatasetError when no trajectory is long enough.
    """
    steps = gaps.unroll
    needed = frames_needed(gaps)
    usable = np.flatnonzero(data.lengths >= needed)
    if not len(usable):
        raise DatasetError(
            f"no trajectory has the {needed} frames that a subgoal generator needs; "
            "collect longer ones or lower its gaps"
        )
    chosen = rng.choice(usable, count)
    lengths, starts = data.lengths[chosen], data.starts[chosen]
    if gaps.mode != "multistep":
        first = rng.integers(gaps.minimum, size=count)
        if gaps.mode == "final":
            last = lengths - 1 - rng.integers(gaps.maximum, size=count)
        else:
            begin = ends_from(data, gaps)[chosen]
            last = rng.integers(begin, lengths)
        fractions = np.linspace(0, 1, steps + 1)
        offsets = np.rint(first[:, None] + (last - first)[:, None] * fractions).astype(np.int64)
    else:
        drawn = rng.integers(gaps.minimum, gaps.maximum + 1, size=(count, steps))
        # Where a window with these gaps does not fit, use the smallest gaps.
        too_long = drawn.sum(1) > lengths - 1
        drawn[too_long] = gaps.minimum
        room = lengths - drawn.sum(1)
        first = (rng.random(count) * room).astype(np.int64)
        offsets = first[:, None] + np.concatenate(
            [np.zeros((count, 1), dtype=np.int64), np.cumsum(drawn, axis=1)], axis=1
        )
    return starts[:, None] + offsets


def ends_from(data: EncodedDataset, gaps: GapConfig) -> np.ndarray:
    """First frame (trajectories,), counted in each, that is the end of a window of mode "done".

    Where nobody says when the work was done, and where it failed: that of mode "final".
    """
    latest = data.lengths - gaps.maximum
    return np.maximum(np.minimum(data.done, latest), np.minimum(gaps.minimum, latest))


@torch.no_grad()
def shown_legs(
    generator: SubgoalGenerator,
    vqvae: VQVAE,
    data: EncodedDataset,
    gaps: GapConfig,
    count: int,
    rng: np.random.Generator,
) -> ShownLegs:
    """Infer ``count`` latent actions from pairs that the generator was trained on."""
    legs = ShownLegs(ShownLegsConfig(count=count, z_dim=generator.z_dim))
    windows = sample_windows(data, gaps, count, rng)[:, [0, -1]]
    start, end = vqvae.latents_of(data.codes[windows]).unbind(1)
    legs.z.copy_(generator.encode(start, end)[0])
    return legs


def _train_one(
    config: TrainConfig,
    number: int,
    network: SubgoalGenerator,
    vqvae: VQVAE,
    data: EncodedDataset,
    folder: Path,
    validation: EncodedDataset,
    *,
    progress: bool,
    row: int,
) -> dict[str, float]:
    """Train the generator of one horizon, by its ``number``; return its last scalars."""
    settings = config.generators
    name = settings.horizons[number]
    gaps: GapConfig = getattr(settings, name)
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, fused=True)
    state = StageState(
        modules={name: network},
        optimisers={"adam": optimiser},
        seed=config.seed + number,
        fingerprint=encoded_fingerprint(settings, config.seed, data, "levels"),
    )
    fixed = sample_windows(validation, gaps, VALIDATION_WINDOWS, np.random.default_rng(0))
    held_out = vqvae.latents_of(validation.codes[fixed])

    def train_step() -> Metrics:
        windows = sample_windows(data, gaps, settings.batch_size, state.rng)
        latents = vqvae.latents_of(data.codes[windows])
        loss, metrics = network.loss(
            latents[:, 0], latents[:, 1:], vqvae=vqvae, generator=state.generator
        )
        gradient_step(loss, optimiser, settings.gradient_clip)
        return metrics

    @torch.inference_mode()
    def validate() -> Metrics:
        generator = torch.Generator().manual_seed(0)
        return network.loss(held_out[:, 0], held_out[:, 1:], vqvae=vqvae, generator=generator)[1]

    return run_as_configured(
        name,
        folder,
        state,
        train_step,
        settings,
        config,
        validate=validate,
        progress=progress,
        row=row,
        share=_share(settings, gaps),
    )


def _share(settings: SubgoalGeneratorConfig, gaps: GapConfig) -> float:
    """Return a net's share of the minutes, by its unrolled steps: all make as many batches."""
    return gaps.unroll / sum(getattr(settings, name).unroll for name in settings.horizons)
