# SPDX-License-Identifier: Apache-2.0
"""The arm driver on a Sawyer that is not there: commands in metres, faults latched."""

import numpy as np
import pytest

from ptp_robot.arm_driver import ArmDriver, DriverError
from ptp_robot.command import Command
from ptp_robot.driver_core import ArmDriverState
from ptp_robot.fakes.sawyer_rig import SawyerRig
from ptp_robot.robot_file import RobotConfig, read_kinematics

PERIOD = 0.01  # s
POLICY = 0


class Driven:
    """A driver, stepped after each period of the robot."""

    def __init__(self, rig):
        self.rig = rig
        self.robot = RobotConfig(name="sawyer")
        self.arm = read_kinematics(self.robot)
        self.driver = ArmDriver(rig.backend, self.arm, self.robot)
        self.count = 0
        rig.backend.connect()
        self.run(0.2)

    def run(self, seconds):
        for _ in range(round(seconds / PERIOD)):
            self.rig.advance(PERIOD)
            self.driver.step(self.rig.now())

    def enable(self):
        self.driver.enable(self.rig.now())
        self.run(0.5)
        assert self.driver.state is ArmDriverState.READY, self.driver.reason

    def send(self, **values):
        self.count += 1
        self.driver.observed(self.count, self.rig.now())
        wish = {"dx": 0.0, "dy": 0.0, "dz": 0.0, "dyaw": 0.0, "gripper": -1.0, **values}
        wish.setdefault("observation_seq", self.count)
        command = Command(POLICY, seq=self.count, frame="base", age=0.01, dead_man=False, **wish)
        text = self.driver.command(command, self.rig.now())
        self.run(0.1)
        return text

    def tool(self):
        return self.arm.forward(self.rig.joints())[0]


@pytest.fixture
def driven():
    with SawyerRig() as rig:
        yield Driven(rig)


@pytest.mark.parametrize("interface", ["velocity", "position"])
def test_the_tool_goes_where_commands_say(interface):
    with SawyerRig(interface=interface) as rig:
        driven = Driven(rig)
        driven.enable()
        start = driven.tool()
        for _ in range(5):
            assert driven.send(dx=0.008, gripper=1.0) == ""
        driven.run(0.6)
        np.testing.assert_allclose(driven.tool() - start, (0.04, 0.0, 0.0), atol=0.006)
        assert driven.driver.state is ArmDriverState.HOLD
        assert rig.intera.opening == pytest.approx(0.0)
        assert rig.backend.problems() == {}


def test_an_arm_without_a_gripper_moves_and_goes_home():
    with SawyerRig(gripper="none") as rig:
        driven = Driven(rig)
        driven.enable()
        start = driven.tool()
        for _ in range(3):
            assert driven.send(dx=0.008, gripper=1.0) == ""
        driven.run(0.6)
        assert driven.tool()[0] - start[0] > 0.015
        driven.driver.reset_pose(rig.now())
        driven.run(8.0)
        assert driven.driver.state is ArmDriverState.READY, driven.driver.reason


@pytest.mark.parametrize(
    "fault", ["drop_link", "press_estop", "disable_motors", "robot_error", "collide"]
)
def test_a_fault_is_latched_until_a_person_clears_it_and_enables(driven, fault):
    driven.enable()
    driven.send(dx=0.01)
    driven.rig.fault(fault)
    driven.run(0.5)
    assert driven.driver.state is ArmDriverState.FAULT, driven.driver.reason
    before = driven.rig.joints()
    driven.rig.mend(fault)
    driven.run(0.5)
    assert driven.send(dx=0.01)
    np.testing.assert_allclose(driven.rig.joints(), before, atol=2e-3)
    with pytest.raises(DriverError, match="latched"):
        driven.driver.enable(driven.rig.now())
    driven.driver.clear_fault()
    driven.run(0.3)
    driven.enable()
    assert driven.send(dx=0.01) == ""


@pytest.mark.parametrize("fault", ["freeze_joints", "nan_joints", "miss_joint", "repeat_joints"])
def test_joints_that_are_not_heard_hold_the_arm(driven, fault):
    driven.enable()
    driven.send(dx=0.01)
    driven.rig.fault(fault)
    driven.run(0.4)
    before = driven.rig.joints()
    assert driven.send(dx=0.01)
    driven.run(1.0)
    np.testing.assert_array_equal(driven.rig.joints(), before)
    assert driven.driver.state is ArmDriverState.FAULT


def test_it_goes_home(driven):
    driven.enable()
    for _ in range(3):
        driven.send(dx=0.01)
    driven.driver.reset_pose(driven.rig.now())
    for _ in range(150):
        driven.run(0.1)
        if driven.driver.state is not ArmDriverState.RESETTING:
            break
    assert driven.driver.state is ArmDriverState.READY, driven.driver.reason
    np.testing.assert_allclose(driven.rig.joints(), driven.robot.homing.joints, atol=0.02)
