# SPDX-License-Identifier: Apache-2.0
"""Reference planner with the structure of the authors' code, for the planning benchmark.

The search is the same as ours. It plans one segment after the other, runs the generator on all
samples at once, and quantises with all distances and one-hot multiplication. (After measurements
of github.com/patrickhaoy/ptp; the code is ours.)
"""

from __future__ import annotations

import torch
from torch.nn import functional

from ptp_core.encoders.vqvae import VQVAE
from ptp_core.planners.costs import CostTerms, plan_cost
from ptp_core.planners.hierarchical_planner import HierarchicalPlanner
from ptp_core.planners.mppi import MPPI, LatentSearch, Solution


class AuthorsPlanner(HierarchicalPlanner):
    """Plans as the paper's setting does, up to rounding. Let torch have all threads."""

    def search(self, level: int) -> LatentSearch:
        """One segment after the other."""
        generator = self.generators[level]

        def rollout(start: torch.Tensor, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            state, codes, latents = start.expand(z.shape[1], -1), [], []
            for step in range(z.shape[2]):
                found, state = one_hot_quantise(self.vqvae, generator(z[0, :, step], state))
                codes.append(found)
                latents.append(state)
            return torch.stack(codes, 1)[None], torch.stack(latents, 1)[None]

        def cost(start, goal, latents, z) -> CostTerms:
            return plan_cost(start, goal, latents, z, self.value, self.config)

        return _OneByOne(MPPI(rollout, cost, self.config))


class _OneByOne:
    def __init__(self, search: LatentSearch) -> None:
        self._search = search

    def solve(self, start, goal, shape, generators, **given) -> Solution:
        """See ``LatentSearch.solve``."""
        found = [
            self._search.solve(
                start[i : i + 1], goal[i : i + 1], shape, generators[i : i + 1], **given
            )
            for i in range(len(start))
        ]
        terms = (torch.cat(parts) for parts in zip(*(s.costs.terms().values() for s in found)))
        z, codes, latents = (
            torch.cat([getattr(each, name) for each in found])
            for name in ("z", "codes", "latents")
        )
        return Solution(z, codes, latents, CostTerms(*terms))


def one_hot_quantise(vqvae: VQVAE, raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As `VQVAE.quantise`: codes (B, N), latents (B, D) of raw (B, D)."""
    channels, count = vqvae.latent.channels, vqvae.latent.codes
    grid = raw.view(-1, channels, count).transpose(1, 2).reshape(-1, channels)
    codebook = vqvae.codebook
    distances = (
        grid.square().sum(1, keepdim=True)
        + codebook.square().sum(1)
        - 2 * torch.matmul(grid, codebook.t())
    )
    codes = distances.argmin(1)
    rows = torch.matmul(functional.one_hot(codes, len(codebook)).to(grid), codebook)
    latents = rows.view(-1, count, channels).transpose(1, 2).flatten(1)
    return codes.view(-1, count), latents
