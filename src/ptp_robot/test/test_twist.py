# SPDX-License-Identifier: Apache-2.0
"""Velocities of another program: fresh ones move the tool, everything else holds it."""

import math

import pytest

from ptp_core.errors import InputError
from ptp_robot.action import ActionScale
from ptp_robot.twist import Twist

SCALE = ActionScale(translation=0.05, rotation=0.1)


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


def test_it_counts_from_its_stamp_on(twist):
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
def test_stale_early_and_mad_ones_are_refused_and_hold_the_arm(twist, linear, age, reason):
    twist.read("base", [0.1, 0.0, 0.0], 0.0, 0.0, 10.0)
    twist.move(10.0)
    with pytest.raises(InputError, match=reason):
        twist.read("base", linear, 0.0, age, 10.1)
    assert not twist.move(10.1).dead_man


def test_another_frame_is_refused_and_holds_the_arm(twist):
    twist.read("base", [0.1, 0.0, 0.0], 0.0, 0.0, 10.0)
    twist.move(10.0)
    with pytest.raises(InputError, match='in frame "tool"; "base" is expected'):
        twist.read("tool", [0.1, 0.0, 0.0], 0.0, 0.0, 10.0)
    assert not twist.move(10.0).dead_man


def test_the_gripper_is_set_apart(twist):
    twist.read_gripper(0.5)
    assert twist.move(0.0) is None  # it moves nothing alone
    twist.read("base", [0.0, 0.0, 0.0], 0.0, 0.0, 0.0)
    assert twist.move(0.0).action.tolist() == [0, 0, 0, 0, 0.5]
    for gripper in (1.5, math.nan):
        with pytest.raises(InputError, match="between -1 and 1"):
            twist.read_gripper(gripper)
