# SPDX-License-Identifier: Apache-2.0
"""The whole path of a real arm in process: the driver's limits, the simulator's law."""

import numpy as np
import pytest

from ptp_core.errors import ConfigError, InputError
from ptp_robot.driver_core import ArmDriverState
from ptp_robot.robot_file import Limits, RobotConfig
from ptp_sim.driven_env import DrivenEnv
from ptp_sim.driven_env import make_env as make_driven_env
from ptp_sim.env import make_env
from ptp_sim.tasks import task_named

FAST = Limits(
    **{"step": 0.05, "step_norm": 0.09, "speed": 10.0, "acceleration": 1000.0, "tracking": 3.0},
    **{"turn_speed": 20.0, "turn_acceleration": 3000.0, "soft_band": 0.0, "leave": 0.3},
    **{"leash": 0.1, "leash_turn": 0.5, "joint_step": 1.0, "joint_speed_ratio": 20.0},
    joint_acceleration=(1e5,) * 7,
)
ROBOT = RobotConfig(name="sim_joint", reference="measured", limits=FAST)


@pytest.fixture(scope="module")
def driven():
    env = DrivenEnv(ROBOT)
    yield env
    env.close()


def walk(env, actions):
    """Motion of the tool in each step (n, 3) [m]."""
    env.reset(seed=1, options={"task": "B"})
    places = [env.world.arm.pose()[0]]
    for action in actions:
        env.step(action)
        places.append(env.world.arm.pose()[0])
    return np.diff(places, axis=0)


def test_a_command_moves_the_tool_as_far_through_the_driver_as_in_training(driven):
    actions = np.random.default_rng(0).uniform(-0.6, 0.6, (30, 5)).astype(np.float32)
    direct = make_env()
    expected, found = walk(direct, actions), walk(driven, actions)
    direct.close()
    assert np.linalg.norm(found - expected, axis=1).mean() < 2e-4
    gain = np.sum(found * expected) / np.sum(expected**2)
    assert gain == pytest.approx(1.0, abs=5e-3)
    assert driven.driver.counts.accepted == 30
    assert driven.driver.state is ArmDriverState.ACTIVE


@pytest.mark.parametrize("task", ["A", "B", "C"])
def test_a_task_can_be_solved_through_the_driver(driven, task):
    _, info = driven.reset(seed=2, options={"task": task})
    rng = np.random.default_rng(2)
    for stage in task_named(task).stages:
        expert, after = stage.expert(driven.world.state(), False, rng), 0
        while after < 15:
            *_, info = driven.step(expert.act(driven.world.state()))
            after += expert.done
            assert driven.driver.counts.accepted < 300, "the expert gets nowhere"
    assert info["success"]


def test_the_robot_is_a_file_or_what_stands_in_one(tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text("name: sim_joint\nlimits: {step: 0.02}\n")
    for robot in (str(path), {"name": "sim_joint", "limits": {"step": 0.02}}):
        env = make_driven_env(robot)
        env.reset(seed=1, options={"task": "B"})
        assert env.driver.limits.step == 0.02
        env.close()
    with pytest.raises(ConfigError, match=r'"limits\.stp"; did you mean "limits\.step"'):
        make_driven_env({"name": "sim_joint", "limits": {"stp": 0.02}})


def test_a_command_beyond_the_limits_is_refused_and_moves_nothing():
    slow = RobotConfig(name="sim_joint", reference="measured", limits=Limits(step=0.01))
    env = DrivenEnv(slow)
    env.reset(seed=1, options={"task": "B"})
    before = env.world.arm.pose()[0]
    with pytest.raises(InputError, match=r"the driver refuses: the command's dx is 0\.05 m"):
        env.step(np.array([1.0, 0, 0, 0, -1], np.float32))
    np.testing.assert_allclose(env.world.arm.pose()[0], before, atol=1e-4)
    env.close()
