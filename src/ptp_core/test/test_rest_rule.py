# SPDX-License-Identifier: Apache-2.0
"""The arm rests where the work stays done for some steps, until it stays undone for as many."""

import torch

from ptp_core.policies.rest_rule import RestRule


class Exact:
    """The work is done where both latents are the same."""

    @staticmethod
    def probability(latents, goals):
        return (latents == goals).all(1).float()


def rests(rule, values, goal=1.0):
    end = torch.tensor([[goal]])
    return [rule.step(torch.tensor([[value]]), end) for value in values]


def test_it_rests_after_as_many_steps_as_asked_and_goes_on_after_as_many():
    rule = RestRule(Exact, 2)
    assert rests(rule, [0.0, 1.0, 1.0, 0.0, 1.0]) == [False, False, True, True, True]
    assert rests(rule, [0.0, 0.0, 1.0, 0.0, 1.0]) == [True, False, False, False, False]


def test_another_goal_is_begun_without_rest():
    rule = RestRule(Exact, 1)
    assert rests(rule, [1.0]) == [True]
    rule.reset()
    assert rests(rule, [0.0]) == [False]


def test_without_a_classifier_a_hold_or_a_goal_it_never_rests():
    assert rests(RestRule(None, 3), [1.0] * 9) == [False] * 9
    assert rests(RestRule(Exact, 0), [1.0] * 9) == [False] * 9
    assert RestRule(Exact, 1).step(torch.tensor([[1.0]]), None) is False
