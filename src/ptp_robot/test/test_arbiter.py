# SPDX-License-Identifier: Apache-2.0
"""A person wins at once and keeps the arm until it is rearmed; a policy goes before a script."""

import pytest

from ptp_robot.command import Arbiter, CommandSource


def test_a_person_takes_over_with_the_first_command():
    arbiter = Arbiter()
    assert arbiter.admits(CommandSource.POLICY, False, 0.0)
    assert arbiter.admits(CommandSource.TELEOP, True, 0.01)
    assert arbiter.taken_over
    assert not arbiter.admits(CommandSource.POLICY, False, 0.02)
    assert not arbiter.admits(CommandSource.SCRIPT, False, 0.02)


def test_without_the_dead_man_switch_a_person_moves_nothing_and_takes_nothing():
    arbiter = Arbiter()
    assert not arbiter.admits(CommandSource.TELEOP, False, 0.0)
    assert not arbiter.taken_over
    assert arbiter.admits(CommandSource.POLICY, False, 0.0)


def test_after_letting_go_the_arm_holds_until_it_is_rearmed():
    arbiter = Arbiter(patience=0.3)
    arbiter.admits(CommandSource.TELEOP, True, 0.0)
    assert not arbiter.admits(CommandSource.TELEOP, False, 0.1)
    assert not arbiter.admits(CommandSource.POLICY, False, 100.0)
    assert arbiter.rearm(100.0)
    assert arbiter.admits(CommandSource.POLICY, False, 100.0)


@pytest.mark.parametrize(("after", "done"), [(0.29, False), (0.31, True)])
def test_rearming_waits_until_the_switch_was_not_held_for_the_patience(after, done):
    arbiter = Arbiter(patience=0.3)
    arbiter.admits(CommandSource.TELEOP, True, 0.0)
    assert arbiter.held(after) is not done
    assert arbiter.rearm(after) is done
    assert arbiter.taken_over is not done


def test_a_released_switch_lets_rearm_at_once():
    arbiter = Arbiter()
    arbiter.admits(CommandSource.TELEOP, True, 0.0)
    arbiter.admits(CommandSource.TELEOP, False, 0.01)
    assert arbiter.rearm(0.02)


def test_a_script_waits_for_a_policy_that_commands():
    arbiter = Arbiter(patience=0.3)
    assert arbiter.admits(CommandSource.SCRIPT, False, 0.0)
    arbiter.admits(CommandSource.POLICY, False, 1.0)
    assert not arbiter.admits(CommandSource.SCRIPT, False, 1.2)
    assert arbiter.admits(CommandSource.SCRIPT, False, 1.4)


def test_a_patience_of_nothing_is_refused():
    with pytest.raises(ValueError, match="patience is 0"):
        Arbiter(0)
