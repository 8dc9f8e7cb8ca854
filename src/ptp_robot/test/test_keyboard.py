# SPDX-License-Identifier: Apache-2.0
"""The keyboard: a key that repeats is held, one that stops repeating is let go."""

import pytest

from ptp_robot.keyboard import MOTIONS, REQUESTS, Keyboard
from ptp_robot.teleoperation import EPISODE, Button


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
