# SPDX-License-Identifier: Apache-2.0
"""Subgoal follower, seeds and figures."""

import pytest
import torch

from ptp_core.config import FollowerConfig
from ptp_core.errors import ConfigError
from ptp_core.policies.subgoal_follower import SubgoalFollower
from ptp_core.rollout.episode_results import episode_seeds, wilson_interval

PLAN = torch.tensor([[10.0], [20.0]])
GOAL = torch.tensor([30.0])


def follow(positions, plan=PLAN, strict=None, **settings):
    """The follower's answers while the state takes the given values."""
    config = FollowerConfig(**{"switch_delay": False, **settings})
    follower = SubgoalFollower(config, strict=strict)
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


def test_a_subgoal_must_stay_near_for_as_long_as_the_settings_say():
    positions = [0.0, 10.0, 0.0, 10.0, 10.0, 10.0, 20.0]
    assert [state.index for state in follow(positions, hold=1)] == [0, 1, 1, 1, 1, 1, 2]
    held = follow(positions, hold=3)
    assert [state.index for state in held] == [0, 0, 0, 0, 0, 1, 1]
    assert held[5].switched and not held[5].timed_out


def test_the_goal_is_arrived_at_when_it_is_pursued_and_near():
    states = follow([0.0, 30.0, 30.0, 30.0, 30.0], plan=None, hold=2)
    assert [state.arrived for state in states] == [False, False, True, True, True]
    assert not any(state.arrived for state in follow([0.0, 30.0, 30.0], timeout=9))  # a subgoal


def test_a_goal_that_was_reached_is_left_after_as_many_steps_as_it_took_to_reach_it():
    rest, blink, away = [30.0] * 9, [0.0, 0.0], [0.0] * 6
    states = follow([0.0, *rest, *blink, *rest, *away], plan=None, hold=3, timeout=4)
    arrived = [state.arrived for state in states]
    assert arrived == [False] * 3 + [True] * 7 + [True] * 2 + [True] * 9 + [True] * 2 + [False] * 4
    # The time at the goal does not count: a plan is outdated after 4 steps without it.
    assert [index for index, state in enumerate(states) if state.outdated] == [26]


def test_a_plan_is_outdated_by_a_subgoal_that_is_over_and_by_a_goal_that_stays_far():
    reached = follow([0.0, 9.0, 9.0, 19.0, 29.0, 29.0])
    assert [state.outdated for state in reached] == [False, True, False, False, False, False]
    given_up = follow([0.0] * 8, timeout=3)
    assert [index for index, state in enumerate(given_up) if state.outdated] == [3, 6]
    far = follow([0.0] * 8, plan=None, timeout=3)
    assert [index for index, state in enumerate(far) if state.outdated] == [3, 6]


@pytest.mark.parametrize("end", [19.0, 29.0])
def test_a_last_subgoal_that_stands_for_the_goal_is_pursued_until_one_of_them_is_near(end):
    states = follow([0.0, 9.0, 15.0, end, end, end], stand_in=True)
    assert [state.index for state in states] == [0, 1, 1, 2, 2, 2]
    assert [float(state.goal) for state in states] == [10, 20, 20, 20, 20, 20]
    assert [state.distance for state in states] == [10, 1, 5, 1, 1, 1]
    assert [state.arrived for state in states] == [False, False, False, False, True, True]
    direct = follow([0.0, 29.0, 29.0], plan=None, stand_in=True)
    assert [float(state.goal) for state in direct] == [30, 30, 30] and direct[-1].arrived


def test_an_end_that_was_held_is_arrived_at_as_soon_as_it_comes_no_nearer():
    """Without a second wait, in which the policy would drive past it."""
    held, away = [0.0, 9.0, *[19.0] * 3], [15.0] * 4
    still = follow([*held, 19.0, *away], stand_in=True, hold=1, goal_hold=3)
    assert [state.index for state in still] == [0, 1, 1, 1, *[2] * 6]
    assert [state.arrived for state in still] == [False] * 5 + [True] * 3 + [False] * 2
    nearer = follow([*held, 19.5, 19.5, *away], stand_in=True, hold=1, goal_hold=3)
    assert [state.arrived for state in nearer] == [False] * 6 + [True] * 3 + [False] * 2
    lost = follow([*held, *away], stand_in=True, hold=1, goal_hold=3)
    assert not any(state.arrived for state in lost)


def test_the_goal_may_be_held_for_another_time_than_subgoals():
    positions = [0.0, *[9.0] * 3, *[29.0] * 4]
    states = follow(positions, stand_in=True, hold=3, goal_hold=1)
    assert [state.index for state in states] == [0, 0, 0, 1, 2, 2, 2, 2]
    assert [state.arrived for state in states] == [False] * 5 + [True] * 3
    plain = follow([0.0, *[9.0] * 3, *[19.0] * 3, *[29.0] * 2], hold=3, goal_hold=1)
    assert [state.index for state in plain] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [state.arrived for state in plain] == [False] * 7 + [True] * 2


def test_a_goal_is_missed_when_the_subgoal_that_stands_for_it_is_given_up():
    states = follow([0.0, 9.0, 15.0, 15.0, 15.0], stand_in=True, timeout=3)
    assert [state.missed for state in states] == [False, False, False, False, True]
    assert states[4].timed_out and states[4].outdated
    own = follow([0.0, 9.0, 9.0, 9.0, 9.0], timeout=3)
    assert own[4].timed_out and not any(state.missed for state in own)


def test_a_plan_whose_end_was_reached_is_doubted_while_the_goal_itself_stays_far():
    states = follow([0.0, 9.0, *[19.0] * 9], stand_in=True, timeout=3)
    assert all(state.arrived for state in states[3:])
    assert [index for index, state in enumerate(states) if state.outdated] == [1, 5, 8]
    assert [index for index, state in enumerate(states) if state.doubted] == [5, 8]
    assert not any(state.missed for state in states)
    near_goal = [0.0, 9.0, *[29.0] * 9]
    assert not any(state.doubted for state in follow(near_goal, stand_in=True, timeout=3))
    strictly = follow(near_goal, strict=lambda latent, goal: 9.0, stand_in=True, timeout=3)
    assert [index for index, state in enumerate(strictly) if state.doubted] == [5, 8]


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
