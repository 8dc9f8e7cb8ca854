# SPDX-License-Identifier: Apache-2.0
"""MPPI search over latent actions z, batched over segments (paper section III-B, Alg. 2).

Model predictive path integral control, as in the authors' mppi_planner.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from ptp_core.config import PlannerConfig
from ptp_core.planners.costs import CostTerms
from ptp_core.planners.plan_buffer import PlanBuffer
from ptp_core.planners.planner import stop_if


def spawn(generator: torch.Generator, count: int) -> list[torch.Generator]:
    """Independent CPU generators, one for each segment, seeded from ``generator``."""
    seeds = torch.randint(2**62, (count,), generator=generator)
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


Rollout = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""rollout(start (S, D), z (S, N, K, Z)) -> codes (S, N, K, C), latents (S, N, K, D)."""

Cost = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], CostTerms]
"""cost(start (S, D), goal (S, D), latents (S, N, K, D), z (S, N, K, Z)) -> terms (S, N)."""


@dataclass(frozen=True)
class Solution:
    """The chosen plan of every segment: z (S, K, Z), codes (S, K, C), latents (S, K, D)."""

    z: torch.Tensor
    codes: torch.Tensor
    latents: torch.Tensor
    costs: CostTerms  # terms (S,)

    @classmethod
    def cheapest(
        cls, z: torch.Tensor, codes: torch.Tensor, latents: torch.Tensor, costs: CostTerms
    ) -> Solution:
        """The candidate of least cost of each segment; arguments are (S, N, ...)."""
        index, terms = costs.best()
        rows = torch.arange(len(z), device=z.device)
        return cls(z[rows, index], codes[rows, index], latents[rows, index], terms)


class LatentSearch(Protocol):
    """Finds the latent actions of segments."""

    def solve(
        self,
        start: torch.Tensor,
        goal: torch.Tensor,
        shape: tuple[int, int],
        generators: list[torch.Generator],
        *,
        buffer: PlanBuffer | None = None,
        on_iteration: Callable[[int, CostTerms], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Solution:
        """Plan for every segment from ``start`` (S, D) to ``goal`` (S, D).

        ``shape`` is (K, z_dim). Each segment draws from its own CPU generator, so that results
        do not depend on the batch. ``on_iteration`` is called with the round and the terms (S,)
        of its best candidates. Raises PlanCancelled.
        """
        ...


class MPPI:
    """Searches with ``config.samples`` candidates a segment, all segments in one batch."""

    def __init__(self, rollout: Rollout, cost: Cost, config: PlannerConfig) -> None:
        self.rollout = rollout
        self.cost = cost
        self.config = config

    def solve(
        self,
        start: torch.Tensor,
        goal: torch.Tensor,
        shape: tuple[int, int],
        generators: list[torch.Generator],
        *,
        buffer: PlanBuffer | None = None,
        on_iteration: Callable[[int, CostTerms], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Solution:
        """See ``LatentSearch.solve``."""
        config = self.config
        draw = [first_samples(config, shape, buffer, rng) for rng in generators]
        z = torch.stack(draw).to(start.device)
        solution = None
        for iteration in range(config.iterations + 1):
            stop_if(cancelled)
            codes, latents = self.rollout(start, z)
            costs = self.cost(start, goal, latents, z)
            found = Solution.cheapest(z, codes, latents, costs)
            if on_iteration is not None:
                on_iteration(iteration, found.costs)
            keep_all = config.return_best == "best_so_far" and solution is not None
            solution = better(solution, found) if keep_all else found
            if iteration < config.iterations:
                z = self._perturb(z, costs.total, config.sigmas[iteration], generators)
        return solution

    def _perturb(self, z, costs, sigma, generators):
        """Sample again around the cost-weighted mean of ``z`` (S, N, K, Z)."""
        # softmax is invariant to the shift by the least cost
        weights = torch.softmax(-costs / self.config.temperature, dim=1)
        mean = torch.einsum("sn,snkz->skz", weights, z)
        noise = torch.stack([torch.randn(z.shape[1:], generator=rng) for rng in generators])
        samples = mean[:, None] + sigma * noise.to(z)
        samples[:, 0] = mean
        return samples


def first_samples(
    config: PlannerConfig,
    shape: tuple[int, int],
    buffer: PlanBuffer | None,
    rng: torch.Generator,
) -> torch.Tensor:
    """Draw (N, K, Z) from the prior, partly from the plan buffer if it has enough plans."""
    z = torch.randn((config.samples, *shape), generator=rng)
    prior_only = torch.rand((), generator=rng) < config.prior_only_probability
    if buffer is None or len(buffer) < config.buffer_minimum or prior_only:
        return z
    reused = buffer.sample(int((1 - config.prior_fraction) * config.samples), rng)
    z[len(z) - len(reused) :] = reused
    return z


def better(old: Solution, new: Solution) -> Solution:
    """For each segment the solution of lower cost."""
    improved = new.costs.total < old.costs.total

    def pick(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.where(improved.view(-1, *[1] * (a.dim() - 1)), b, a)

    terms = zip(old.costs.terms().values(), new.costs.terms().values())
    return Solution(
        pick(old.z, new.z),
        pick(old.codes, new.codes),
        pick(old.latents, new.latents),
        CostTerms(*(pick(a, b) for a, b in terms)),
    )
