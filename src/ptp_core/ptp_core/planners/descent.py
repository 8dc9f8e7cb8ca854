# SPDX-License-Identifier: Apache-2.0
"""Gradient descent on latent actions z, batched over segments. Ours, not in the paper.

The best of the first samples follow the gradient of the cost through generator and value network;
the quantisation passes gradients straight through. Each stage keeps fewer candidates, those of
least cost. The steps are Adam's (Kingma and Ba 2015, arXiv 1412.6980) with small decay rates, as
the quantisation makes the cost rough. The plan is the best candidate of all rounds. With samples
from the plan buffer, fewer candidates and steps suffice.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ptp_core.config import PlannerConfig
from ptp_core.planners.costs import CostTerms
from ptp_core.planners.mppi import Cost, Rollout, Solution, better, first_samples
from ptp_core.planners.plan_buffer import PlanBuffer
from ptp_core.planners.planner import stop_if

MOMENTUM = 0.7  # Adam's beta1: decay of the mean gradient
SQUARES = 0.9  # Adam's beta2: decay of the mean squared gradient
LAST_STEP = 0.1  # last step size over the first; linear in between

Gradient = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor],
    tuple[torch.Tensor, torch.Tensor, CostTerms, torch.Tensor],
]
"""gradient(start (S, D), goal (S, D), z (S, N, K, Z)) -> codes (S, N, K, C), latents (S, N, K, D),
terms (S, N), gradient of the total by z (S, N, K, Z)."""


class Descent:
    """Searches with ``config.elites`` candidates a segment, all segments in one batch."""

    def __init__(
        self, rollout: Rollout, cost: Cost, gradient: Gradient, config: PlannerConfig
    ) -> None:
        self.rollout = rollout
        self.cost = cost
        self.gradient = gradient
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
        """See ``LatentSearch.solve``; ``on_iteration`` gets the best candidates so far."""
        solution: Solution | None = None
        iteration = 0

        def keep_best(z, codes, latents, costs) -> None:
            nonlocal solution, iteration
            found = Solution.cheapest(z, codes, latents, costs)
            solution = found if solution is None else better(solution, found)
            if on_iteration is not None:
                on_iteration(iteration, solution.costs)
            iteration += 1

        def evaluate(z: torch.Tensor) -> CostTerms:
            stop_if(cancelled)
            codes, latents = self.rollout(start, z)
            costs = self.cost(start, goal, latents, z)
            keep_best(z, codes, latents, costs)
            return costs

        config = self.config
        draw = [first_samples(config, shape, buffer, rng) for rng in generators]
        z = torch.stack(draw).to(start.device)
        costs = evaluate(z)
        mean, squares = torch.zeros_like(z), torch.zeros_like(z)
        warm = buffer is not None and len(buffer) >= config.buffer_minimum
        stages = config.stages(warm)
        step, steps = 0, sum(count for _, count in stages)
        for elites, count in stages:
            order = costs.total.argsort(dim=1, stable=True)[:, :elites]
            z, mean, squares = (_take(x, order) for x in (z, mean, squares))
            for _ in range(count):
                stop_if(cancelled)
                codes, latents, costs, gradient = self.gradient(start, goal, z)
                keep_best(z, codes, latents, costs)
                mean = torch.lerp(gradient, mean, MOMENTUM)
                squares = torch.lerp(gradient.square(), squares, SQUARES)
                size = config.step_size * (1 - (1 - LAST_STEP) * step / max(1, steps - 1))
                step += 1
                # Bias correction: both means start at 0.
                scale = (squares / (1 - SQUARES**step)).sqrt() + 1e-8
                z = z - size / (1 - MOMENTUM**step) * mean / scale
        evaluate(z)
        return solution


def _take(values: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Candidates ``order`` (S, E) of each segment of (S, N, K, Z)."""
    return values.gather(1, order[:, :, None, None].expand(-1, -1, *values.shape[2:]))
