# SPDX-License-Identifier: Apache-2.0
"""An observation is answered at most once, and only by a sane command."""

import math
import time

import pytest

from ptp_core.errors import InputError
from ptp_core.numbering import NUMBERS_A_SECOND, first_number
from ptp_sim.stepping import CommandGate, simulated_time


def test_nothing_moves_before_the_first_picture():
    assert not CommandGate("lock_step").admits(0)


def test_after_a_restart_numbers_are_higher_than_any_before(monkeypatch):
    first = CommandGate("lock_step", before=first_number())
    assert not first.admits(0)
    for _ in range(NUMBERS_A_SECOND):
        first.observed()
    began = time.time()
    monkeypatch.setattr(time, "time", lambda: began + 1.5)  # of which one second was spent
    second = CommandGate("lock_step", before=first_number())
    assert second.reset() > first.observation_seq
    assert second.observation_seq + 2**31 < 2**32  # as it travels


def test_simulated_time_is_even_however_large_the_numbers():
    for number in (1, 2**31 - 7):
        apart = simulated_time(number + 1, 1 / 24) - simulated_time(number, 1 / 24)
        assert apart in (41_666_666, 41_666_667)


def test_lock_step_takes_the_answer_to_the_newest_picture_once():
    gate = CommandGate("lock_step", patience=5)
    first = gate.reset()
    assert gate.admits(first)
    gate.moved(first)
    assert not gate.admits(first)
    second = gate.observed()
    assert not gate.admits(first)
    assert gate.admits(second)
    assert not gate.admits(second + 1)


def test_real_time_lets_an_answer_be_late_within_its_patience():
    gate = CommandGate("real_time", patience=2)
    first = gate.reset()
    gate.observed()
    gate.observed()
    assert gate.admits(first)
    gate.observed()
    assert not gate.admits(first)


def test_real_time_moves_at_most_once_between_two_pictures():
    gate = CommandGate("real_time", patience=2)
    first = gate.reset()
    second = gate.observed()
    gate.moved(first)
    assert not gate.admits(second)
    gate.observed()
    assert gate.admits(second)


def test_answers_from_before_a_reset_are_void():
    gate = CommandGate("real_time", patience=9)
    before = gate.reset()
    after = gate.reset()
    assert not gate.admits(before)
    assert gate.admits(after)


def test_a_person_may_move_the_arm_once_a_picture():
    gate = CommandGate("real_time")
    gate.reset()
    assert gate.admits(0)
    gate.moved(0)
    assert not gate.admits(0)
    gate.observed()
    assert gate.admits(0)


def test_an_unknown_mode_is_refused():
    with pytest.raises(InputError, match="use one of lock_step, real_time"):
        CommandGate("fast")


def test_a_sane_command_passes_to_the_bit():
    delta = CommandGate("lock_step").check("base", "base", 0.05, -0.05, 0.01, 0.087, 1.0)
    assert (delta.dx, delta.dy, delta.dyaw, delta.gripper) == (0.05, -0.05, 0.087, 1.0)


@pytest.mark.parametrize(
    ("frame", "values", "text"),
    [
        ("tool0", (0, 0, 0, 0, 0), 'in frame "tool0"; "base" is expected'),
        ("base", (math.nan, 0, 0, 0, 0), "not finite"),
        ("base", (0, 0, math.inf, 0, 0), "not finite"),
        ("base", (0, 0.051, 0, 0, 0), "at most 0.05 m"),
        ("base", (0, 0, 0, -0.1, 0), "at most 0.087 rad"),
        ("base", (0, 0, 0, 0, 1.1), "between -1 and 1"),
    ],
)
def test_a_mad_command_is_refused_with_its_reason(frame, values, text):
    with pytest.raises(InputError, match=text):
        CommandGate("lock_step").check(frame, "base", *map(float, values))
