# SPDX-License-Identifier: Apache-2.0
"""What records of plans tell: which work, and whether a new one is worth a try."""

import numpy as np
import pytest

from ptp_core.planners.plan_library import BAD, GOOD, NEW, PlanBandit


def belief(*records):
    successes, trials = np.array(records, dtype=float).reshape(-1, 2).T
    return PlanBandit.of(successes, trials)


def mass(prior, wins, losses):
    """Probability of a record, by integration over the success rate."""
    rate = np.linspace(0.0, 1.0, 200_001)[1:-1]
    density = rate ** (prior[0] - 1) * (1 - rate) ** (prior[1] - 1)
    return (density * rate**wins * (1 - rate) ** losses).sum() / density.sum()


@pytest.mark.parametrize(("wins", "losses"), [(0, 2), (1, 0), (3, 4), (11, 1)])
def test_the_posterior_is_that_of_the_two_kinds(wins, losses):
    found = belief((wins, wins + losses))
    good = found.share * mass(GOOD, wins, losses)
    bad = (1.0 - found.share) * mass(BAD, wins, losses)
    assert found.good[0] == pytest.approx(good / (good + bad), abs=1e-3)


def test_two_failures_end_the_hope_in_a_plan_and_one_success_begins_it():
    failed, worked = belief((0, 2), (1, 1), (0, 1), (0, 1)).good[:2]
    assert failed < 0.03 and worked > 0.5


def test_long_records_stay_finite():
    good = belief((0, 100_000), (100_000, 100_000)).good
    assert good == pytest.approx([0.0, 1.0])


def test_how_many_plans_are_good_is_learned_from_all():
    assert belief(*[(0, 2)] * 30).share < 0.05
    assert belief(*[(2, 2)] * 30).share > 0.9
    mixed = belief(*[(0, 3)] * 24, *[(9, 10)] * 8)
    assert mixed.share == pytest.approx(0.25, abs=0.03)


def test_draws_are_around_what_is_expected():
    found, rng = belief((0, 3), (18, 20), (5, 10)), np.random.default_rng(0)
    draws = [found.draw(rng) for _ in range(4000)]
    means, new = found.mean()
    assert np.mean([known for known, _ in draws], axis=0) == pytest.approx(means, abs=0.02)
    assert 0.0 < new < np.mean([best for _, best in draws]) < NEW * new


def test_a_new_plan_is_tried_rather_than_many_that_failed():
    found, rng = belief(*[(0, 2)] * 15, *[(1, 6)] * 2), np.random.default_rng(0)
    anew = [known.max() < new for known, new in (found.draw(rng) for _ in range(1000))]
    assert np.mean(anew) > 0.2
    found = belief(*[(0, 2)] * 15, (95, 100))
    anew = [known.max() < new for known, new in (found.draw(rng) for _ in range(1000))]
    assert np.mean(anew) < 0.1
