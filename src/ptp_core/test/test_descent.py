# SPDX-License-Identifier: Apache-2.0
"""Descent on latent actions: its gradient, what it finds, what it hears and heeds."""

import copy

import pytest
import torch

from ptp_core.config import PlannerConfig, SubgoalGeneratorConfig, from_dict, to_dict
from ptp_core.errors import ConfigError, PlanCancelled
from ptp_core.planners.costs import plan_cost
from ptp_core.planners.descent import CostGradient, Descent
from ptp_core.planners.hierarchical_planner import HierarchicalPlanner
from ptp_core.planners.plan_buffer import PlanBuffer
from ptp_core.planners.subgoal_generator import GeneratorHierarchy
from ptp_core.tiny_networks import LATENT, distance_value, rng, tiny_vqvae

STAGES = {"search": "descent", "elites": (6, 3), "elite_steps": (4, 8)}
TINY = PlannerConfig(samples=12, **STAGES)


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    config = SubgoalGeneratorConfig(hidden_channels=4, hidden_units=32)
    generators = GeneratorHierarchy(config, LATENT).requires_grad_(False)
    for parameter in generators.parameters():
        parameter.mul_(3)  # so that predictions depend on z
    return tiny_vqvae(), generators


@pytest.fixture(scope="module")
def pair(networks):
    return networks[0].lookup(torch.randint(32, (2, 144), generator=rng(2)))


def add_z(start, z):
    """A generator whose best plan is known: every prediction adds z to the state."""
    latents = start[:, None, None] + z.cumsum(2)
    return latents.round().long(), latents


def toy_search(**settings):
    config = PlannerConfig(**{**STAGES, "value_weight": 0.0, **settings})

    def cost(start, goal, latents, z):
        return plan_cost(start, goal, latents, z, distance_value, config)

    def cost_gradient(start, goal, z):
        with torch.enable_grad():
            z = z.detach().requires_grad_(True)
            codes, latents = add_z(start, z)
            costs = cost(start, goal, latents, z)
            (gradient,) = torch.autograd.grad(costs.total.sum(), z)
        return codes, latents.detach(), costs.map(torch.Tensor.detach), gradient

    return Descent(add_z, cost, cost_gradient, config)


def test_descent_finds_the_known_optimum_with_few_samples():
    start, goal = torch.zeros(1, 2), torch.tensor([[1.6, -1.2]])
    search = toy_search(samples=8, elites=(4,), elite_steps=(60,))
    found = search.solve(start, goal, (2, 2), [rng()])
    assert torch.allclose(found.latents[0, -1], goal[0], atol=0.1)
    # Two equal steps have the least ||z||^2 of all that arrive.
    least = 0.01 * 2 * float((goal / 2).square().sum())
    assert least <= float(found.costs.total) < least + 0.1


def test_from_earlier_plans_fewer_steps_reach_as_far():
    start, goal = torch.zeros(1, 2), torch.tensor([[1.6, -1.2]])
    cold = {"samples": 8, "elites": (4,), "elite_steps": (60,), "buffer_minimum": 4}
    warm = {"warm_elites": (2,), "warm_steps": (6,), "prior_only_probability": 0.0}
    search, heard = toy_search(**cold, **warm), []
    buffer = PlanBuffer(10, 2, 2)
    for seed in range(4):
        from_nothing = search.solve(start, goal, (2, 2), [rng(seed)], buffer=buffer)
        buffer.append(from_nothing.z[0])
    found = search.solve(
        start,
        goal,
        (2, 2),
        [rng(9)],
        buffer=buffer,
        on_iteration=lambda index, terms: heard.append(index),
    )
    assert len(heard) == 1 + 6 + 1
    assert float(found.costs.total) < float(from_nothing.costs.total) + 0.01
    few = toy_search(**cold | {"elites": (2,), "elite_steps": (6,)})
    assert few.solve(start, goal, (2, 2), [rng(9)]).costs.total > found.costs.total + 0.05


def test_a_batch_of_segments_equals_the_segments_one_by_one():
    starts = torch.randn(3, 2, generator=rng(5))
    goals = torch.randn(3, 2, generator=rng(6))
    search = toy_search(samples=16)
    together = search.solve(starts, goals, (2, 2), [rng(seed) for seed in range(3)])
    for index in range(3):
        row = slice(index, index + 1)
        alone = search.solve(starts[row], goals[row], (2, 2), [rng(index)])
        assert torch.allclose(alone.z, together.z[row], atol=1e-6)


