# SPDX-License-Identifier: Apache-2.0
"""An observation is answered at most once, and only by a sane command."""

import math
import time

import pytest

from ptp_core.errors import InputError
from ptp_robot.command import NUMBERS_A_SECOND, first_number
from ptp_sim.stepping import CommandGate, simulated_time

NOW = 50.0


def gate(mode, **options):
    """A gate with one picture, which is what may be answered."""
    made = CommandGate(mode, **options)
    made.reset(NOW)
    return made


def test_nothing_moves_before_the_first_picture():
    first = CommandGate("lock_step")
    assert not first.is_open
    assert first.arrived(0, NOW) and first.arrived(1, NOW)


def test_after_a_restart_numbers_are_higher_than_any_before(monkeypatch):
    first = CommandGate("lock_step", before=first_number())
    assert not first.is_open
    for _ in range(NUMBERS_A_SECOND):
        first.observed(NOW)
    began = time.time()
    monkeypatch.setattr(time, "time", lambda: began + 1.5)  # of which one second was spent
    second = CommandGate("lock_step", before=first_number())
    assert second.reset(NOW) > first.observation_seq
    assert second.observation_seq + 2**31 < 2**32  # as it travels


def test_simulated_time_is_even_however_large_the_numbers():
    for number in (1, 2**31 - 7):
        apart = simulated_time(number + 1, 1 / 24) - simulated_time(number, 1 / 24)
        assert apart in (41_666_666, 41_666_667)


def test_lock_step_takes_the_answer_to_the_newest_picture_once():
    lock = gate("lock_step", patience=5)
    first = lock.observation_seq
    assert lock.arrived(first, NOW) == ""
    lock.moved(first, NOW)
    assert not lock.is_open
    assert "too late" in lock.arrived(first, NOW)
    second = lock.observed(NOW)
    assert "too late" in lock.arrived(first, NOW)
    assert lock.is_open and lock.arrived(second, NOW) == ""
    assert "never published" in lock.arrived(second + 1, NOW)


def test_in_lock_step_either_of_two_pictures_of_one_scene_is_answered_but_not_both():
    lock = gate("lock_step")
    first, second = lock.observation_seq, lock.observed(NOW)
    assert lock.arrived(first, NOW) == lock.refusal(second, NOW) == ""
    lock.moved(first, NOW)
    lock.observed(NOW)
    assert "too late" in lock.arrived(second, NOW)


@pytest.mark.parametrize("mode", ["lock_step", "real_time"])
def test_an_answer_to_a_picture_that_is_too_old_is_refused_in_either_mode(mode):
    either = gate(mode, patience=4)
    seq = either.observation_seq
    assert either.refusal(seq, NOW + 0.29) == ""
    assert "2.16 s old" in either.arrived(seq, NOW + 2.16)


def test_in_lock_step_alone_the_limit_on_age_follows_what_answers_take():
    limits = []
    for mode in ("lock_step", "real_time"):
        slow = gate(mode, patience=4)
        for step in range(20):
            slow.arrived(slow.observed(NOW + step), NOW + step + 0.2)
        limits.append(slow.age_limit)
    assert limits == [pytest.approx(0.6), 0.3]


def test_real_time_lets_an_answer_be_late_within_its_patience():
    real = gate("real_time", patience=2)
    first = real.observation_seq
    real.observed(NOW)
    real.observed(NOW)
    assert real.arrived(first, NOW) == ""
    real.observed(NOW)
    assert real.arrived(first, NOW)


def test_real_time_moves_at_most_once_between_two_pictures():
    real = gate("real_time", patience=2)
    first, second = real.observation_seq, real.observed(NOW)
    real.moved(first, NOW)
    assert not real.is_open
    real.observed(NOW)
    assert real.is_open and real.arrived(second, NOW) == ""


def test_answers_from_before_a_reset_are_void():
    real = gate("real_time", patience=9)
    before, after = real.observation_seq, real.reset(NOW)
    assert "too late" in real.arrived(before, NOW)
    assert real.arrived(after, NOW) == ""


def test_a_command_that_answers_none_moves_the_arm_once_a_picture():
    real = gate("real_time")
    assert real.is_open
    real.moved(0, NOW)
    assert not real.is_open
    real.observed(NOW)
    assert real.is_open


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
