# SPDX-License-Identifier: Apache-2.0
"""The planner of legs: how many it takes, what it charges, and that a seed gives one plan."""

import dataclasses

import pytest
import torch

from ptp_core.config import LegPlannerConfig
from ptp_core.errors import ConfigError, InputError, PlanCancelled
from ptp_core.planners.leg_planner import (
    LegPlanner,
    LegPrefixes,
    LegProblem,
    truncated_distance,
)
from ptp_core.planners.planner import Plan
from ptp_core.tiny_networks import LATENT, rng, tiny_networks

CONFIG = LegPlannerConfig(
    samples=12,
    elites=3,
    sigmas=(0.5, 0.2),
    most_legs=3,
    leg_price=0.1,
    imagined_within=0.0,
)


@pytest.fixture
def checkpoint():
    return tiny_networks(diffusion=True)


@pytest.fixture
def pair(checkpoint):
    codes = torch.randint(32, (2, LATENT.codes), generator=rng(3))
    return checkpoint.vqvae.lookup(codes)


def planner(checkpoint, bias=None, **changes):
    """``bias``: of the classifier's answer, whether two states show the same work."""
    classifier = checkpoint.part("classifier")
    if bias is not None:
        classifier.body[-1].bias.fill_(bias)
    config = dataclasses.replace(CONFIG, **changes)
    parts = checkpoint.generators["dt60"], checkpoint.part("shown_legs"), classifier
    return LegPlanner(checkpoint.vqvae, *parts, config)


def problem(start, goal, *given_up):
    failures = torch.stack(given_up) if given_up else start[None][:0]
    return LegProblem(start, goal, failures)


def test_a_goal_that_one_leg_reaches_is_pursued_itself(checkpoint, pair):
    plan = planner(checkpoint, bias=30.0).plan(*pair, rng())
    assert plan.latents.shape == (1, LATENT.size)
    assert torch.equal(plan.latents[0], pair[1])
    assert plan.costs["distance"] == pytest.approx(0.0, abs=1e-6)
    assert plan.cost == pytest.approx(plan.costs["prior"], abs=1e-6)


def test_a_found_plan_costs_what_its_latent_actions_cost(checkpoint, pair):
    made = planner(checkpoint)
    plan = made.plan(*pair, rng())
    assert made.cost_of(*pair, plan.z[0][0]) == pytest.approx(plan.cost, rel=1e-5)


def prefixes(made, start, goal, subgoals, generator):
    """Prefixes of so many legs, as a plan grows them."""
    found = made._no_legs(start)
    for _ in range(subgoals):
        found = made._extend(problem(start, goal), found, generator)
    return found


def search(made, start, goal, subgoals, generator, known=()):
    with torch.no_grad():
        grown = prefixes(made, start, goal, subgoals, generator)
        return made._search(problem(start, goal), grown, generator, known, None, None)


class Priced(LegPlanner):
    """A planner whose searches with 0, 1, 2 subgoals end at the given distances."""

    distances = ()

    def _search(self, problem, prefixes, *others):
        found = super()._search(problem, prefixes, *others)
        distance = self.distances[prefixes.z.shape[1]]
        return dataclasses.replace(found, distance=torch.full((1,), distance))


@pytest.mark.parametrize(
    ("distances", "legs"),
    [((0.0, 0.0, 0.0), 1), ((5.0, 0.0, 0.0), 2), ((5.0, 4.95, 0.0), 3), ((5.0, 4.95, 4.9), 1)],
)
def test_legs_are_added_while_they_save_more_than_they_cost(checkpoint, pair, distances, legs):
    parts = [checkpoint.generators["dt60"]]
    parts += [checkpoint.part(name) for name in ("shown_legs", "classifier")]
    config = dataclasses.replace(CONFIG, change_weight=0.0, prior_weight=0.0, elites=1)
    made = Priced(checkpoint.vqvae, *parts, config)
    made.distances = distances
    plan = made.plan(*pair, rng())
    assert len(plan.latents) == legs
    assert plan.cost == pytest.approx(distances[legs - 1] + config.leg_price * (legs - 1))


