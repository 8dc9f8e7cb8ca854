# SPDX-License-Identifier: Apache-2.0
"""Cost of a candidate plan (paper Eq. 3; authors' cost mode "l2_vf_ptp")."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ptp_core.config import PlannerConfig

PAIRS_AT_ONCE = 4096  # pairs in one call of the value network: bounds the memory

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
