# SPDX-License-Identifier: Apache-2.0
"""PTP's hierarchical planner: coarse subgoals first, each segment refined by a finer generator.

(Paper Alg. 2; authors' planner.py.) The last state of every sub-plan is replaced by the goal of
its segment, so all segments of a level are known before it is planned and go in one batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

from ptp_core.config import PlannerConfig
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.errors import InputError
from ptp_core.planners.costs import CostTerms, Value, plan_cost, unroll
from ptp_core.planners.descent import CostGradient, Descent
from ptp_core.planners.mppi import MPPI, LatentSearch, spawn
from ptp_core.planners.plan_buffer import PlanBuffer, add_plan
from ptp_core.planners.planner import Plan, PlanFeedback, check_latent
from ptp_core.planners.subgoal_generator import GeneratorHierarchy, use_fastest_layout

MULTIPLIER = 2  # subgoals that each segment is refined into


class HierarchicalPlanner:
    """Plans with the generators dt60, dt30, dt15; fewer levels use those of ``config.horizons``.

    The networks' weights are read at every call, so a policy update takes effect in the next plan.
    ``buffers`` holds one PlanBuffer a level; plans are added only with ``remember``.

    ``threads`` predict blocks of samples in parallel; plans are bit-identical for any number. Set
    torch's own threads to 1 then: they synchronise after every operation, which costs more than
    it gains as soon as another process uses a core.
    """

    def __init__(
        self,
        vqvae: VQVAE,
        generators: GeneratorHierarchy,
        value: Value,
        config: PlannerConfig | None = None,
        *,
        threads: int = 1,
    ) -> None:
        self.config = config = config or PlannerConfig()
        self._pool = ThreadPoolExecutor(threads, "planner") if threads > 1 else None
        self.vqvae = vqvae
        self.value = value
        use_fastest_layout(generators)
        finest = 3 if config.horizons == "finest" else config.levels
        if finest > len(generators):
            raise InputError(
                f"the planner needs {finest} generators, and the checkpoint has "
                f"{', '.join(generators)} alone: train it with generators.levels {finest}"
            )
        skipped = finest - config.levels
        self.generators = [generators.level(skipped + level) for level in range(config.levels)]
        top = config.subgoals
        if config.subgoal_count == "total":
            top //= MULTIPLIER ** (config.levels - 1)
        self.steps = [top] + [MULTIPLIER] * (config.levels - 1)
        self.buffers = [
            PlanBuffer(config.buffer_size, steps, net.z_dim, config.buffer_wrap)
            for steps, net in zip(self.steps, self.generators)
        ]

    @torch.no_grad()
    def plan(
        self,
        start: torch.Tensor,
        goal: torch.Tensor,
        generator: torch.Generator,
        *,
        on_iteration: Callable[[PlanFeedback], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        remember: bool = False,
        earlier: Plan | None = None,
    ) -> Plan:
        """See ``Planner.plan``. ``generator`` is a CPU generator."""
        began = time.perf_counter()
        device, size = self.vqvae.codebook.device, self.vqvae.latent.size
        starts = check_latent(start, "start", size).to(device)[None]
        targets = check_latent(goal, "goal", size).to(device)[None]
        target_codes = self.vqvae.quantise(targets)[0]
        costs: dict[str, float] = {"distance": 0.0, "value": 0.0, "prior": 0.0}
        chosen = []
        for level, steps in enumerate(self.steps):
            solution = self.search(level).solve(
                starts,
                targets,
                (steps, self.generators[level].z_dim),
                spawn(generator, len(starts)),
                buffer=self.buffers[level],
                on_iteration=self._report(level, on_iteration),
                cancelled=cancelled,
            )
            latents, codes = solution.latents, solution.codes
            if level > 0 or self.config.replace_final_subgoal:
                latents[:, -1], codes[:, -1] = targets, target_codes
            targets, target_codes = latents.flatten(0, 1), codes.flatten(0, 1)
            starts = torch.cat([starts[:1], targets[:-1]])
            chosen.append(solution.z.cpu())
            for name in ("distance", "value", "prior"):
                costs[name] += float(getattr(solution.costs, name).sum())
            costs[f"level_{level}"] = float(solution.costs.total.sum())
        plan = Plan(
            codes=target_codes.cpu(),
            latents=targets.cpu(),
            cost=sum(costs[f"level_{level}"] for level in range(len(self.steps))),
            costs=costs,
            seconds=time.perf_counter() - began,
            z=tuple(chosen),
        )
        if remember:
            self.remember(plan)
        return plan

    def search(self, level: int) -> LatentSearch:
        """The search that ``config.search`` names, for the segments of one level."""
        run = self._pool.map if self._pool else map
        generator = self.generators[level]

        def rollout(start: torch.Tensor, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return unroll(generator, self.vqvae, start, z, run)

        def cost(start, goal, latents, z) -> CostTerms:
            return plan_cost(start, goal, latents, z, self.value, self.config)

        if self.config.search == "mppi":
            return MPPI(rollout, cost, self.config)
        gradient = CostGradient(generator, self.vqvae, self.value, self.config, run)
        return Descent(rollout, cost, gradient, self.config)

    def remember(self, plan: Plan) -> None:
        """Append a plan's latent actions to the buffers of their levels."""
        add_plan(self.buffers, plan)

    def _report(self, level, on_iteration):
        if on_iteration is None:
            return None

        def report(iteration: int, terms: CostTerms) -> None:
            best = float(terms.total.sum())
            rounds = self.config.rounds
            on_iteration(PlanFeedback(level, len(self.steps), iteration, rounds, best))

        return report