def test_a_plan_ends_with_the_goal_and_subgoals_are_their_codes(checkpoint, pair):
    found = search(planner(checkpoint), *pair, 2, rng())
    assert found.latents.shape == (3, 2, LATENT.size)
    assert torch.equal(checkpoint.vqvae.lookup(found.codes), found.latents)
    plan = planner(checkpoint).plan(*pair, rng())
    assert torch.equal(plan.latents[-1], pair[1]) and len(plan.codes) == len(plan.latents)


def test_the_last_subgoal_is_the_imagined_end_where_that_leaves_little_work(checkpoint, pair):
    made = planner(checkpoint, bias=30.0, imagined_within=0.35)
    plan = made.plan(*pair, rng())
    assert len(plan.latents) == 1 and not torch.equal(plan.latents[0], pair[1])
    with torch.no_grad():
        end = checkpoint.generators["dt60"](plan.z[0][:, -1], pair[:1])
    codes, latents = checkpoint.vqvae.quantise(end)
    assert torch.equal(plan.codes, codes) and torch.equal(plan.latents, latents)

    far = planner(checkpoint, bias=-30.0, imagined_within=0.35).plan(*pair, rng())
    assert torch.equal(far.latents[-1], pair[1])  # no leg does the work


def test_a_first_leg_costs_more_for_each_time_that_it_was_given_up(checkpoint, pair):
    made = planner(checkpoint, failure_price=0.5)
    z = torch.randn(3, 2, checkpoint.generators["dt60"].z_dim, generator=rng())
    for legs in (z, z[:, 1:]):  # with one subgoal, and straight to the goal
        fresh = made._evaluate(problem(*pair), legs)
        with torch.no_grad():
            ends = made.vqvae.quantise(made.generator(fresh.z[:, 0], pair[:1].expand(3, -1)))[1]
            same = made.classifier.probability(ends, ends[:1].expand(3, -1))
        once = made._evaluate(problem(*pair, ends[0]), fresh.z)
        twice = made._evaluate(problem(*pair, ends[0], ends[0]), fresh.z)
        order = [fresh.z.tolist().index(one) for one in once.z.tolist()]
        torch.testing.assert_close(once.failed, 0.5 * same[order])
        torch.testing.assert_close(twice.failed.sort()[0], (1.0 * same).sort()[0])
        assert (fresh.failed == 0).all()


def test_an_earlier_plan_that_leaves_little_work_is_tried_again_when_its_leg_was_given_up(
    checkpoint, pair
):
    told = []
    made = planner(checkpoint, bias=30.0, failure_price=0.5)
    first = made.plan(*pair, rng())
    failed = dataclasses.replace(first, given_up=(first.latents[0],))
    again = made.plan(*pair, rng(), on_iteration=told.append, earlier=failed)
    assert not told and torch.equal(again.z[0], first.z[0])


def test_the_cost_is_the_sum_of_its_terms(checkpoint, pair):
    made = planner(checkpoint)
    plan = made.plan(*pair, rng())
    terms = sum(plan.costs[name] for name in ("distance", "value", "prior"))
    assert plan.cost == pytest.approx(terms, rel=1e-5)
    last = plan.latents[-2] if len(plan.latents) > 1 else pair[0]
    left = float(made.work_left(last[None], plan.z[0][:, -1], pair[1])[0])
    assert plan.costs["distance"] == pytest.approx(left, rel=1e-4)


def test_work_left_is_judged_at_the_end_of_the_last_leg(checkpoint, pair):
    made, generator = planner(checkpoint), checkpoint.generators["dt60"]
    z = torch.randn(300, generator.z_dim, generator=rng())
    starts = pair[:1].expand(300, -1)
    with torch.no_grad():
        ends = checkpoint.vqvae.quantise(generator(z, starts))[1]
        expected = checkpoint.part("classifier").work_left(ends, pair[1].expand(300, -1))
        torch.testing.assert_close(made.work_left(starts, z, pair[1]), expected)


