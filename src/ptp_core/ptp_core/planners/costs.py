# SPDX-License-Identifier: Apache-2.0
"""Unroll subgoals h_{t+1} = VQ(decode(z_t, h_t)) and their cost (paper section III-B, Eq. 3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch

from ptp_core.config import PlannerConfig
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.planners.subgoal_generator import (
    ConditionalUNet,
    ContextFeatures,
    context_features,
    decode_from_features,
)

CPU_BATCH = 64  # predictions at once, so that the U-Net's activations stay in the cache
CUDA_BATCH = 8192  # predictions at once, which bounds the memory


def unroll(
    generator: ConditionalUNet,
    vqvae: VQVAE,
    start: torch.Tensor,
    z: torch.Tensor,
    run: Callable[..., Iterable] = map,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Predict (codes (S, N, K, L), latents (S, N, K, D)) from start (S, D), z (S, N, K, Z).

    All samples of a segment share their first context, so its features are computed once.
    ``run`` maps a function over blocks of samples; an executor's ``map`` does it in parallel,
    with the same result to the bit.
    """
    samples = z.shape[1]
    batch = CUDA_BATCH if z.is_cuda else CPU_BATCH
    rows = max(1, batch // samples)  # segments in a block
    features = zip(*(feature.split(rows) for feature in context_features(generator, start)))
    blocks = [
        (ContextFeatures(*shared), part)
        for shared, row in zip(features, z.split(rows))
        for part in row.split(batch, dim=1)
    ]
    done = list(run(partial(_unroll_block, generator, vqvae), blocks))
    columns = -(-samples // batch)  # blocks that a segment's samples are split into
    return tuple(
        torch.cat([torch.cat(row, dim=1) for row in zip(*[iter(tensors)] * columns)])
        for tensors in zip(*done)
    )


@torch.no_grad()  # threads do not inherit the grad mode
def _unroll_block(
    generator: ConditionalUNet, vqvae: VQVAE, block: tuple[ContextFeatures, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """``unroll`` for one block that is small enough to be predicted at once."""
    features, z = block
    segments, samples, steps, z_dim = z.shape
    raw = decode_from_features(generator, z[:, :, 0], features).flatten(0, 1)
    codes, latents = [], []
    for step in range(steps):
        if step:
            raw = generator(z[:, :, step].reshape(-1, z_dim), latents[-1])
        predicted_codes, predicted = vqvae.quantise(raw)
        codes.append(predicted_codes)
        latents.append(predicted)
    shape = (segments, samples, steps, -1)
    return torch.stack(codes, 1).view(shape), torch.stack(latents, 1).view(shape)


PAIRS_AT_ONCE = 4096  # pairs in one call of the value network, which bounds the memory

Value = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""V(latents (B, D), goals (B, D)) -> (B,)."""


@dataclass(frozen=True)
class CostTerms:
    """Weighted terms of the cost and their sum, tensors of one shape."""

    total: torch.Tensor
    distance: torch.Tensor
    value: torch.Tensor
    prior: torch.Tensor

    def best(self) -> tuple[torch.Tensor, CostTerms]:
        """Index (S,) of the least total of each row of (S, N) terms, and its terms (S,)."""
        index = self.total.argmin(dim=1)
        return index, self.take(index)

    def take(self, index: torch.Tensor) -> CostTerms:
        """Terms (S,) at ``index`` (S,) of each row of (S, N) terms."""
        row = index[:, None]
        return self.map(lambda term: term.gather(1, row).squeeze(1))

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> CostTerms:
        """Apply ``function`` to every term."""
        return CostTerms(*(function(term) for term in self.terms().values()))

    def terms(self) -> dict[str, torch.Tensor]:
        """Every term by its name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def plan_cost(
    start: torch.Tensor,
    goal: torch.Tensor,
    latents: torch.Tensor,
    z: torch.Tensor,
    value: Value,
    config: PlannerConfig,
) -> CostTerms:
    """Cost (S, N) of N candidate plans for each of S segments.

    start, goal: (S, D). latents: (S, N, K, D), predicted and quantised. z: (S, N, K, z_dim).

    distance = ||s_K - g||_2
    value    = -eta1 * sum of V(s_i, s_{i+1}), s_0 the start; with ``include_last_value_term`` also
               V(s_K, g) (authors' code)
    prior    = eta2 * sum of ||z||^2 ("squared_norm", authors) or of -log p(z) ("log_prob", paper)
    """
    segments, samples, steps, size = latents.shape
    distance = torch.linalg.vector_norm(latents[:, :, -1] - goal[:, None], dim=-1)

    before = torch.cat([start[:, None, None].expand(-1, samples, 1, -1), latents], dim=2)
    after = torch.cat([latents, goal[:, None, None].expand(-1, samples, 1, -1)], dim=2)
    pairs = steps + 1 if config.include_last_value_term else steps
    before = before[:, :, :pairs].reshape(-1, size).split(PAIRS_AT_ONCE)
    after = after[:, :, :pairs].reshape(-1, size).split(PAIRS_AT_ONCE)
    values = torch.cat([value(a, b) for a, b in zip(before, after)])
    value_term = -config.value_weight * values.view(segments, samples, pairs).sum(-1)

    prior = z.square().sum((-2, -1))
    if config.prior_term == "log_prob":
        prior = prior / 2 + math.log(2 * math.pi) / 2 * steps * z.shape[-1]
    prior = config.prior_weight * prior
    return CostTerms(distance + value_term + prior, distance, value_term, prior)
