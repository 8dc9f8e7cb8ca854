# SPDX-License-Identifier: Apache-2.0
"""Keys that repeat and velocities with a fresh stamp move the tool; everything else holds it."""

import math

import pytest

from ptp_core.errors import InputError
from ptp_robot.action import ActionScale
from ptp_robot.teleoperation import EPISODE, MOTIONS, REQUESTS, Button, Keyboard, Twist

SCALE = ActionScale(translation=0.05, rotation=0.1)


@pytest.fixture
def keyboard():
    return Keyboard()


@pytest.mark.parametrize(("key", "motion"), MOTIONS.items())
def test_each_key_moves_along_its_axis(keyboard, key, motion):
    keyboard.read(key, 0.0)
    move = keyboard.move(0.0)
    assert (move.dead_man, move.action.tolist()) == (True, [*motion, -1.0])


def test_a_key_that_repeats_is_held_and_one_that_does_not_is_let_go(keyboard):
    for tenths in range(10):
        keyboard.read("w", tenths / 10)
        assert keyboard.move(tenths / 10 + 0.05).dead_man
    assert keyboard.move(0.9 + 0.25).dead_man
    last = keyboard.move(0.9 + 0.26)
    assert (last.dead_man, last.action.tolist()) == (False, [0, 0, 0, 0, -1.0])
    assert keyboard.move(1.3) is None


def test_keys_held_together_add_up_until_each_is_let_go(keyboard):
    keyboard.read("wa", 0.0)
    assert keyboard.move(0.0).action[:3].tolist() == [1, 1, 0]
    keyboard.read("a", 0.2)
    assert keyboard.move(0.3).action[:3].tolist() == [0, 1, 0]
    keyboard.read("ad", 0.3)
    assert keyboard.move(0.3).action[:3].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("\x1b[A", (1, 0, 0, 0)),
        ("\x1bOB", (-1, 0, 0, 0)),
        ("\x1b[D\x1b[A", (1, 1, 0, 0)),
        ("\x1b[C", (0, -1, 0, 0)),
    ],
)
def test_arrows_move_too(keyboard, text, action):
    keyboard.read(text, 0.0)
    assert keyboard.move(0.0).action[:4].tolist() == list(action)


@pytest.mark.parametrize("text", [" ", "x", "\x1b", "\x1b[5~", "\x1b[15;2~"])
def test_any_other_key_stops_at_once(keyboard, text):
    keyboard.read("w", 0.0)
    keyboard.move(0.0)
    keyboard.read(text, 0.05)
    assert not keyboard.move(0.05).dead_man
    assert keyboard.move(0.1) is None
    assert keyboard.take_presses() == []


def test_the_gripper_moves_without_another_key_and_stays(keyboard):
    keyboard.read("c", 0.0)
    assert keyboard.move(0.0).action.tolist() == [0, 0, 0, 0, 1]
    keyboard.read("s", 1.0)
    assert keyboard.move(1.0).action.tolist() == [-1, 0, 0, 0, 1]
    keyboard.read("o", 1.1)
    assert keyboard.move(1.1).action[4] == -1


def test_requests_stop_the_arm_and_are_all_said(keyboard):
    keyboard.read("w" + "".join(REQUESTS), 0.0)
    assert keyboard.move(0.0) is None
    assert keyboard.take_presses() == list(REQUESTS.values())
    assert set(REQUESTS.values()) == {*EPISODE, Button.RESET, Button.REARM}
    for key, what in REQUESTS.items():
        assert f"{key}: {what.value}" in keyboard.describe()


@pytest.fixture
def twist():
    return Twist(0.1, "base", SCALE)


def test_a_velocity_becomes_the_motion_of_one_period(twist):
    twist.read("base", [0.1, -0.2, 0.05], 0.5, 0.0, 10.0)
    move = twist.move(10.0)
    assert move.dead_man
    delta = SCALE.to_delta(move.action)
    assert (delta.dx, delta.dy, delta.dz) == pytest.approx((0.01, -0.02, 0.005))
    assert delta.dyaw == pytest.approx(0.05)
    assert delta.gripper == -1.0


def test_a_velocity_beyond_the_limits_is_cut_to_them(twist):
    twist.read("base", [9.0, -9.0, 0.0], 9.0, 0.0, 0.0)
    assert twist.move(0.0).action.tolist() == [1, -1, 0, 1, -1]


def test_a_velocity_counts_from_its_stamp_on(twist):
    twist.read("base", [0.1, 0.0, 0.0], 0.0, 0.2, 10.0)
    assert twist.move(10.09).dead_man
    assert not twist.move(10.11).dead_man
    assert twist.move(10.2) is None


@pytest.mark.parametrize(
    ("linear", "age", "reason"),
    [
        ([0.1, 0.0, 0.0], 0.31, "0.31 s old"),
        ([0.1, 0.0, 0.0], -0.5, "0.50 s ahead"),
        ([0.1, 0.0, 0.0], math.nan, "stamp"),
        ([math.nan, 0.0, 0.0], 0.0, "not finite"),
        ([0.1, math.inf, 0.0], 0.0, "not finite"),
    ],
)
def test_stale_early_and_mad_velocities_are_refused_and_hold_the_arm(twist, linear, age, reason):
    twist.read("base", [0.1, 0.0, 0.0], 0.0, 0.0, 10.0)
    twist.move(10.0)
    with pytest.raises(InputError, match=reason):
        twist.read("base", linear, 0.0, age, 10.1)
    assert not twist.move(10.1).dead_man


def test_a_velocity_in_another_frame_is_refused_and_holds_the_arm(twist):
    twist.read("base", [0.1, 0.0, 0.0], 0.0, 0.0, 10.0)
    twist.move(10.0)
    with pytest.raises(InputError, match='in frame "tool"; "base" is expected'):
        twist.read("tool", [0.1, 0.0, 0.0], 0.0, 0.0, 10.0)
    assert not twist.move(10.0).dead_man


def test_the_gripper_of_another_program_is_set_apart(twist):
    twist.read_gripper(0.5)
    assert twist.move(0.0) is None  # it moves nothing alone
    twist.read("base", [0.0, 0.0, 0.0], 0.0, 0.0, 0.0)
    assert twist.move(0.0).action.tolist() == [0, 0, 0, 0, 0.5]
    for gripper in (1.5, math.nan):
        with pytest.raises(InputError, match="between -1 and 1"):
            twist.read_gripper(gripper)