def test_last_legs_are_inferred_near_that_and_shown(checkpoint, pair):
    """A single try is what the encoder infers; of several the best is kept."""
    made, generator = planner(checkpoint, last_legs=1, sigmas=()), checkpoint.generators["dt60"]
    one = search(made, *pair, 1, rng())
    with torch.no_grad():
        mean = generator.encode(one.latents[:, -1], pair[1:].expand(len(one.z), -1))[0]
    torch.testing.assert_close(one.z[:, -1], mean)
    several = search(planner(checkpoint, last_legs=9, sigmas=()), *pair, 1, rng())
    assert float(several.total[0]) <= float(one.total[0])
    shown = checkpoint.part("shown_legs").z
    direct = search(planner(checkpoint, samples=40, sigmas=()), *pair, 0, rng())
    with torch.no_grad():
        found = made._first_round(problem(*pair), made._no_legs(pair[0]), rng())
    assert len(direct.z) == len(found.z) == 1
    tried = planner(checkpoint, samples=400, sigmas=(), prior_weight=0.0)
    best = float(search(tried, *pair, 0, rng()).distance[0])
    left = tried.work_left(pair[:1].expand(len(shown), -1), shown, pair[1])
    assert best <= float(left.min()) + 1e-6  # 200 draws from 20 shown ones miss none here


def test_a_leg_that_changes_nothing_costs_more(checkpoint, pair):
    """With the same draws, a classifier that sees the same work everywhere adds to every leg."""
    start, goal = pair
    z = torch.randn(5, 3, checkpoint.generators["dt60"].z_dim, generator=rng())
    made = planner(checkpoint, bias=-3.0)
    changed = made._evaluate(problem(start, goal), z).idle
    idle = planner(checkpoint, bias=3.0)._evaluate(problem(start, goal), z).idle
    assert (idle > changed).all() and (changed >= 0).all()


def test_leaving_out_dear_candidates_changes_no_search(checkpoint, pair):
    start, goal = pair
    made = planner(checkpoint, bias=0.0, elites=5, change_weight=0.05)
    z = torch.randn(400, 3, checkpoint.generators["dt60"].z_dim, generator=rng())
    found = made._evaluate(problem(start, goal), z)
    assert 5 <= len(found.z) < 400
    parts = [made._evaluate(problem(start, goal), part) for part in z.split(5)]  # asks all of them
    every = torch.cat([part.total for part in parts])
    torch.testing.assert_close(found.best(5).total, every.sort()[0][:5])


def test_an_earlier_plan_that_still_leads_to_the_goal_is_gone_on_with(checkpoint, pair):
    """The rest of it is as good as its first leg; nothing is searched."""
    start, goal = pair
    found = search(planner(checkpoint), start, goal, 2, rng()).best(1)
    earlier = Plan(found.codes[0], found.latents[0], 0.0, {}, 0.0, (found.z,))
    told = []
    made = planner(checkpoint, bias=30.0)
    plan = made.plan(start, goal, rng(), on_iteration=told.append, earlier=earlier)
    assert not told and len(plan.latents) == 1  # one leg is enough: the cheapest rest

    made = planner(checkpoint, bias=-30.0)
    plan = made.plan(start, goal, rng(), on_iteration=told.append, earlier=earlier)
    assert told  # nothing leads to the goal
    rest = made._evaluate(problem(found.latents[0, 0], goal), found.z[:, 1:])
    known = [found.z[:, 1:]]
    searched = search(made, found.latents[0, 0], goal, 1, rng(), known)
    assert float(searched.total[0]) <= float(rest.total[0]) + 1e-5


def test_a_goal_that_was_missed_takes_more_than_one_leg(checkpoint, pair):
    """However good one leg looks: it was tried."""
    made = planner(checkpoint, bias=30.0)
    first = made.plan(*pair, rng())
    assert len(first.latents) == 1
    again = made.plan(*pair, rng(), earlier=dataclasses.replace(first, missed=True))
    assert len(again.latents) == 2
    only = planner(checkpoint, bias=30.0, most_legs=1)
    assert len(only.plan(*pair, rng(), earlier=dataclasses.replace(first, missed=True)).z[0]) == 1


def test_a_plan_whose_end_is_doubted_is_gone_on_with_by_one_leg_or_stands(checkpoint, pair):
    parts = [checkpoint.generators["dt60"]]
    parts += [checkpoint.part(name) for name in ("shown_legs", "classifier")]
    made = Priced(checkpoint.vqvae, *parts, dataclasses.replace(CONFIG, imagined_within=0.35))
    made.distances = (0.3, 0.0, 0.0)
    found = search(planner(checkpoint), *pair, 1, rng())
    earlier = Plan(found.codes[0], found.latents[0], 0.0, {}, 0.0, (found.z,), doubted=True)
    one = made.plan(*pair, rng(), earlier=earlier)
    assert earlier.z[0].shape[1] == 2 and one.z[0].shape[1] == 1
    made.distances = (0.4, 0.0, 0.0)  # two legs would reach the goal
    stands = made.plan(*pair, rng(), earlier=earlier)
    assert stands.z is earlier.z and not stands.doubted
    made.distances = (0.3, 0.0, 0.0)
    made.classifier.body[-1].bias.fill_(30.0)  # less is left than the leg costs
    assert made.plan(*pair, rng(), earlier=earlier).z is earlier.z


