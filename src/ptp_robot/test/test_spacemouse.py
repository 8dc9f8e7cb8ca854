# SPDX-License-Identifier: Apache-2.0
"""The SpaceMouse: its cap is the dead-man switch, two buttons do seven things."""

import math

import pytest

from ptp_core.errors import InputError
from ptp_robot.teleoperation import Button, SpaceMouse, SpaceMouseMapping

MAPPING = SpaceMouseMapping(full=0.5, dead_zone=0.2)


@pytest.fixture
def mouse():
    return SpaceMouse(MAPPING)


def click(mouse, buttons, start, seconds):
    """Press and let go, while the node's timer looks on."""
    mouse.read_buttons(buttons, start)
    mouse.look(start + seconds)
    mouse.read_buttons([0] * len(buttons), start + seconds)
    return mouse.take_presses()


@pytest.mark.parametrize("axis", range(4))
def test_the_cap_moves_along_its_axes_and_stops_when_it_springs_back(mouse, axis):
    reading = [0.0] * 4
    reading[axis] = -0.5
    mouse.read(reading[:3], reading[3], 0.0)
    move = mouse.move(0.0)
    expected = [0.0] * 4
    expected[axis] = -1.0
    assert (move.dead_man, move.action.tolist()) == (True, [*expected, -1.0])
    mouse.read([0.05, 0.0, 0.0], 0.0, 0.1)
    last = mouse.move(0.1)
    assert (last.dead_man, last.action.tolist()) == (False, [0, 0, 0, 0, -1.0])
    assert mouse.move(0.2) is None


def test_part_of_the_way_beyond_the_dead_zone_is_part_of_the_motion(mouse):
    mouse.read([0.3, 0.0, 0.0], 0.0, 0.0)
    assert mouse.move(0.0).action[0] == pytest.approx(0.5)


def test_a_silent_spacemouse_counts_as_let_go(mouse):
    mouse.read([0.5, 0.0, 0.0], 0.0, 0.0)
    assert mouse.move(0.19).dead_man
    assert not mouse.move(0.21).dead_man


def test_a_short_left_press_moves_the_gripper_even_while_the_cap_rests(mouse):
    assert click(mouse, [1, 0], 0.0, 0.2) == []
    assert mouse.move(0.2).action.tolist() == [0, 0, 0, 0, 1.0]
    mouse.read([0.0, 0.0, 0.0], 0.0, 0.3)  # the cap at rest does not cut it short
    assert mouse.move(0.3).dead_man
    assert not mouse.move(0.5).dead_man
    click(mouse, [1, 0], 1.0, 0.2)
    assert mouse.move(1.2).action[4] == -1.0


def test_a_gripper_that_moves_does_not_stop_the_cap(mouse):
    mouse.read([0.5, 0.0, 0.0], 0.0, 0.2)
    click(mouse, [1, 0], 0.0, 0.2)
    assert mouse.move(0.2).action.tolist() == [1, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("buttons", "seconds", "expected"),
    [
        ([0, 1], 0.3, Button.NEXT),
        ([1, 1], 0.3, Button.DISCARD),
        ([1, 0], 0.7, Button.RESET),
        ([0, 1], 0.7, Button.FAILURE),
        ([1, 1], 0.7, Button.RERECORD),
        ([0, 0, 1], 0.1, Button.REARM),
    ],
)
def test_two_buttons_ask_for_everything(mouse, buttons, seconds, expected):
    assert click(mouse, buttons, 0.0, seconds) == [expected]
    assert mouse.move(seconds) is None


def test_buttons_that_go_down_one_after_the_other_are_one_press(mouse):
    for buttons in ([1, 0], [1, 1], [0, 1]):
        mouse.read_buttons(buttons, 0.0)
    assert click(mouse, [0, 1], 0.1, 0.1) == [Button.DISCARD]


def test_a_long_press_counts_once(mouse):
    mouse.read_buttons([0, 1], 0.0)
    for tenths in range(30):
        mouse.look(tenths / 10)
    mouse.read_buttons([0, 0], 3.0)
    assert mouse.take_presses() == [Button.FAILURE]


def test_readings_that_make_no_sense_are_refused_and_count_as_let_go(mouse):
    mouse.read([0.5, 0.0, 0.0], 0.0, 0.0)
    mouse.move(0.0)
    with pytest.raises(InputError, match="not finite"):
        mouse.read([math.inf, 0.0, 0.0], 0.0, 0.05)
    assert not mouse.move(0.05).dead_man
    with pytest.raises(InputError, match="has 1 buttons"):
        mouse.read_buttons([0], 0.1)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"full": 0.0}, "full"),
        ({"dead_zone": 1.0}, "dead_zone"),
        ({"long_press": 0.0}, "long_press"),
        ({"right": 0}, "three buttons"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused(values, reason):
    with pytest.raises(InputError, match=reason):
        SpaceMouseMapping(**values)
    for what in Button:
        assert what.value in SpaceMouseMapping().describe() or what in (
            *(Button.START, Button.SUCCESS),  # said as NEXT
        )
