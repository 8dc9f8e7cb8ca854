# SPDX-License-Identifier: Apache-2.0
"""Success and interventions, counted as practice goes on."""

import pytest
from ptp_interfaces.msg import ArmState, CartesianDelta

from ptp_nodes.practice.practice_metrics import NAMES, RECENT, PracticeMetrics


def step(source):
    return ArmState(moved=True, command=CartesianDelta(source=source))


POLICY, PERSON = step(CartesianDelta.POLICY), step(CartesianDelta.TELEOP)


def test_interventions_are_the_steps_of_a_person_within_an_episode():
    tally = PracticeMetrics()
    tally.moved(PERSON)  # before the episode: a person put the block back
    tally.begin()
    for state in (POLICY, PERSON, PERSON, POLICY, ArmState(moved=False)):
        tally.moved(state)
    figures = tally.judged(True)
    assert set(figures) == set(NAMES)
    assert figures["interventions"] == 2
    assert figures["intervention_rate"] == pytest.approx(0.5)
    tally.begin()
    tally.moved(POLICY)
    figures = tally.judged(False)
    assert figures["interventions"] == 2
    assert figures["intervention_rate"] == 0.0


def test_the_recent_rate_forgets_what_the_rate_keeps():
    tally = PracticeMetrics()
    for _ in range(RECENT):
        tally.judged(False)
    for _ in range(RECENT):
        figures = tally.judged(True)
    assert figures["episodes"] == 2 * RECENT
    assert figures["success_rate"] == 0.5
    assert figures["recent_success_rate"] == 1.0


def test_an_episode_without_a_step_counts():
    tally = PracticeMetrics()
    tally.begin()
    assert tally.judged(False)["intervention_rate"] == 0.0
