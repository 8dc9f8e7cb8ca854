# SPDX-License-Identifier: Apache-2.0
"""The physics keeps the paper's step law and forgets everything at a reset."""

import numpy as np
import pybullet
import pytest

from ptp_robot.action import ActionScale
from ptp_sim.scene import BLOCK_ON_TABLE_Z, USUAL, Bodies
from ptp_sim.tasks import TASKS
from ptp_sim.world import TableWorld

SCALE = ActionScale()
OPEN_SPACE = TASKS["B"].scene.with_(tcp_xyz=(0.68, 0.0, -0.15), can_xy=(0.61, 0.1))


@pytest.fixture(scope="module")
def world():
    world = TableWorld()
    yield world
    world.close()


def drive(world, action, steps):
    states = [world.state()]
    for _ in range(steps):
        world.step(SCALE.to_delta(np.array(action, float)))
        states.append(world.state())
    return states


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("size, low, high", [(1.0, 29.0, 33.0), (0.5, 15.0, 17.0)])
def test_step_covers_what_the_authors_environment_covers(world, axis, size, low, high):
    """Measured there: about 30 to 33 mm a unit action in steady state, 16 mm half an action."""
    world.reset(OPEN_SPACE)
    action = [0.0, 0.0, 0.0, 0.0, -1.0]
    action[axis] = -size
    states = drive(world, action, 3)
    moved = 1e3 * abs(states[-1].tcp[axis] - states[-2].tcp[axis])
    assert low < moved < high


def test_unit_yaw_turns_as_in_the_authors_environment(world):
    world.reset(OPEN_SPACE)
    states = drive(world, [0, 0, 0, 1, -1], 3)
    assert np.rad2deg(states[-1].tcp_yaw - states[-2].tcp_yaw) == pytest.approx(3.26, abs=0.1)


def test_reset_gives_the_same_episode_whatever_went_before(world):
    def episode():
        world.reset(TASKS["C"].scene)
        rng = np.random.default_rng(5)
        for _ in range(30):
            world.step(SCALE.to_delta(rng.uniform(-1, 1, 5)))
        return world.state(), world.observe()

    first, picture = episode()
    for name in ("A", "B"):
        world.reset(TASKS[name].scene)
        drive(world, [0.3, 0.2, -1, 0.5, 1], 25)
    again, same_picture = episode()
    for key, value in first.as_dict().items():
        np.testing.assert_array_equal(value, again.as_dict()[key], err_msg=key)
    np.testing.assert_array_equal(picture, same_picture)


def test_other_bodies_leave_no_trace_in_the_usual_world(world):
    other = Bodies((0.9, 0.8, 0.1), (0.1, 0.1, 0.1), size=1.15, friction=0.5)

    def episode(bodies):
        world.reset(TASKS["C"].scene.with_(bodies=bodies))
        first = world.observe()
        rng = np.random.default_rng(5)
        for _ in range(20):
            world.step(SCALE.to_delta(rng.uniform(-1, 1, 5)))
        return world.state().as_dict(), first, world.observe()

    usual, shifted = episode(USUAL), episode(other)
    again, shifted_again = episode(USUAL), episode(other)
    for one, same in ((usual, again), (shifted, shifted_again)):
        for key, value in one[0].items():
            np.testing.assert_array_equal(value, same[0][key], err_msg=key)
        np.testing.assert_array_equal(one[1], same[1])
        np.testing.assert_array_equal(one[2], same[2])
    assert not np.array_equal(usual[1], shifted[1])


def test_size_mass_and_friction_of_other_bodies_follow_the_scene(world):
    heights = {}
    for size, friction in ((1.0, 1.0), (0.85, 1.5)):
        bodies = Bodies(size=size, friction=friction)
        world.reset(OPEN_SPACE.with_(can_xy=(0.73, -0.09), bodies=bodies))
        state = world.state()
        heights[size] = state.can[2], state.block[2]
        client = world._client
        found = [
            pybullet.getDynamicsInfo(body, -1, physicsClientId=client)[:2]
            for body in (world._can, world._block)
        ]
        assert np.allclose(found, [(size**3, friction), (0.2 * size**3, friction)])
    grown = np.subtract(heights[0.85], heights[1.0])
    assert np.allclose(grown, (-0.15 * 0.035, -0.15 * 0.023), atol=0.001)


