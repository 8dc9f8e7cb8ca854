# SPDX-License-Identifier: Apache-2.0
"""The gamepad moves the tool only while its dead-man switch is held and it keeps talking."""

import math

import pytest

from ptp_core.errors import InputError
from ptp_robot.teleoperation import Button, Gamepad, GamepadMapping

A, B, X, Y, LB, RB, BACK, START = range(8)


def reading(axes=(), pressed=()):
    """Axes as (index, value) pairs, buttons by index; the rest rests."""
    values = [0.0] * 6
    for index, value in axes:
        values[index] = value
    return values, [int(index in pressed) for index in range(8)]


@pytest.mark.parametrize(
    ("axis", "expected"),
    [(1, (1, 0, 0, 0)), (0, (0, 1, 0, 0)), (4, (0, 0, 1, 0)), (3, (0, 0, 0, 1))],
)
def test_each_stick_moves_along_its_axis(axis, expected):
    gamepad = Gamepad()
    gamepad.read(*reading([(axis, 1.0)], [LB]), 0.0)
    move = gamepad.move(0.0)
    assert move.dead_man
    assert move.action.tolist() == [*expected, -1.0]


def test_without_the_switch_nothing_moves():
    gamepad = Gamepad()
    gamepad.read(*reading([(1, 1.0)]), 0.0)
    assert gamepad.move(0.0) is None


def test_letting_go_gives_one_command_that_holds_still():
    gamepad = Gamepad()
    gamepad.read(*reading([(1, 1.0)], [LB, A]), 0.0)
    gamepad.move(0.0)
    gamepad.read(*reading([(1, 1.0)]), 0.1)
    last = gamepad.move(0.1)
    assert not last.dead_man
    assert last.action.tolist() == [0, 0, 0, 0, 1.0]  # the gripper stays as it is
    assert gamepad.move(0.2) is None


def test_a_silent_gamepad_counts_as_let_go():
    gamepad = Gamepad(patience=0.2)
    gamepad.read(*reading([(1, 1.0)], [LB]), 0.0)
    assert gamepad.move(0.19).dead_man
    assert not gamepad.move(0.21).dead_man
    assert gamepad.move(0.3) is None


def test_the_gripper_stays_as_its_button_left_it_and_both_at_once_change_nothing():
    gamepad = Gamepad()
    seen = []
    for pressed in ([LB], [LB, A], [LB], [LB, A, B], [A, B], [LB, B]):
        gamepad.read(*reading(pressed=pressed), 0.0)
        move = gamepad.move(0.0)
        seen.append(float(move.action[4]))
    assert seen == [-1, 1, 1, 1, 1, -1]


def test_sticks_near_rest_do_nothing_and_the_full_way_stays_full():
    gamepad = Gamepad(GamepadMapping(dead_zone=0.2))
    for value, expected in ((0.2, 0.0), (-0.1, 0.0), (0.6, 0.5), (-1.0, -1.0), (1.7, 1.0)):
        gamepad.read(*reading([(1, value)], [LB]), 0.0)
        assert gamepad.move(0.0).action[0] == pytest.approx(expected)


def test_a_request_counts_once_a_press():
    gamepad = Gamepad()
    taken = []
    for pressed in ([START], [START], [], [START], [Y], [Y, X]):
        gamepad.read(*reading(pressed=pressed), 0.0)
        taken.append(gamepad.take_presses())
    assert taken == [[Button.REARM], [], [], [Button.REARM], [Button.START], [Button.DISCARD]]


def test_while_the_switch_is_held_buttons_move_the_gripper_and_save_nothing():
    gamepad = Gamepad()
    # The last A goes on being pressed from before the switch was let go.
    for pressed in ([LB, A], [LB, A, X], [A, X], [LB], [LB, A], [A]):
        gamepad.read(*reading(pressed=pressed), 0.0)
        assert gamepad.take_presses() == []
    for pressed in ([], [A], [], [B], [RB], [BACK]):
        gamepad.read(*reading(pressed=pressed), 0.0)
    assert gamepad.take_presses() == [
        *(Button.SUCCESS, Button.FAILURE, Button.RERECORD, Button.RESET)
    ]
    assert gamepad._gripper == 1.0


@pytest.mark.parametrize(
    ("axes", "buttons", "reason"),
    [
        ([0.0] * 3, [0] * 8, "3 axes"),
        ([0.0] * 6, [0] * 2, "2 buttons"),
        ([math.nan] * 6, [1] * 8, "not finite"),
    ],
)
def test_a_reading_that_does_not_fit_is_refused_and_counts_as_let_go(axes, buttons, reason):
    gamepad = Gamepad()
    gamepad.read(*reading([(1, 1.0)], [LB]), 0.0)
    gamepad.move(0.0)
    with pytest.raises(InputError, match=reason):
        gamepad.read(axes, buttons, 0.05)
    assert not gamepad.move(0.05).dead_man


def test_a_mapping_that_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="dead_zone"):
        GamepadMapping(dead_zone=1.0)
    with pytest.raises(InputError, match="axis_z is -1"):
        GamepadMapping(axis_z=-1)
    with pytest.raises(InputError, match="button 6 has two meanings"):
        GamepadMapping(button_start=6)
    assert "hold button 4" in GamepadMapping().describe()
