# SPDX-License-Identifier: Apache-2.0
"""Gradient of a plan's cost with respect to its latent actions z. Ours, not in the paper.

d cost(start, goal, h_1 .. h_K, z) / d z_1 .. z_K with h_k = VQ(decode(z_k, h_{k-1})), where the
quantisation VQ passes gradients straight through: d VQ(x) / dx = 1. The gradient passes through
generator, codebook and value function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from ptp_core.config import PlannerConfig
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.planners.costs import CostTerms, Value, plan_cost
from ptp_core.planners.shared_context import (
    ContextFeatures,
    context_features,
    decode_from_features,
)
from ptp_core.planners.subgoal_generator import ConditionalUNet

LEAST, MOST = 4, 16  # candidates in a block: enough blocks for several threads, but few calls


class CostGradient:
    """Predicts and differentiates candidates of segments that start at ``start`` (S, D).

    The generator's features of the starts are computed once, as all rounds of a search share them.
    ``run`` maps a function over blocks of candidates, as in `unroll`; each block
    computes the plain gradient.
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
        """See ``descent.Gradient``."""
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