def test_most_of_the_work_once_done_is_not_undone(checkpoint, pair):
    """Then the arm stays where the last leg was missed, and else takes one leg, no more."""
    goal, parts = pair[1], [checkpoint.generators["dt60"]]
    parts += [checkpoint.part(name) for name in ("shown_legs", "classifier")]
    codes = torch.randint(32, (20, LATENT.codes), generator=rng(5))
    states = checkpoint.vqvae.lookup(codes)
    with torch.no_grad():
        left = parts[-1].work_left(states, goal.expand_as(states))
    began, start = states[left.argmax()], states[left.argmin()]
    gained = float(left.max() - left.min())
    config = dataclasses.replace(CONFIG, progress_kept=0.9 * gained, kept_within=100.0)
    made = Priced(checkpoint.vqvae, *parts, config)
    made.distances = (5.0, 0.0, 0.0)  # two legs would do, one would not
    first = made.plan(began, goal, rng())
    assert torch.equal(first.began, began) and len(first.latents) == 2

    missed = dataclasses.replace(first, missed=True)
    stays = made.plan(start, goal, rng(), earlier=missed)
    assert torch.equal(stays.latents, start[None]) and not stays.missed
    assert torch.equal(checkpoint.vqvae.lookup(stays.codes), stays.latents)
    assert stays.cost == stays.costs["distance"] == pytest.approx(float(left.min()), rel=1e-4)
    one = made.plan(start, goal, rng(), earlier=first)
    assert len(one.latents) == 1
    assert torch.equal(stays.began, began) and torch.equal(one.began, began)
    assert len(made.plan(start, goal, rng(), earlier=stays).latents) == 1

    assert len(made.plan(began, goal, rng(), earlier=missed).latents) == 2  # nothing was gained
    for changes in ({"progress_kept": 1.1 * gained}, {"kept_within": 0.0}):
        made.config = dataclasses.replace(config, **changes)
        assert len(made.plan(start, goal, rng(), earlier=missed).latents) == 2


def test_a_search_starts_from_latent_actions_that_were_shown(checkpoint, pair):
    shown = checkpoint.part("shown_legs").z
    found = search(planner(checkpoint, sigmas=()), *pair, 2, rng())
    apart = (found.z[:, :2, None] - shown).abs().amax(-1)
    assert (apart.amin(-1) == 0).all() and len(shown) == 20


def test_prefixes_grow_from_the_most_promising_ones(checkpoint, pair):
    """Every longer prefix begins with one that was there; ``samples`` of them, of ``beam``."""
    start, goal = pair
    made = planner(checkpoint, bias=-30.0, samples=60, beam=9)  # every leg changes something
    with torch.no_grad():
        one = prefixes(made, start, goal, 1, rng())
        two = made._extend(problem(start, goal), one, rng(1))
        rows = made._promising(problem(start, goal), one, rng(1))
    assert len(one.z) == 60 and len(two.z) >= 60 and len(rows) <= 9
    parents = {tuple(z.tolist()) for z in one.z[rows, 0]}
    assert {tuple(z.tolist()) for z in two.z[:, 0]} == parents
    near = truncated_distance(one.ends(start) - goal, LATENT.channels, made.config.cell_cap)
    left = made.classifier.work_left(one.ends(start), goal.expand(60, -1))
    for measure in (near, left):
        best = set(measure.argsort(stable=True)[:3].tolist())
        assert best <= set(rows.tolist())


