# SPDX-License-Identifier: Apache-2.0
"""Gradient descent on latent actions z, batched over segments. Ours, not in the paper.

The best of the first samples follow the gradient of the cost through generator and value network.
Each stage keeps fewer candidates, those of least cost. The steps are Adam's (Kingma and Ba 2015,
arXiv 1412.6980) with small decay rates, as the quantisation makes the cost rough. The plan is
the best candidate of all rounds. With samples from the plan buffer, fewer candidates and steps
suffice.

The gradient is d cost(start, goal, h_1 .. h_K, z) / d z_1 .. z_K with h_k = VQ(decode(z_k,
h_{k-1})), where the quantisation VQ passes gradients straight through: d VQ(x) / dx = 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from ptp_core.config import PlannerConfig
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.planners.costs import CostTerms, Value, plan_cost
from ptp_core.planners.mppi import Cost, Rollout, Solution, better, first_samples
from ptp_core.planners.plan_buffer import PlanBuffer
from ptp_core.planners.planner import stop_if
from ptp_core.planners.subgoal_generator import (
    ConditionalUNet,
    ContextFeatures,
    context_features,
    decode_from_features,
)

MOMENTUM = 0.7  # Adam's beta1: decay of the mean gradient
SQUARES = 0.9  # Adam's beta2: decay of the mean squared gradient
LAST_STEP = 0.1  # last step size over the first; linear in between

Gradient = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor],
    tuple[torch.Tensor, torch.Tensor, CostTerms, torch.Tensor],
]
"""gradient(start (S, D), goal (S, D), z (S, N, K, Z)) -> codes (S, N, K, C), latents (S, N, K, D),
terms (S, N), gradient of the total by z (S, N, K, Z)."""

LEAST, MOST = 4, 16  # candidates in a block: enough blocks for several threads, but few calls


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


class CostGradient:
    """Predicts and differentiates candidates of segments that start at ``start`` (S, D).

    The generator's features of the starts are computed once, as all rounds of a search share them.
    ``run`` maps a function over blocks of candidates, as in `unroll`; each block computes
    the plain gradient.
    """

    def __init__(
        self,
        generator: ConditionalUNet,
        vqvae: VQVAE,
        value: Value,
        config: PlannerConfig,
        run: Callable[..., Iterable] = map,
    ) -> None:
        self.generator = generator
        self.vqvae = vqvae
        self.value = value
        self.config = config
        self.run = run
        self._known: tuple[torch.Tensor, ContextFeatures] | None = None

    def __call__(
        self, start: torch.Tensor, goal: torch.Tensor, z: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, CostTerms, torch.Tensor]:
        """See `Gradient`."""
        if self._known is None or self._known[0] is not start:
            self._known = start, context_features(self.generator, start)
        candidates = z.flatten(0, 1)
        segment = torch.arange(len(z), device=z.device).repeat_interleave(z.shape[1])
        # Blocks do not depend on the number of threads, so that threads do not change a plan.
        size = min(MOST, max(LEAST, len(candidates) // 2))
        blocks = list(zip(candidates.split(size), segment.split(size)))
        done = list(self.run(lambda block: self._block(goal, *block), blocks))
        codes, latents, gradient, *terms = (torch.cat(parts) for parts in zip(*done))
        shape = z.shape[:2]
        costs = CostTerms(*(term.view(shape) for term in terms))
        return (
            *(x.view(*shape, *x.shape[1:]) for x in (codes, latents)),
            costs,
            gradient.view_as(z),
        )

    # Threads do not inherit the grad mode; a caller may be in inference mode.
    @torch.inference_mode(False)
    @torch.enable_grad()
    def _block(
        self, goal: torch.Tensor, z: torch.Tensor, segment: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Codes, latents, gradient and terms of candidates z (B, K, Z) of segments (B,)."""
        start, features = self._known
        start, goal = start[segment], goal[segment]
        shared = ContextFeatures(*(feature[segment] for feature in features))
        z = z.detach().clone().requires_grad_(True)
        codes, latents, passed = [], [], []
        for step in range(z.shape[1]):
            if step:
                raw = self.generator(z[:, step], passed[-1])
            else:
                raw = decode_from_features(self.generator, z[:, :1], shared).flatten(0, 1)
            predicted_codes, predicted = self.vqvae.quantise(raw)
            codes.append(predicted_codes)
            latents.append(predicted)
            passed.append(predicted + (raw - raw.detach()))  # straight-through: adds 0
        costs = plan_cost(
            start, goal, torch.stack(passed, 1)[:, None], z[:, None], self.value, self.config
        )
        (gradient,) = torch.autograd.grad(costs.total.sum(), z)
        terms = (term.detach().squeeze(1) for term in costs.terms().values())
        return torch.stack(codes, 1), torch.stack(latents, 1), gradient, *terms


def _take(values: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Candidates ``order`` (S, E) of each segment of (S, N, K, Z)."""
    return values.gather(1, order[:, :, None, None].expand(-1, -1, *values.shape[2:]))
