# SPDX-License-Identifier: Apache-2.0
"""The examples for other arms: whole, within what the code allows, and with as many joints."""

from pathlib import Path

import pytest

from ptp_core.config.loading import from_dict
from ptp_core.errors import ConfigError
from ptp_nodes.robot.ros2_control_backend import Ros2ControlConfig
from ptp_robot.robot_file import load_robot, read_kinematics

ROBOTS = Path(__file__).resolve().parents[3] / "config" / "robots"
EXAMPLES = sorted((ROBOTS / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_read_and_asks_for_the_urdf_of_the_user(path):
    robot = load_robot(path)
    settings = from_dict(Ros2ControlConfig, robot.backend, source=str(path), prefix="backend.")
    count = len(settings.joints)
    assert len(robot.homing.joints) == len(robot.limits.joint_acceleration) == count
    with pytest.raises(ConfigError, match=rf"cannot read the URDF {robot.urdf}"):
        read_kinematics(robot)


def test_the_simulated_arm_and_its_driver_name_the_same_topics():
    robot = load_robot(ROBOTS / "sim_joint.yaml")
    settings = from_dict(Ros2ControlConfig, robot.backend)
    assert settings.name == robot.name
    assert settings.gripper_commands
    assert settings.gripper_joint
