# SPDX-License-Identifier: Apache-2.0
"""A planner whose legs are what single demonstrations do. Ours.

PTP searches the latent actions of all subgoals, and asks how near the last state is to the goal.
Here every leg, the last one too, is a latent action that a demonstration showed, or one near by:

    z_1 .. z_n near latent actions of demonstrations (`ShownLegs`)
    cost = work that the end of the last leg, decode(z_n, s_{n-1}), leaves to the goal

A latent action of one primitive cannot express two of them, so the cost tells how many legs a goal
takes. Yet a generator also draws ends that only two of them reach, so a leg costs more where no
single demonstration does its work (`SingleLegs`, where a checkpoint has it). The legs before the
last must change something, as the goal classifier sees it, or a plan could begin with legs of the
arm alone. The last leg is tried with several latent actions after
each candidate: shown ones, and some around the one that the generator's encoder infers from state
and goal, the mean of q(z | s_{n-1}, g). The encoder alone often errs: it was not trained on pairs
of a planned state and a goal image.

The generator draws impossible ends too, such as a block in a closed drawer, and both orders of two
legs end with the same picture. So a first leg costs more for each time that the policy has given
its work up in this episode.

A classifier errs, and a plan of several legs undoes what was done. So where legs took most of the
work away, at most one more leg is planned (`progress_kept`), and none at once where the last leg
was carried out as far as the policy can: the arm stays, and `SubgoalFollower` doubts in time.

Plans of one leg, two legs, and so on are searched, and each leg has a price. So the number of
subgoals follows from start and goal. The legs before the last come from a beam search: the plans
of one leg that promise most are continued with a second, and so on. What promises most is judged
in three ways, as no one of them finds the first leg of every task: the latent distance to the
goal, the work left to it, and chance, for a leg that leads away from the goal at first. A round of
noise around the best candidates follows, which keeps them apart: a weighted mean (MPPI) of two
primitives is neither.

The last subgoal is the end of the last leg, where it leaves little work to the goal, else the
goal. The policy pursues the former better (`SubgoalFollower`, `stand_in`).
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from ptp_core.config import LegPlannerConfig
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.learning.goal_classifier import GoalClassifier
from ptp_core.learning.single_legs import SingleLegs
from ptp_core.planners.costs import unroll
from ptp_core.planners.planner import Plan, PlanFeedback, check_latent, stop_if
from ptp_core.planners.shown_legs import ShownLegs
from ptp_core.planners.subgoal_generator import SubgoalGenerator, use_fastest_layout

AT_ONCE = 256  # candidates in one call of a network, which bounds the memory
SEVERAL = -2.0  # logit of `SingleLegs` below which the beam has no use for a leg


@dataclass(frozen=True)
class LegProblem:
    """What a plan is asked for."""

    start: torch.Tensor  # latent (D,)
    goal: torch.Tensor  # latent (D,)
    given_up: torch.Tensor  # (F, D), first subgoals that the policy gave up in this episode


@dataclass(frozen=True)
class LegCandidates:
    """Candidates (N, ...) for one number of legs, best first once `best` has chosen."""

    z: torch.Tensor  # (N, K + 1, z_dim), of K subgoals and of the last leg, to the goal
    codes: torch.Tensor  # (N, K, C)
    latents: torch.Tensor  # (N, K, D)
    distance: torch.Tensor  # (N,), work that the last leg leaves
    idle: torch.Tensor  # (N,), of legs that change nothing
    several: torch.Tensor  # (N,), of legs that do the work of several
    failed: torch.Tensor  # (N,), of a first leg that was given up before
    prior: torch.Tensor  # (N,)

    @property
    def total(self) -> torch.Tensor:
        """Cost (N,), without the price of legs."""
        return self.distance + self.idle + self.several + self.failed + self.prior

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


@dataclass(frozen=True)
class LegPrefixes:
    """Legs (N, K, ...) before the last one, from a common start."""

    z: torch.Tensor  # (N, K, z_dim)
    codes: torch.Tensor  # (N, K, C)
    latents: torch.Tensor  # (N, K, D)

    def ends(self, start: torch.Tensor) -> torch.Tensor:
        """States (N, D) after these legs."""
        return self.states(start)[:, -1]

    def states(self, start: torch.Tensor) -> torch.Tensor:
        """States (N, K + 1, D) before, between and after these legs."""
        return torch.cat([start.expand(len(self.z), 1, -1), self.latents], dim=1)

    def chosen(self, rows: torch.Tensor) -> LegPrefixes:
        """Those in ``rows`` int64 (M,)."""
        return LegPrefixes(self.z[rows], self.codes[rows], self.latents[rows])


class LegPlanner:
    """Plans with the generator dt60 and the goal classifier; see the module.

    Weights are read at every call. A plan's last subgoal stands for the goal. ``strict`` judges
    the one leg that follows a plan which led elsewhere; None: ``classifier``, which misjudged it.
    """

    def __init__(
        self,
        vqvae: VQVAE,
        generator: SubgoalGenerator,
        shown: ShownLegs,
        classifier: GoalClassifier,
        config: LegPlannerConfig | None = None,
        single: SingleLegs | None = None,
        strict: GoalClassifier | None = None,
    ) -> None:
        use_fastest_layout(generator)
        self.vqvae = vqvae
        self.generator = generator
        self.shown = shown
        self.classifier = classifier
        self.config = config or LegPlannerConfig()
        self.single = single
        self.strict = strict or classifier

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
        work than a leg costs, nothing is searched, even if its first leg was given up; else
        searches begin with it too. Where the policy missed the goal, one leg was not enough,
        whatever it seems to leave: the new plan has two at least. Where an earlier plan was
        carried out and the goal is still far, one more leg is tried; a plan of several would undo
        what was done, and where no single leg does, the earlier plan stands.
        """
        began = time.perf_counter()
        config, device, size = self.config, self.vqvae.codebook.device, self.vqvae.latent.size
        start = check_latent(start, "start", size).to(device)
        goal = check_latent(goal, "goal", size).to(device)
        fewest = min(2, config.most_legs) if earlier is not None and earlier.missed else 1
        given_up = () if earlier is None else earlier.given_up
        failures = [check_latent(latent, "subgoal", size).to(device) for latent in given_up]
        problem = LegProblem(start, goal, torch.stack(failures) if failures else start[None][:0])
        if earlier is not None and earlier.doubted:
            strict = copy.copy(self)
            strict.classifier = self.strict
            return strict._one_more(problem, earlier, generator, on_iteration, cancelled, began)
        kept = earlier is not None and self._kept(problem, earlier)
        if kept and earlier.missed:
            return self._stay(problem, earlier, began)
        most = 1 if kept else config.most_legs
        rests = [] if fewest > 1 else self._rests(earlier, problem)[-most:]
        chosen = min(rests, key=self._cost, default=None)
        fits = chosen is not None and float(chosen.distance[0]) <= config.leg_price
        prefixes = self._no_legs(start)
        for subgoals in range(0 if fits else most):
            if chosen is not None and self._cost(chosen) <= config.leg_price * subgoals:
                break  # a further leg costs more than it can save
            stop_if(cancelled)
            if subgoals:
                prefixes = self._extend(problem, prefixes, generator)
            if subgoals + 1 < fewest:
                continue
            known = [rest.z for rest in rests if rest.latents.shape[1] == subgoals]
            found = self._search(problem, prefixes, generator, known, on_iteration, cancelled)
            if chosen is None or self._cost(found) < self._cost(chosen):
                chosen = found
        return self._plan(problem, chosen, began, earlier if kept else None)

    @torch.no_grad()
    def cost_of(self, start: torch.Tensor, goal: torch.Tensor, z: torch.Tensor) -> float:
        """Cost of a plan with latent actions ``z`` (legs, z_dim) between latents (D,)."""
        return self._cost(self._evaluate(LegProblem(start, goal, start[None][:0]), z[None]))

    def _kept(self, problem: LegProblem, earlier: Plan) -> bool:
        """Whether most of the work is gone since it began, so that nothing must be undone."""
        if earlier.began is None:
            return False
        states = torch.stack([earlier.began.to(problem.start), problem.start])
        before, left = self.classifier.work_left(states, problem.goal.expand_as(states)).tolist()
        return left <= self.config.kept_within and before - left >= self.config.progress_kept

    def _stay(self, problem: LegProblem, earlier: Plan, began: float) -> Plan:
        """The present state as a plan: the arm rests until that is doubted."""
        codes, latents = self.vqvae.quantise(problem.start[None])
        left = float(self.classifier.work_left(problem.start[None], problem.goal[None])[0])
        return dataclasses.replace(
            earlier,
            codes=codes.cpu(),
            latents=latents.cpu(),
            cost=left,
            costs={"distance": left, "value": 0.0, "prior": 0.0, "level_0": left},
            seconds=time.perf_counter() - began,
            z=(),
            missed=False,
        )

    def _one_more(
        self, problem: LegProblem, earlier: Plan, generator, on_iteration, cancelled, began: float
    ) -> Plan:
        """One leg that reaches the goal and costs less than the work left; else ``earlier``."""
        prefixes = self._no_legs(problem.start)
        found = self._search(problem, prefixes, generator, [], on_iteration, cancelled)
        left = float(self.classifier.work_left(problem.start[None], problem.goal[None])[0])
        reaches = float(found.distance[0]) <= self.config.imagined_within
        if not reaches or self._cost(found) >= left:
            return dataclasses.replace(earlier, doubted=False, seconds=time.perf_counter() - began)
        return self._plan(problem, found, began, earlier)

    def _plan(
        self, problem: LegProblem, chosen: LegCandidates, began: float, kept: Plan | None
    ) -> Plan:
        """The best of ``chosen`` as a plan, which goes on with what ``kept`` began."""
        config, cost = self.config, self._cost(chosen)
        codes, latents = self._last_subgoal(problem, chosen)
        return Plan(
            codes=torch.cat([chosen.codes[0], codes]).cpu(),
            latents=torch.cat([chosen.latents[0], latents]).cpu(),
            cost=cost,
            costs={
                "distance": float(chosen.distance[0]),
                "value": float(chosen.idle[0] + chosen.several[0] + chosen.failed[0])
                + config.leg_price * chosen.latents.shape[1],
                "prior": float(chosen.prior[0]),
                "level_0": cost,
            },
            seconds=time.perf_counter() - began,
            z=(chosen.z[:1].cpu(),),
            began=problem.start.cpu() if kept is None else kept.began,
        )

    def _last_subgoal(
        self, problem: LegProblem, chosen: LegCandidates
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Code (1, C) and latent (1, D): the end of the last leg, or the goal; see the module."""
        within = self.config.imagined_within
        if not within or float(chosen.distance[0]) > within:
            return self.vqvae.quantise(problem.goal[None])
        before = torch.cat([problem.start[None], chosen.latents[0]])[-1:]
        return self.vqvae.quantise(self.generator(chosen.z[:1, -1], before))

    def _cost(self, found: LegCandidates) -> float:
        """Cost of the best candidate, with the price of its legs after the first."""
        return float(found.total[0]) + self.config.leg_price * found.latents.shape[1]

    def _rests(self, earlier: Plan | None, problem: LegProblem) -> list[LegCandidates]:
        """An earlier plan from ``start``: whole, without its first leg, and so on."""
        if earlier is None or not earlier.z:
            return []
        z = earlier.z[0].to(problem.start)
        return [self._evaluate(problem, z[:, n:]) for n in range(z.shape[1])]

    def _no_legs(self, start: torch.Tensor) -> LegPrefixes:
        """The one prefix of a plan of one leg."""
        codes = torch.zeros((1, 0, self.vqvae.latent.codes), dtype=torch.long)
        z = start.new_zeros((1, 0, self.generator.z_dim))
        return LegPrefixes(z, codes.to(start.device), start.new_zeros((1, 0, start.numel())))

    def _extend(self, problem: LegProblem, prefixes: LegPrefixes, rng) -> LegPrefixes:
        """The most promising prefixes, each with further shown legs: ``samples`` in all."""
        start = problem.start
        parents = prefixes.chosen(self._promising(problem, prefixes, rng))
        each = -(-self.config.samples // len(parents.z))
        z = self.shown.draw((len(parents.z), each), rng)[:, :, None].to(start)
        codes, latents = unroll(self.generator, self.vqvae, parents.ends(start), z)
        own = parents.chosen(torch.arange(len(parents.z)).repeat_interleave(each))
        longer = (
            torch.cat([before, after.flatten(0, 1).to(before.device)], dim=1)
            for before, after in ((own.z, z), (own.codes, codes), (own.latents, latents))
        )
        return LegPrefixes(*longer)

    def _promising(self, problem: LegProblem, prefixes: LegPrefixes, rng) -> torch.Tensor:
        """Rows of up to ``beam`` prefixes whose last leg changes one thing.

        Where there is none, any.
        """
        start, goal = problem.start, problem.goal
        config, count = self.config, len(prefixes.z)
        if not prefixes.z.shape[1]:
            return torch.arange(count)
        before, ends = prefixes.states(start)[:, -2:].unbind(1)
        pairs = zip(before.split(AT_ONCE), ends.split(AT_ONCE))
        same = torch.cat([self.classifier(*pair) for pair in pairs])
        useful = same < 0
        if self.single is not None and self.config.single_weight:
            pairs = zip(before.split(AT_ONCE), ends.split(AT_ONCE))
            useful &= torch.cat([self.single(*pair) for pair in pairs]) > SEVERAL
        rows = useful.nonzero()[:, 0]
        if not len(rows):
            rows = torch.arange(count, device=start.device)
        ends = ends[rows]
        parts = ends.split(AT_ONCE)
        left = torch.cat([self.classifier.work_left(p, goal.expand_as(p)) for p in parts])
        near = truncated_distance(ends - goal, self.vqvae.latent.channels, config.cell_cap)
        share = -(-config.beam // 3)
        by_chance = torch.randperm(len(rows), generator=rng).to(rows.device)
        kinds = (near.argsort(stable=True), left.argsort(stable=True), by_chance)
        best = torch.cat([order[:share] for order in kinds]).unique()
        return rows[best]

    def _search(
        self, problem: LegProblem, prefixes, rng, known, on_iteration, cancelled
    ) -> LegCandidates:
        """Candidates that begin with these prefixes, or with what is near the best, best first.

        ``known``: latent actions (1, subgoals + 1, z_dim) that the search begins with, beside
        shown ones.
        """
        config = self.config
        subgoals = prefixes.z.shape[1]
        best = None
        for number in range(len(config.sigmas) + 1):
            stop_if(cancelled)
            if best is None:
                found = self._first_round(problem, prefixes, rng)
                for z in known:
                    found = found.joined(self._evaluate(problem, z.to(problem.start)))
                best = found.best(config.elites)
            else:
                around = max(1, config.samples // len(best.z))
                noise = torch.randn((len(best.z), around, *best.z.shape[1:]), generator=rng)
                z = best.z.cpu()[:, None] + config.sigmas[number - 1] * noise
                found = self._evaluate(problem, z.flatten(0, 1).to(problem.start))
                best = best.joined(found).best(config.elites)
            if on_iteration is not None:
                rounds, least = len(config.sigmas) + 1, self._cost(best)
                on_iteration(PlanFeedback(subgoals, config.most_legs, number, rounds, least))
        return best

    def _first_round(self, problem: LegProblem, prefixes: LegPrefixes, rng) -> LegCandidates:
        """Each prefix with the best of several last legs."""
        config, start, goal = self.config, problem.start, problem.goal
        count, tries = len(prefixes.z), config.last_legs
        if not prefixes.z.shape[1]:
            tries = config.samples
        ends = prefixes.ends(start)
        mean = self.generator.encode(ends, goal.expand_as(ends))[0][:, None]
        near = (tries - 1) // 2
        noise = torch.randn((count, near, mean.shape[2]), generator=rng).to(start)
        drawn = self.shown.draw((count, tries - 1 - near), rng).to(start)
        lasts = torch.cat([mean, mean + config.last_sigma * noise, drawn], dim=1)
        pairs = ends.repeat_interleave(tries, 0), lasts.flatten(0, 1)
        left = self.work_left(*pairs, goal).view(count, tries)
        best = (left + config.prior_weight * lasts.square().sum(2)).argmin(1)
        row = torch.arange(count)
        z = torch.cat([prefixes.z, lasts[row, best][:, None]], dim=1)
        return self._judge(problem, z, prefixes.codes, prefixes.latents, left[row, best])

    def _evaluate(self, problem: LegProblem, z: torch.Tensor) -> LegCandidates:
        """Unroll latent actions (N, K + 1, z_dim) and judge the legs."""
        start, goal = problem.start, problem.goal
        codes, latents = self._unroll(start, z[:, :-1])
        ends = torch.cat([start.expand(len(z), 1, -1), latents], dim=1)[:, -1]
        return self._judge(problem, z, codes, latents, self.work_left(ends, z[:, -1], goal))

    def _unroll(self, start: torch.Tensor, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes (N, K, C) and latents (N, K, D) that latent actions (N, K, z_dim) lead to."""
        count, subgoals = z.shape[:2]
        if subgoals:
            codes, latents = unroll(self.generator, self.vqvae, start[None], z[None])
            return codes[0].to(start.device), latents[0]
        codes = torch.zeros((count, 0, self.vqvae.latent.codes), dtype=torch.long)
        return codes.to(start.device), start.new_zeros((count, 0, start.numel()))

    def _judge(self, problem: LegProblem, z, codes, latents, distance) -> LegCandidates:
        """Candidates with all terms of their cost, the cheapest ``elites`` at least.

        Legs that change nothing or several things, and a first leg that failed, only add to the
        cost. So the cheapest candidates are asked first, and those that cost more without these
        terms than enough others do with them are left out.
        """
        config = self.config
        prior = config.prior_weight * z.square().sum((1, 2))
        others = (torch.zeros_like(distance) for _ in range(3))
        found = LegCandidates(z, codes, latents, distance, *others, prior).best(len(z))
        known = distance[:0]
        for first in range(0, len(z), AT_ONCE // 4):
            if (known <= found.total[first]).sum() >= config.elites:
                return found.first(first)
            part = slice(first, first + AT_ONCE // 4)
            some = found.z[part], found.latents[part]
            found.idle[part] = config.change_weight * self._idle(problem, some[1])
            found.several[part] = self._several(problem, *some)
            found.failed[part] = self._failed(problem, *some)
            known = torch.cat([known, found.total[part]])
        return found

    def _idle(self, problem: LegProblem, latents: torch.Tensor) -> torch.Tensor:
        """Sum (N,) of -log P(the leg changes something) over the subgoals (N, K, D)."""
        if not latents.shape[1]:
            return latents.new_zeros(len(latents))
        start = problem.start.expand(len(latents), 1, -1)
        before = torch.cat([start, latents], dim=1)[:, :-1]
        same = self.classifier(before.flatten(0, 1), latents.flatten(0, 1))
        return functional.softplus(same).view(latents.shape[:2]).sum(1)

    def _several(self, problem: LegProblem, z, latents: torch.Tensor) -> torch.Tensor:
        """What it costs (N,) that legs, the last one too, do the work of several."""
        if self.single is None or not self.config.single_weight:
            return torch.zeros_like(z[:, 0, 0])
        states = torch.cat([problem.start.expand(len(z), 1, -1), latents], dim=1)
        ends = self.vqvae.quantise(self.generator(z[:, -1], states[:, -1]))[1]
        ends = torch.cat([latents, ends[:, None]], dim=1)
        pairs = states.flatten(0, 1), ends.flatten(0, 1)
        cost = self.single.cost(*pairs, self.config.single_margin)
        return self.config.single_weight * cost.view(z.shape[:2]).sum(1)

    def _failed(self, problem: LegProblem, z, latents: torch.Tensor) -> torch.Tensor:
        """What the first leg costs (N,): a price for each time that its work was given up."""
        cost = torch.zeros_like(z[:, 0, 0])
        if not len(problem.given_up):
            return cost
        if latents.shape[1]:
            ends = latents[:, 0]
        else:
            ends = self.generator(z[:, 0], problem.start.expand(len(z), -1))
            ends = self.vqvae.quantise(ends)[1]
        for target in problem.given_up:
            cost += self.classifier.probability(ends, target.expand_as(ends))
        return self.config.failure_price * cost

    def work_left(self, states: torch.Tensor, z: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
        """Work (B,) left to the goal (D,) after a leg z (B, z_dim) from states (B, D)."""
        left = []
        for part, states_part in zip(z.split(AT_ONCE), states.split(AT_ONCE)):
            ends = self.vqvae.quantise(self.generator(part, states_part))[1]
            left.append(self.classifier.work_left(ends, goal.expand_as(ends)))
        return torch.cat(left)


def truncated_distance(apart: torch.Tensor, channels: int, cap: float) -> torch.Tensor:
    """Squared L2 norm (B,) of differences (B, D), to which a cell adds ``cap`` at most.

    So the arm, which is not where the goal image has it, counts for the cells that it covers, and
    not for how much it differs there.
    """
    cells = apart.view(len(apart), channels, -1).square().sum(1)
    return cells.clamp(max=cap).sum(1)
