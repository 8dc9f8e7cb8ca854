# SPDX-License-Identifier: Apache-2.0
"""Generated goals: frames reconstructed by the subgoal generators. Ours, not in the paper.

A planned subgoal is blurred and quantised again. A policy that was trained only on goals from the
camera hardly moves towards it. So each frame is also reconstructed by a generator, with z from
its posterior, from a frame that lies one of the generator's gaps earlier.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ptp_core.config import GapConfig, SubgoalGeneratorConfig
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.planners.subgoal_generator import HORIZONS, GeneratorHierarchy

ROWS = 256  # frames at once


@torch.no_grad()
def generated_goals(
    vqvae: VQVAE,
    generators: GeneratorHierarchy,
    data: EncodedDataset,
    generator: torch.Generator,
    progress: Callable[[int], None] = lambda count: None,
) -> np.ndarray:
    """Generated codes of every frame of ``data``: uint16 (frames, N).

    The generator is drawn from those whose gap does not reach beyond the start of the trajectory.
    A frame before the smallest gap keeps its own codes. ``generator`` (CPU) draws gaps and z.
    """
    device = vqvae.codebook.device
    contexts, levels = _contexts(data, generators.level(0).config, generator)
    codes = data.codes.copy()
    for level in range(len(HORIZONS)):
        network = generators.level(level)
        for rows in np.array_split(frames := np.flatnonzero(levels == level), _parts(frames)):
            pair = np.stack([data.codes[contexts[rows]], data.codes[rows]]).astype(np.int64)
            context, target = vqvae.lookup(torch.from_numpy(pair).to(device))
            mean, logvar = network.encode(context, target)
            noise = torch.randn(mean.shape, generator=generator).to(mean)
            shown = network(mean + noise * torch.exp(0.5 * logvar), context)
            codes[rows] = vqvae.quantise(shown)[0].cpu().numpy()
            progress(len(rows))
    return codes


def _contexts(
    data: EncodedDataset, settings: SubgoalGeneratorConfig, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The context frame of each generated frame, and the generator's level; -1: none."""
    count = len(data.codes)
    offset = np.concatenate([np.arange(length) for length in data.lengths])
    start = np.arange(count) - offset
    rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
    contexts = np.full((len(HORIZONS), count), -1)
    for level, name in enumerate(HORIZONS):
        gaps: GapConfig = getattr(settings, name)
        if gaps.mode == "final":  # from the first frames to the last ones
            context = start + rng.integers(gaps.minimum, size=count)
            length = np.repeat(data.lengths, data.lengths)
            fits = offset >= length - gaps.maximum
        else:
            context = np.arange(count) - rng.integers(gaps.minimum, gaps.maximum + 1, size=count)
            fits = context >= start
        contexts[level] = np.where(fits, context, -1)
    possible = contexts >= 0
    draw = np.where(possible, rng.random(contexts.shape), -1.0)
    levels = np.where(possible.any(0), draw.argmax(0), -1)
    return np.take_along_axis(contexts, np.maximum(levels, 0)[None], 0)[0], levels


def _parts(frames: np.ndarray) -> int:
    return max(1, -(-len(frames) // ROWS))