def test_prefixes_whose_last_leg_changes_nothing_are_not_continued(checkpoint, pair):
    start, goal = pair
    made = planner(checkpoint, beam=9)
    codes = torch.randint(32, (60, 1, LATENT.codes), generator=rng(5))
    ends = checkpoint.vqvae.lookup(codes[:, 0])
    made_up = LegPrefixes(torch.zeros(60, 1, 8), codes, ends[:, None])
    with torch.no_grad():
        same = made.classifier(start.expand(60, -1), ends)
        made.classifier.body[-1].bias -= same.median()  # half of them change something
        rows = made._promising(problem(start, goal), made_up, rng())
        assert 0 < len(rows) <= 9 and (same[rows] < same.median() + 1e-5).all()
        assert (same > same.median() + 1e-4).any()
        made.classifier.body[-1].bias += 30.0  # none does: they are all that there is
        assert len(made._promising(problem(start, goal), made_up, rng())) > 0


class EverySecond(torch.nn.Module):
    """Says of every second leg that one demonstration does its work; tiny ends are all alike."""

    def forward(self, before, after):
        return torch.where(torch.arange(len(after)) % 2 == 0, 9.0, -9.0)

    def cost(self, before, after, margin):
        self.asked = before, after
        return torch.nn.functional.softplus(margin - self(before, after))


def test_a_leg_that_does_the_work_of_several_costs_more_and_is_not_continued(checkpoint, pair):
    start, goal = pair
    made = planner(checkpoint, bias=-30.0, beam=9, single_weight=0.5, single_margin=3.0)
    made.single = EverySecond()
    z = torch.randn(6, 3, checkpoint.generators["dt60"].z_dim, generator=rng())
    with torch.no_grad():
        found = made._evaluate(problem(start, goal), z)
        before, after = (each.view(6, 3, -1) for each in made.single.asked)
        torch.testing.assert_close(before[:, 0], start.expand(6, -1))
        torch.testing.assert_close(before[:, 1:], found.latents)
        torch.testing.assert_close(after[:, :2], found.latents)
        last = made.vqvae.quantise(made.generator(found.z[:, -1], found.latents[:, -1]))[1]
        torch.testing.assert_close(after[:, 2], last)
        costs = made.single.cost(*made.single.asked, 3.0).view(6, 3)
        torch.testing.assert_close(found.several, 0.5 * costs.sum(1))
        one = prefixes(made, start, goal, 1, rng())
        rows = made._promising(problem(start, goal), one, rng(1))
        assert len(rows) > 0 and (rows % 2 == 0).all()
        made.config = dataclasses.replace(made.config, single_weight=0.0)
        assert (made._evaluate(problem(start, goal), z).several == 0).all()


def test_a_cell_adds_its_cap_at_most():
    apart = torch.zeros(2, LATENT.size)
    cells = LATENT.size // LATENT.channels
    apart[0, :2] = 3.0  # of channel 0, cells 0 and 1
    apart[1, [0, cells]] = 0.1  # of cell 0, channels 0 and 1
    found = truncated_distance(apart, LATENT.channels, 0.3)
    torch.testing.assert_close(found, torch.tensor([0.6, 0.02]))


def test_a_seed_gives_one_search(checkpoint, pair):
    made = planner(checkpoint)
    found = [search(made, *pair, 2, rng(seed)) for seed in (1, 1, 2)]
    assert torch.equal(found[0].z, found[1].z) and torch.equal(found[0].codes, found[1].codes)
    assert not torch.equal(found[0].z, found[2].z)


def test_more_rounds_never_end_with_a_dearer_candidate(checkpoint, pair):
    costs = []
    for sigmas in ((), (0.5,), (0.5, 0.2)):
        made = planner(checkpoint, sigmas=sigmas, samples=60, prior_weight=1.0)
        costs.append(float(search(made, *pair, 1, rng()).total[0]))
    assert costs == sorted(costs, reverse=True) and costs[0] > costs[-1]


def test_progress_is_told_and_a_search_can_be_stopped(checkpoint, pair):
    told = []
    made = planner(checkpoint, bias=-30.0)
    made.plan(*pair, rng(), on_iteration=told.append)
    assert told[0].level == 0
    assert all(0 < feedback.fraction <= 1 for feedback in told)
    with pytest.raises(PlanCancelled):
        made.plan(*pair, rng(), cancelled=lambda: True)


def test_bad_input_is_refused(checkpoint, pair):
    made = planner(checkpoint)
    with pytest.raises(InputError, match="goal latent has shape"):
        made.plan(pair[0], pair[1][:5], rng())
    with pytest.raises(ConfigError, match="most_legs is 0"):
        LegPlannerConfig(most_legs=0)