def test_every_round_is_heard_and_the_best_of_all_is_kept():
    rounds = []
    found = toy_search(samples=8, step_size=3.0).solve(  # leaps that make some candidates worse
        torch.zeros(1, 2),
        torch.tensor([[0.3, 0.3]]),
        (2, 2),
        [rng(3)],
        on_iteration=lambda index, terms: rounds.append((index, float(terms.total))),
    )
    indices, best = zip(*rounds)
    assert indices == tuple(range(TINY.rounds))
    assert list(best) == sorted(best, reverse=True)
    assert best[-1] == float(found.costs.total)


def test_the_gradient_is_that_of_the_cost_with_quantisation_passed_straight_through(
    networks, pair
):
    vqvae, generators = networks
    net, config = generators.level(0), PlannerConfig(value_weight=0.01)
    starts, goals = pair, pair.flip(0)
    z = torch.randn(2, 9, 2, 8, generator=rng(4))
    got = CostGradient(net, vqvae, distance_value, config)(starts, goals, z)

    z.requires_grad_(True)
    for row in range(2):
        context, latents = starts[row].expand(9, -1), []
        for step in range(2):
            raw = net(z[row, :, step], context)
            context = raw + (vqvae.quantise(raw)[1] - raw).detach()
            latents.append(context)
        expected = plan_cost(
            starts[row, None],
            goals[row, None],
            torch.stack(latents, 1)[None],
            z[row, None],
            distance_value,
            config,
        )
        (slope,) = torch.autograd.grad(expected.total.sum(), z)
        codes, quantised, costs, gradient = (
            part[row] for part in (*got[:2], got[2].total, got[3])
        )
        assert torch.equal(vqvae.lookup(codes), quantised)
        assert torch.allclose(quantised, torch.stack(latents, 1), atol=1e-6)
        assert torch.allclose(costs, expected.total[0], atol=1e-5)
        assert gradient.abs().max() > 0.01
        assert torch.allclose(gradient, slope[row], atol=1e-4)


def test_threads_and_grad_modes_do_not_change_a_plan(networks, pair):
    def plan(threads=1, inference=False):
        vqvae, generators = networks
        generators = copy.deepcopy(generators).to(memory_format=torch.contiguous_format)
        with torch.inference_mode(inference):
            planner = HierarchicalPlanner(vqvae, generators, distance_value, TINY, threads=threads)
            return planner.plan(*(latent.clone() for latent in pair), rng())

    first = plan()
    for other in (plan(threads=3), plan(inference=True)):
        assert torch.equal(first.codes, other.codes)
        assert first.cost == other.cost
    assert torch.equal(networks[0].lookup(first.codes), first.latents)
    assert not first.latents.requires_grad


def test_feedback_tells_how_much_is_done(networks, pair):
    heard = []
    planner = HierarchicalPlanner(*networks, distance_value, TINY)
    planner.plan(*pair, rng(), on_iteration=heard.append)
    fractions = [feedback.fraction for feedback in heard]
    assert len(heard) == 3 * TINY.rounds
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_cancelling_stops_between_two_gradient_steps(networks, pair):
    heard = []
    planner = HierarchicalPlanner(*networks, distance_value, TINY)
    with pytest.raises(PlanCancelled):
        planner.plan(*pair, rng(), on_iteration=heard.append, cancelled=lambda: len(heard) == 5)
    assert len(heard) == 5


def test_plans_of_the_buffer_are_where_later_ones_start(networks, pair):
    settings = {**STAGES, "buffer_minimum": 1, "prior_only_probability": 0.0}
    planner = HierarchicalPlanner(
        *networks, distance_value, PlannerConfig(samples=4, prior_fraction=0.0, **settings)
    )
    first = planner.plan(*pair, rng(), remember=True)
    again = planner.plan(*pair, rng(1))
    assert again.costs["level_0"] <= first.costs["level_0"] + 1e-5


def test_stages_without_candidates_or_steps_are_refused():
    for wrong in ({"elites": (4,)}, {"elites": (4, 0), "elite_steps": (1, 1)}):
        with pytest.raises(ConfigError, match="elites"):
            PlannerConfig(**{**STAGES, **wrong})
    with pytest.raises(ConfigError, match="step_size"):
        PlannerConfig(step_size=0.0)
    assert from_dict(PlannerConfig, to_dict(TINY)) == TINY
