# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy method (CEM), LEAP's search: sample, keep the elites, fit a Gaussian, repeat.

The Gaussian has one mean and one standard deviation for each dimension of a candidate. The result
is the best candidate of the last iteration, which may not be the best of all iterations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ptp_core.planners.costs import CostTerms
from ptp_core.planners.planner import stop_if

CandidateCost = Callable[[torch.Tensor], CostTerms]
"""cost(z (N, *shape)) -> terms (N,)."""


@dataclass(frozen=True)
class CEMResult:
    """The chosen candidate: z (*shape) and its terms ()."""

    z: torch.Tensor
    costs: CostTerms


class CEM:
    """Samples ``samples`` candidates an iteration and fits the next one to ``elites`` of them."""

    def __init__(
        self,
        cost: CandidateCost,
        *,
        samples: int,
        elites: int,
        iterations: int,
        initial_std: float,
    ) -> None:
        self.cost = cost
        self.samples = samples
        self.elites = elites
        self.iterations = iterations
        self.initial_std = initial_std

    def solve(
        self,
        shape: tuple[int, ...],
        generator: torch.Generator,
        *,
        device: torch.device | str = "cpu",
        on_iteration: Callable[[int, CostTerms], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> CEMResult:
        """Search candidates of ``shape`` around 0; ``generator`` is a CPU generator.

        ``on_iteration`` is called with the iteration and the terms (elites,) of its elites, best
        first. ``cancelled`` is called before every evaluation. Raises PlanCancelled.
        """
        mean = torch.zeros(shape, device=device)
        std = torch.full(shape, self.initial_std, device=device)
        for iteration in range(self.iterations):
            stop_if(cancelled)
            # Draw on the CPU, so that a seed gives the same candidates on every device.
            noise = torch.randn((self.samples, *shape), generator=generator).to(mean)
            z = mean + std * noise
            costs = self.cost(z)
            order = costs.total.argsort(stable=True)[: self.elites]
            elites, terms = z[order], _take(costs, order)
            if on_iteration is not None:
                on_iteration(iteration, terms)
            if iteration + 1 < self.iterations:
                # Population statistics, so that a single elite has a deviation of 0.
                mean, std = elites.mean(0), elites.std(0, correction=0)
        return CEMResult(elites[0], terms.map(lambda term: term[0]))


def _take(costs: CostTerms, index: torch.Tensor) -> CostTerms:
    return costs.map(lambda term: term[index])
