# SPDX-License-Identifier: Apache-2.0
"""Joint positions moved through real PyBullet: the law of Cartesian steps, and what is void."""

import numpy as np
import pytest

from ptp_sim.env import make_env
from ptp_sim.joint_table import MOST, JointTable

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


def test_a_motion_or_rest_from_before_a_reset_moves_nothing_and_the_next_motion_does(env):
    table, arm = JointTable(env.world), env.world.arm
    stands = arm.joint_positions()
    table.command(stands)
    table.command(stands + 0.1)
    table.advance(MOST)
    env.reset(seed=1, options={"task": "B"})
    table.reset()
    np.testing.assert_allclose(arm.joint_positions(), stands, atol=2e-3)
    for step in range(30):  # a driver that moves on, then says for long to stay
        old = stands + 0.1 + 0.02 * min(step, 5)
        assert "before the reset" in table.command(old)
        table.advance(MOST)
    np.testing.assert_allclose(arm.joint_positions(), stands, atol=2e-3)
    assert not table.moved()
    assert table.command(stands - 0.1) == ""
    table.advance(MOST)
    np.testing.assert_allclose(arm.joint_positions(), stands - 0.1, atol=0.05)
    assert table.command(old) == "", "from now on the arm is under command"


def test_to_be_told_to_stay_is_no_step(env):
    table, arm = JointTable(env.world), env.world.arm
    stands = arm.joint_positions()
    assert table.command(stands) == ""
    assert table.command(stands) == ""
    assert not table.moved()
    assert table.command(stands + 0.05) == ""
    assert table.moved()
    assert not table.moved(), "once"


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
