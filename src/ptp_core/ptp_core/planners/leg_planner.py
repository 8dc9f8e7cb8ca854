# SPDX-License-Identifier: Apache-2.0
"""A planner whose legs are what single demonstrations do. Ours.

PTP searches the latent actions of all subgoals and asks how near the last state is to the goal.
Here the last leg is not searched: the generator's own encoder infers its latent action,

    z_n = mean of q(z | s_{n-1}, g),    cost = distance(decode(z_n, s_{n-1}), g)

so that the cost says whether one demonstration's work leads from the last subgoal to the goal. A
generator that has learned from single primitives cannot express two of them in one z. The other
legs are searched, from latent actions of demonstrations (`ShownLegs`). Each must change something,
as the goal classifier sees it, or a plan could begin with legs of the arm alone.

Plans of one leg, two legs, and so on are searched, and each leg has a price. So the number of
subgoals follows from start and goal. The search keeps its best candidates apart: a weighted mean
(MPPI) of two primitives is neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from ptp_core.config import LegPlannerConfig
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.learning.goal_classifier import GoalClassifier
from ptp_core.planners.costs import unroll
from ptp_core.planners.planner import Plan, PlanFeedback, check_latent, stop_if
from ptp_core.planners.shown_legs import ShownLegs
from ptp_core.planners.subgoal_generator import SubgoalGenerator, use_fastest_layout

AT_ONCE = 256  # candidates in one call of a network, which bounds the memory


@dataclass(frozen=True)
class LegCandidates:
    """Candidates (N, ...) for one number of legs, best first once `best` has chosen."""

    z: torch.Tensor  # (N, K, z_dim), of the K subgoals that are searched
    codes: torch.Tensor  # (N, K, C)
    latents: torch.Tensor  # (N, K, D)
    distance: torch.Tensor  # (N,), work that the last leg leaves
    idle: torch.Tensor  # (N,), of legs that change nothing
    prior: torch.Tensor  # (N,)

    @property
    def total(self) -> torch.Tensor:
        """Cost (N,), without the price of legs."""
        return self.distance + self.idle + self.prior

    def best(self, count: int) -> LegCandidates:
        """The ``count`` candidates of least cost, in that order."""
        order = self.total.argsort(stable=True)[:count]
        return LegCandidates(*(value[order] for value in vars(self).values()))

    def first(self, count: int) -> LegCandidates:
        """The first ``count`` candidates."""
        return LegCandidates(*(value[:count] for value in vars(self).values()))

    def joined(self, other: LegCandidates) -> LegCandidates:
        """These candidates and then ``other``."""
        pairs = zip(vars(self).values(), vars(other).values())
        return LegCandidates(*(torch.cat(pair) for pair in pairs))


class LegPlanner:
    """Plans with the generator dt60 and the goal classifier; see the module.

    Weights are read at every call. A plan's last subgoal is the goal itself.
    """

    def __init__(
        self,
        vqvae: VQVAE,
        generator: SubgoalGenerator,
        shown: ShownLegs,
        classifier: GoalClassifier,
        config: LegPlannerConfig | None = None,
    ) -> None:
        use_fastest_layout(generator)
        self.vqvae = vqvae
        self.generator = generator
        self.shown = shown
        self.classifier = classifier
        self.config = config or LegPlannerConfig()

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
        """See ``Planner.plan``; there is no plan buffer. ``generator`` is a CPU generator.

        What is left of an ``earlier`` plan is judged from ``start`` first. Where it leaves less
        work than a leg costs, nothing is searched; else searches begin with it too.
        """
        began = time.perf_counter()
        config, device, size = self.config, self.vqvae.codebook.device, self.vqvae.latent.size
        start = check_latent(start, "start", size).to(device)
        goal = check_latent(goal, "goal", size).to(device)
        rests = self._rests(earlier, start, goal)
        chosen = min(rests, key=self._cost, default=None)
        fits = chosen is not None and float(chosen.distance[0]) <= config.leg_price
        for subgoals in range(0 if fits else config.most_legs):
            if chosen is not None and self._cost(chosen) <= config.leg_price * subgoals:
                break  # a further leg costs more than it can save
            known = [rest.z for rest in rests if rest.z.shape[1] == subgoals]
            found = self._search(start, goal, subgoals, generator, known, on_iteration, cancelled)
            if chosen is None or self._cost(found) < self._cost(chosen):
                chosen = found
        cost = self._cost(chosen)
        return Plan(
            codes=torch.cat([chosen.codes[0], self.vqvae.quantise(goal[None])[0]]).cpu(),
            latents=torch.cat([chosen.latents[0], goal[None]]).cpu(),
            cost=cost,
            costs={
                "distance": float(chosen.distance[0]),
                "value": float(chosen.idle[0]) + config.leg_price * chosen.z.shape[1],
                "prior": float(chosen.prior[0]),
                "level_0": cost,
            },
            seconds=time.perf_counter() - began,
            z=(chosen.z[:1].cpu(),),
        )

    def _cost(self, found: LegCandidates) -> float:
        """Cost of the best candidate, with the price of its legs after the first."""
        return float(found.total[0]) + self.config.leg_price * found.z.shape[1]

    def _rests(self, earlier: Plan | None, start, goal) -> list[LegCandidates]:
        """An earlier plan from ``start``: whole, without its first leg, and so on."""
        if earlier is None or not earlier.z:
            return []
        (z,) = earlier.z
        return [self._evaluate(start, goal, z[:, n:].to(start)) for n in range(z.shape[1] + 1)]

    def _search(self, start, goal, subgoals, rng, known, on_iteration, cancelled) -> LegCandidates:
        """Candidates with this many subgoals before the goal, best first.

        ``known``: latent actions (1, subgoals, z_dim) that the search begins with, beside shown
        ones.
        """
        config = self.config
        rounds = len(config.sigmas) if subgoals else 0
        z = self.shown.draw((config.samples if subgoals else 1, subgoals), rng)
        z = torch.cat([*(rest.cpu() for rest in known), z])
        best = None
        for number in range(rounds + 1):
            stop_if(cancelled)
            found = self._evaluate(start, goal, z.to(start))
            best = (found if best is None else best.joined(found)).best(config.elites)
            if on_iteration is not None:
                least = float(best.total[0]) + config.leg_price * subgoals
                feedback = PlanFeedback(subgoals, config.most_legs, number, rounds + 1, least)
                on_iteration(feedback)
            if number < rounds:
                around = max(1, config.samples // len(best.z))
                noise = torch.randn((len(best.z), around, *z.shape[1:]), generator=rng)
                z = (best.z.cpu()[:, None] + config.sigmas[number] * noise).flatten(0, 1)
        return best

    def _evaluate(self, start: torch.Tensor, goal: torch.Tensor, z: torch.Tensor) -> LegCandidates:
        """Unroll latent actions (N, K, z_dim) and judge the legs."""
        count, subgoals = z.shape[:2]
        config, size = self.config, start.numel()
        if subgoals:
            codes, latents = unroll(self.generator, self.vqvae, start[None], z[None])
            codes, latents = codes[0], latents[0]
        else:
            latents = start.new_zeros((count, 0, size))
            codes = torch.zeros((count, 0, self.vqvae.latent.codes), dtype=torch.long)
        ends = torch.cat([start.expand(count, 1, size), latents], dim=1)[:, -1]
        distance = torch.cat([self.last_leg(part, goal) for part in ends.split(AT_ONCE)])
        prior = config.prior_weight * z.square().sum((1, 2))
        idle = torch.zeros_like(distance)
        found = LegCandidates(z, codes.to(start.device), latents, distance, idle, prior)
        return self._with_idle(start, found) if subgoals else found

    def _with_idle(self, start: torch.Tensor, found: LegCandidates) -> LegCandidates:
        """Add -log P(the leg changes something) of each leg; keep the best ``elites`` and others.

        The term only adds to the cost. So the cheapest candidates are asked first, and those that
        cost more without it than enough others do with it are left out.
        """
        config = self.config
        found = found.best(len(found.z))
        known = found.idle.new_zeros(0)
        for first in range(0, len(found.z), AT_ONCE // 4):
            if first and float(known.sort()[0][min(config.elites, first) - 1]) <= float(
                found.total[first]
            ):
                return found.first(first)
            part = slice(first, first + AT_ONCE // 4)
            after = found.latents[part]
            before = torch.cat([start.expand(len(after), 1, -1), after[:, :-1]], dim=1)
            same = self.classifier(before.flatten(0, 1), after.flatten(0, 1))
            idle = functional.softplus(same).view(after.shape[:2]).sum(1)
            found.idle[part] = config.change_weight * idle
            known = torch.cat([known, found.total[part]])
        return found

    def last_leg(self, states: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
        """Work (B,) that the generator's best leg from states (B, D) leaves to the goal (D,)."""
        goals = goal.expand_as(states)
        z = self.generator.encode(states, goals)[0]
        ends = self.vqvae.quantise(self.generator(z, states))[1]
        return self.classifier.work_left(ends, goals)
