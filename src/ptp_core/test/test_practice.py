# SPDX-License-Identifier: Apache-2.0
"""Subgoal follower, controller, seeds and figures."""

import dataclasses

import numpy as np
import pytest
import torch

from ptp_core.config import FollowerConfig
from ptp_core.errors import ConfigError, InputError
from ptp_core.planners.base import Plan
from ptp_core.practice.controller import Controller
from ptp_core.practice.seeds import episode_seeds
from ptp_core.practice.subgoal_follower import SubgoalFollower
from ptp_core.practice.summary import wilson_interval
from ptp_core.testing import tiny_config, tiny_networks

PLAN = torch.tensor([[10.0], [20.0]])
GOAL = torch.tensor([30.0])


def follow(positions, plan=PLAN, **settings):
    """The follower's answers while the state takes the given values."""
    follower = SubgoalFollower(FollowerConfig(**{"switch_delay": False, **settings}))
    follower.reset(plan, GOAL)
    return [follower.step(torch.tensor([position])) for position in positions]


def test_a_reached_subgoal_is_followed_by_the_next_and_the_last_by_the_goal():
    states = follow([0.0, 7.0, 8.5, 9.0, 19.0, 29.5, 29.5])
    assert [state.index for state in states] == [0, 0, 1, 1, 2, 2, 2]
    assert [float(state.goal) for state in states] == [10, 10, 20, 20, 30, 30, 30]
    assert [state.switched for state in states] == [False, False, True, False, True, False, False]
    assert states[2].distance == pytest.approx(1.5)  # to the subgoal that was reached


def test_the_threshold_itself_is_not_near_enough():
    assert [state.index for state in follow([0.0, 8.0])] == [0, 0]


def test_the_first_step_never_switches():
    assert [state.index for state in follow([10.0, 10.0])] == [0, 1]


def test_a_subgoal_that_is_not_reached_is_given_up_after_the_timeout():
    states = follow([0.0] * 8, timeout=3)
    assert [state.index for state in states] == [0, 0, 0, 1, 1, 1, 2, 2]


def test_the_policy_sees_a_switch_one_step_late_with_switch_delay():
    states = follow([0.0, 9.0, 9.0, 19.0, 19.0], switch_delay=True)
    assert [state.index for state in states] == [0, 0, 1, 1, 2]
    assert [state.switched for state in states] == [False, True, False, True, False]


def test_the_rule_as_printed_in_the_paper_compares_with_the_last_subgoal():
    states = follow([0.0, 10.0, 20.0, 20.0], compare_with="final_subgoal")
    assert [state.index for state in states] == [0, 0, 1, 2]
    assert states[1].distance == pytest.approx(10)


def test_without_a_plan_the_goal_is_pursued_at_once():
    states = follow([0.0, 29.9, 29.9], plan=None)
    assert [(state.index, float(state.goal)) for state in states] == [(0, 30)] * 3


def test_an_unresolved_threshold_is_refused():
    with pytest.raises(ConfigError, match="auto"):
        SubgoalFollower(FollowerConfig(distance_threshold="auto"))


@pytest.fixture(scope="module")
def checkpoint():
    return tiny_networks(dataclasses.replace(tiny_config(), follower=FollowerConfig(timeout=2)))


def codes(seed, *shape):
    return np.random.default_rng(seed).integers(0, 32, (*shape, 144), dtype=np.uint16)


def test_a_controller_gives_the_same_actions_for_the_same_seed(checkpoint):
    controller, runs = Controller(checkpoint), []
    for seed in (1, 1, 2):
        controller.start(codes(0, 3), codes(1), seed)
        runs.append([controller.act(codes(2 + step)).action for step in range(4)])
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    assert all(action.dtype == np.float32 and action.shape == (5,) for action in runs[0])


def test_actions_depend_on_the_subgoal_and_end_at_the_goal(checkpoint):
    settings = FollowerConfig(timeout=2, distance_threshold=0.0, sample_actions=False)
    controller = Controller(checkpoint, settings)
    plan, goal, now = codes(0, 2), codes(1), codes(2)
    controller.start(plan, goal, 0)
    results = [controller.act(now) for _ in range(8)]
    assert [result.subgoal_index for result in results] == [0, 0, 0, 1, 1, 2, 2, 2]
    controller.start(None, goal, 0)
    assert np.array_equal(controller.act(now).action, results[-1].action)
    assert not np.array_equal(results[0].action, results[-1].action)


def test_a_plan_object_and_its_codes_are_the_same_to_a_controller(checkpoint):
    indices = torch.from_numpy(codes(0, 2).astype(np.int64))
    plan = Plan(indices, checkpoint.vqvae.lookup(indices), 0.0, {}, 0.0)
    actions = []
    for form in (plan, codes(0, 2)):
        controller = Controller(checkpoint)
        controller.start(form, codes(1), 3)
        actions.append(controller.act(codes(2)).action)
    assert np.array_equal(*actions)


def test_wrong_codes_are_refused_with_their_name(checkpoint):
    controller = Controller(checkpoint)
    with pytest.raises(InputError, match="start before act"):
        controller.act(codes(0))
    with pytest.raises(InputError, match="goal codes have shape"):
        controller.start(None, codes(0, 1), 0)
    with pytest.raises(InputError, match="plan has codes outside 0 to 31"):
        controller.start(codes(0, 2) + 30, codes(1), 0)


def test_seeds_differ_between_uses_episodes_tasks_and_runs_and_repeat():
    seeds = [
        episode_seeds(run, task, episode)
        for run in range(3)
        for task in ("A", "B", "carry")
        for episode in range(20)
    ]
    numbers = {number for each in seeds for number in (each.env, each.plan, each.policy)}
    assert len(numbers) == 3 * len(seeds)
    assert all(0 <= number < 2**32 for number in numbers)
    assert episode_seeds(2, "carry", 19) == seeds[-1]
    assert all(type(number) is int for number in numbers)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (5, 10, 0.2366, 0.7634),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_the_wilson_interval_has_its_published_values(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)