def test_free_tool_stays_in_the_workspace_box(world):
    """Above the drawer: in contact, what it pushes against may push it out a little."""
    world.reset(OPEN_SPACE)
    rng = np.random.default_rng(0)
    for _ in range(12):
        push = np.append(np.sign(rng.uniform(-1, 1, 2)), [1.0, 0.0, -1.0])
        tcp = drive(world, push, 10)[-1].tcp
        assert 0.49 < tcp[0] < 0.86 and -0.21 < tcp[1] < 0.21 and -0.37 < tcp[2] < -0.09
    world.reset(OPEN_SPACE)
    assert drive(world, [0, -1, -1, 0, -1], 15)[-1].tcp[2] > -0.37


def test_setpoint_stays_in_the_workspace_box_whatever_is_asked_and_touched(world):
    world.reset(TASKS["B"].scene)
    rng = np.random.default_rng(1)
    for _ in range(40):
        asked = np.append(np.sign(rng.uniform(-1, 1, 2)), [-1.0, 0.0, -1.0])
        before = world.arm.pose()[0]
        drive(world, asked, 1)
        wished = before + SCALE.to_delta(asked).translation
        np.testing.assert_allclose(world.arm.setpoint[0], world.arm.workspace.clip(wished))
    world.reset(TASKS["B"].scene)
    np.testing.assert_allclose(world.arm.setpoint[0], world.arm.pose()[0], atol=1e-3)


def block_below(world, offset):
    x, y, _ = OPEN_SPACE.tcp_xyz
    world.reset(OPEN_SPACE.with_(block_xyz=(x + offset, y, BLOCK_ON_TABLE_Z)))


def test_assisted_grasp_takes_the_block_from_any_height(world):
    block_below(world, 0.03)
    state = drive(world, [0, 0, 0, 0, 1], 8)[-1]
    assert state.holding
    assert np.linalg.norm(state.block - state.tcp) < 0.01


def test_assisted_grasp_leaves_a_block_out_of_its_radius(world):
    block_below(world, 0.05)
    state = drive(world, [0, 0, 0, 0, 1], 8)[-1]
    assert not state.holding
    assert state.block[2] == pytest.approx(BLOCK_ON_TABLE_Z, abs=0.002)


def test_opening_the_gripper_drops_the_block(world):
    block_below(world, 0.0)
    drive(world, [0, 0, 0, 0, 1], 8)
    state = drive(world, [0, 0, 0, 0, -1], 15)[-1]
    assert not state.holding
    assert state.block[2] < -0.3


def test_physical_grasp_lifts_the_block_by_friction_alone():
    world = TableWorld(grasp="physical")
    x, y, _ = OPEN_SPACE.tcp_xyz
    world.reset(OPEN_SPACE.with_(block_xyz=(x, y, BLOCK_ON_TABLE_Z)))
    drive(world, [0, 0, 0, 0, 1], 8)
    assert world.state().block[2] == pytest.approx(BLOCK_ON_TABLE_Z, abs=0.002)
    drive(world, [0, 0, 0, 0, -1], 4)
    drive(world, [0, 0, -1, 0, -1], 8)
    drive(world, [0, 0, 0, 0, 1], 8)
    state = drive(world, [0, 0, 1, 0, 1], 6)[-1]
    assert state.block[2] > -0.25 and not state.holding
    world.close()


def test_unknown_grasp_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="assisted, physical"):
        TableWorld(grasp="magic")


def test_start_pose_out_of_reach_is_named(world):
    with pytest.raises(ValueError, match="out of reach"):
        world.reset(OPEN_SPACE.with_(tcp_xyz=(1.6, 0.0, -0.2)))
