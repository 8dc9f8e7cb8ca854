# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy method: what it samples, what it keeps, how it is stopped."""

import pytest
import torch

from ptp_core.errors import PlanCancelled
from ptp_core.planners.costs import CostTerms
from ptp_core.planners.leap_planner import CEM
from ptp_core.tiny_networks import rng

TARGET = torch.tensor([[1.5, -2.0], [0.5, 3.0]])


def terms(total):
    zero = torch.zeros_like(total)
    return CostTerms(total, zero, total, zero)


def square_distance(z):
    return terms((z - TARGET).square().sum((-2, -1)))


def cem(cost=square_distance, **settings):
    leap = {"samples": 1000, "elites": 50, "iterations": 15, "initial_std": 1.5}
    return CEM(cost, **{**leap, **settings})


def test_the_known_optimum_is_found_and_the_elites_never_get_worse():
    rounds = []
    found = cem().solve((2, 2), rng(), on_iteration=lambda *heard: rounds.append(heard))
    assert torch.allclose(found.z, TARGET, atol=0.02)
    assert [iteration for iteration, _ in rounds] == list(range(15))
    assert all(elites.total.shape == (50,) for _, elites in rounds)
    means = torch.stack([elites.total.mean() for _, elites in rounds])
    assert (means.diff() <= 1e-6).all()
    assert means[-1] < 1e-3 * means[0]


def test_the_same_seed_gives_the_same_candidate():
    first, second, other = (cem(iterations=3).solve((2, 2), rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.z, second.z)
    assert first.costs == second.costs
    assert not torch.equal(first.z, other.z)


def test_samples_start_wide_and_follow_the_mean_and_deviation_of_the_elites():
    seen = []

    def cost(z):
        seen.append(z)
        return square_distance(z)

    cem(cost, samples=400, elites=20, iterations=2).solve((2, 2), rng(7))
    draw = rng(7)
    first, second = (torch.randn(400, 2, 2, generator=draw) for _ in range(2))
    assert torch.equal(seen[0], 1.5 * first)
    order = square_distance(seen[0]).total.argsort()[:20]
    elites = seen[0][order]
    deviation = (elites - elites.mean(0)).square().mean(0).sqrt()
    assert torch.allclose(seen[1], elites.mean(0) + deviation * second, atol=1e-5)


def test_the_result_is_the_best_of_the_last_iteration_only():
    calls = []

    def cost(z):
        calls.append(z)
        return terms(square_distance(z).total + 100.0 * len(calls))  # every call costs more

    found = cem(cost, iterations=3, samples=50, elites=5).solve((2, 2), rng())
    last = square_distance(calls[2]).total
    assert torch.equal(found.z, calls[2][last.argmin()])
    assert float(found.costs.total) == pytest.approx(float(last.min()) + 300.0)
    assert float(found.costs.value) == float(found.costs.total)


def test_a_single_elite_keeps_the_search_finite():
    found = cem(samples=20, elites=1, iterations=4).solve((2, 2), rng())
    assert torch.isfinite(found.z).all()


def test_the_first_elite_heard_of_is_the_best():
    heard = []
    cem(iterations=1).solve((2, 2), rng(), on_iteration=lambda _, elites: heard.append(elites))
    assert (heard[0].total.diff() >= 0).all()


@pytest.mark.parametrize("after", [0, 2])
def test_a_search_stops_before_the_next_evaluation_when_cancelled(after):
    evaluated = []

    def cost(z):
        evaluated.append(len(z))
        return square_distance(z)

    with pytest.raises(PlanCancelled):
        cem(cost, samples=10, elites=2).solve(
            (2, 2), rng(), cancelled=lambda: len(evaluated) == after
        )
    assert len(evaluated) == after
