# SPDX-License-Identifier: Apache-2.0
"""Joint positions moved through real PyBullet: the law of Cartesian steps, and what is void."""

import numpy as np
import pytest

from ptp_sim.env import make_env
from ptp_sim.joint_table import MOST, QUIET, START, JointTable

STEP = 1.0 / 24.0  # s of a Cartesian control step


@pytest.fixture
def env():
    env = make_env()
    env.reset(seed=1, options={"task": "B"})
    yield env
    env.close()


def test_joint_positions_move_the_arm_as_the_cartesian_step_that_asks_for_them(env):
    actions = np.random.default_rng(3).uniform(-1, 1, (20, 5)).astype(np.float32)
    expected = []
    for action in actions:
        env.step(action)
        expected.append(env.world.arm.joint_positions())
    env.reset(seed=1, options={"task": "B"})
    table, arm, left = JointTable(env.world), env.world.arm, 0.0
    table.command(arm.joint_positions())
    for action, joints in zip(actions, expected, strict=True):
        delta = env.scale.to_delta(action)
        q = arm.joint_positions()
        position, yaw = arm.pose()
        target = env.world.workspace.clip(position + delta.translation)
        table.grip(delta.gripper)
        assert table.command(arm.kinematics.solve(q, target, yaw + delta.dyaw).q) == ""
        for _ in range(10):  # ticks of a driver
            left = table.advance(left + STEP / 10)
        np.testing.assert_allclose(arm.joint_positions(), joints, atol=1e-6)


def test_the_arm_stays_where_it_was_put_until_a_command_starts_there(env):
    table, arm = JointTable(env.world), env.world.arm
    stands = arm.joint_positions()
    assert "after a reset" in table.command(stands + START + 0.01)
    table.advance(MOST)
    np.testing.assert_allclose(arm.joint_positions(), stands, atol=2e-3)
    assert not table.moved()
    assert table.command(arm.joint_positions()) == ""
    assert not table.moved(), "to be told to stay is no step"
    assert table.command(arm.joint_positions() + 0.05) == ""
    assert table.moved()
    table.advance(MOST)
    np.testing.assert_allclose(arm.joint_positions(), stands + 0.05, atol=0.01)


@pytest.mark.parametrize(
    ("q", "text"),
    [
        (np.zeros(3), "has 7 positions, not 3"),
        (np.full(7, np.nan), "not finite"),
        (np.full(7, 0.9), "at most 0.5 rad"),
    ],
)
def test_a_command_that_makes_no_sense_moves_nothing(env, q, text):
    table, arm = JointTable(env.world, leap=0.5), env.world.arm
    start = arm.joint_positions()
    table.command(start)
    table.advance(0.05)
    before = arm.joint_positions()
    assert text in table.command(start + q if q.shape == (7,) else q)
    table.advance(0.05)
    np.testing.assert_allclose(arm.joint_positions(), before, atol=1e-4)


def test_some_time_after_a_reset_a_command_need_not_start_where_the_arm_is(env):
    table, arm = JointTable(env.world), env.world.arm
    wanted = arm.joint_positions() + 0.1
    assert table.command(wanted)
    for _ in range(round(QUIET / MOST) + 1):
        table.advance(MOST)
    assert table.command(wanted) == ""


def test_a_driver_that_says_for_long_to_stay_where_the_arm_was_before_a_reset_is_not_obeyed(env):
    table, arm = JointTable(env.world), env.world.arm
    old = arm.joint_positions() + 0.1
    table.command(arm.joint_positions())
    table.command(old)
    table.reset()
    for _ in range(20):
        assert table.command(old)
        table.advance(MOST)
    assert table.command(old + 0.05) == "", "but another command is"


def test_time_that_the_machine_lacks_is_left_over(env):
    table = JointTable(env.world)
    assert table.advance(0.01) == pytest.approx(0.01 - 2 / 240)
    assert table.advance(5.0) == pytest.approx(5.0 - MOST)


def test_a_closed_gripper_takes_the_block_when_it_comes_near(env):
    table, arm = JointTable(env.world), env.world.arm
    block = env.world.state().block
    q = arm.joint_positions()
    table.command(q)
    table.grip(1.0)
    table.advance(0.05)
    assert not arm.holding
    goal = arm.kinematics.solve(q, [*block[:2], -0.2], 0.0, iterations=100).q
    for share in np.linspace(0.0, 1.0, 60):
        table.command(q + share * (goal - q))
        table.advance(0.05)
    assert arm.holding
    table.grip(-1.0)
    table.advance(0.05)
    assert not arm.holding
