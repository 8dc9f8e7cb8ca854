# SPDX-License-Identifier: Apache-2.0
"""The driver's states: who moves the arm, what stops it, and what it takes to go on."""

import numpy as np
import pytest

from ptp_robot.arm_driver import DriverError
from ptp_robot.driver_core import ArmDriverState
from ptp_robot.driver_testing import POLICY, SCRIPT, TELEOP, DriverRig

INTERFACES = ("velocity", "position")


def test_nothing_moves_before_a_person_enables():
    rig = DriverRig()
    assert rig.state is ArmDriverState.DISABLED
    assert "disabled" in rig.send(dx=0.02)
    rig.run(1.0)
    assert not rig.backend.sent
    rig.backend.enable()  # somebody else turned the motors on
    rig.run(1.0)
    assert rig.state is ArmDriverState.DISABLED
    assert "disabled" in rig.send(dx=0.02)


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_command_moves_the_tool_by_what_it_asks(interface):
    rig = DriverRig(interface).enable()
    before = rig.tool()
    rig.drive(1, dx=0.01, dy=-0.005, dz=0.008)
    assert rig.state is ArmDriverState.ACTIVE
    rig.drive(2)  # a zero motion leaves the setpoint where it is
    np.testing.assert_allclose(rig.tool() - before, (0.01, -0.005, 0.008), atol=3e-4)


def test_commands_add_up_on_the_setpoint_and_shrink_on_the_measured_pose():
    asked = 12 * 0.02
    moved = {}
    for reference in ("setpoint", "measured"):
        rig = DriverRig(reference=reference).enable()
        before = rig.tool()
        for _ in range(12):
            rig.image()
            assert not rig.send(dy=0.02)
            rig.run(0.08)
        rig.drive(5 if reference == "setpoint" else 0)
        moved[reference] = (rig.tool() - before)[1]
    # Faster than the arm may go: the leash takes a part of the one, the lag most of the other.
    assert 0.6 * asked < moved["setpoint"] <= asked
    assert moved["measured"] < 0.9 * moved["setpoint"]


def test_without_commands_the_arm_holds_in_time_and_goes_on_with_the_next():
    rig = DriverRig().enable()
    rig.drive(1, dx=0.03)
    rig.holds_within(0.21)  # 0.3 s after the command
    assert rig.state is ArmDriverState.HOLD
    assert "no command for 0.3 s" in rig.driver.reason
    rig.drive(1, dx=0.01)
    assert rig.state is ArmDriverState.ACTIVE


def test_a_refused_command_stops_the_arm_and_is_told():
    rig = DriverRig().enable()
    rig.drive(1, dx=0.03)
    rig.image()
    assert "not finite" in rig.send(dx=float("nan"))
    assert rig.state is ArmDriverState.HOLD
    assert "not finite" in rig.image().error
    assert rig.driver.counts.refused == 1
    rig.holds_within(0.01)
    assert "source is 77" in rig.send(77)


def test_a_person_wins_at_once_and_the_policy_waits_for_rearm():
    rig = DriverRig().enable()
    rig.drive(2, dy=0.03)
    rig.image()
    before = rig.tool()
    assert not rig.send(TELEOP, dz=0.02)
    assert rig.state is ArmDriverState.INTERVENTION
    rig.run(0.1)
    assert "policy may not move" in rig.send(POLICY, dy=0.03)
    moved = rig.tool() - before
    assert moved[2] > 0.004
    assert abs(moved[1]) < 1e-3  # what was left of the policy's motion is void
    with pytest.raises(DriverError, match="let go of the dead-man"):
        rig.driver.rearm(rig.time)
    rig.send(TELEOP, dead_man=False)
    assert rig.state is ArmDriverState.INTERVENTION
    rig.holds_within(0.01)
    rig.driver.rearm(rig.time)
    assert rig.state is ArmDriverState.HOLD
    rig.drive(1, dy=0.01)
    assert rig.state is ArmDriverState.ACTIVE


def test_a_script_waits_for_a_policy():
    rig = DriverRig().enable()
    rig.drive(1, dx=0.01)
    rig.image()
    assert "script may not move" in rig.send(SCRIPT, dx=0.01)
    rig.run(0.4)
    rig.image()
    assert not rig.send(SCRIPT, dx=0.01)


def test_a_policy_takes_over_from_a_script_without_a_jump():
    rig = DriverRig("position", gain=0.0).enable()
    rig.drive(2, SCRIPT, dy=0.03)
    rig.backend.place(rig.backend.joints() - np.eye(7)[6] * 0.05)  # it lags behind
    rig.drive(2, dx=0.03)  # the rig's witness sees a jump
    assert rig.state is ArmDriverState.ACTIVE


def test_between_two_images_there_is_one_command_and_the_newest_word_of_a_person_counts():
    rig = DriverRig().enable()
    rig.image()
    assert not rig.send(TELEOP, dx=0.01)
    rig.run(0.02)
    assert not rig.send(TELEOP, dx=0.02)  # waits
    assert not rig.send(TELEOP, dy=0.02)  # in its place
    assert rig.driver.counts.accepted == 1
    first = rig.image()
    assert first.command.dx == 0.01
    assert rig.driver.counts.accepted == 2
    rig.run(0.1)
    assert rig.image().command.dy == 0.02
    rig.run(0.1)
    still = rig.image()
    assert still.command is None


def test_a_waiting_command_is_void_once_the_person_lets_go():
    rig = DriverRig().enable()
    rig.image()
    rig.send(TELEOP, dx=0.01)
    rig.send(TELEOP, dx=0.02)
    rig.send(TELEOP, dead_man=False)
    rig.image()
    assert rig.driver.counts.accepted == 1


def test_an_observation_is_answered_once_and_not_too_late():
    rig = DriverRig().enable()
    rig.image()
    assert not rig.send(observation_seq=1, dx=0.01)
    assert "too late" in rig.send(observation_seq=1, dx=0.01)
    for _ in range(6):
        rig.image()
    assert "too late" in rig.send(observation_seq=2, dx=0.01)
    assert not rig.send(observation_seq=4, dx=0.01)
    assert rig.driver.counts.late == 2
    assert rig.state is ArmDriverState.ACTIVE  # nothing of it is the arm's fault


FAULTS = [
    ("drop_link", "link to the robot was lost"),
    ("press_estop", "emergency stop is pressed"),
    ("disable_motors", "motors went off"),
]


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("fault, text", FAULTS)
def test_faults_are_latched_and_need_clearing_and_enabling(interface, fault, text):
    rig = DriverRig(interface).enable()
    rig.drive(2, dx=0.02)
    rig.backend.fault(fault)
    rig.run(0.02)
    assert rig.state is ArmDriverState.FAULT
    assert text in rig.driver.reason
    rig.run(0.3)
    still = rig.backend.joints()
    rig.backend.mend(fault)
    rig.run(0.5)
    assert rig.state is ArmDriverState.FAULT
    assert "fault" in rig.send(dx=0.02)
    with pytest.raises(DriverError, match="fault is latched"):
        rig.driver.enable(rig.time)
    rig.driver.clear_fault()
    assert rig.state is ArmDriverState.DISABLED
    rig.run(0.5)
    assert rig.state is ArmDriverState.DISABLED
    np.testing.assert_allclose(rig.backend.joints(), still, atol=0.05)
    where = rig.backend.joints() + 0.05  # somebody moved it meanwhile
    rig.backend.place(where)
    rig.enable()
    rig.drive(1)
    # Seeded anew: nothing of the old setpoint is left.
    np.testing.assert_allclose(rig.backend.joints(), where, atol=1e-3)


def test_a_pressed_button_cannot_be_cleared_and_says_so():
    rig = DriverRig().enable()
    rig.backend.fault("press_estop")
    rig.run(0.02)
    with pytest.raises(DriverError, match="pressed"):
        rig.driver.clear_fault()
    rig.backend.fault("drop_link")
    rig.run(0.02)
    with pytest.raises(DriverError, match="not connected"):
        rig.driver.clear_fault()


@pytest.mark.parametrize("fault", ["freeze_joints", "nan_joints"])
def test_stale_joints_hold_the_arm_in_time_and_are_a_fault_when_they_last(fault):
    rig = DriverRig().enable()
    rig.drive(1, dx=0.03)
    rig.image()
    rig.send(dx=0.03)
    rig.backend.fault(fault)
    rig.holds_within(0.12)
    assert rig.state is ArmDriverState.HOLD
    assert "joint positions are" in rig.driver.reason
    rig.image()
    assert "stale" in rig.send(dx=0.01)
    rig.backend.mend(fault)
    rig.run(0.02)
    rig.drive(1, dx=0.01)
    assert rig.state is ArmDriverState.ACTIVE
    rig.backend.fault(fault)
    rig.run(1.2)
    assert rig.state is ArmDriverState.FAULT


def test_joints_from_the_future_are_no_news():
    rig = DriverRig().enable()
    rig.drive(1, dx=0.01)
    rig.backend.fault("freeze_joints")
    rig.time -= 5.0  # what is frozen now lies 5 s ahead
    rig.run(0.05)
    assert rig.state is ArmDriverState.HOLD


def test_a_loop_that_overruns_is_a_fault_and_the_arm_has_stopped_by_then():
    rig = DriverRig(command_timeout=0.3).enable()
    rig.drive(1, dx=0.03)
    rig.run(0.04, period=0.04)
    assert rig.state is ArmDriverState.ACTIVE
    rig.run(0.06, period=0.06)
    assert rig.state is ArmDriverState.FAULT
    assert "60 ms passed between two cycles" in rig.driver.reason


def test_an_arm_that_is_held_is_not_told_to_go_further_than_its_leash():
    rig = DriverRig("position").enable()
    rest = rig.arm.rest_configuration
    for _ in range(12):
        rig.image()
        rig.send(dx=0.02)
        for _ in range(10):
            rig.run(0.01)
            rig.backend.place(rest)
    told = rig.arm.forward(rig.driver.safety.q)[0]
    away = np.linalg.norm(told - rig.arm.forward(rest)[0])
    assert 0.03 < away <= rig.robot.limits.leash + 1e-4


def test_an_arm_that_is_pushed_out_of_the_box_is_a_fault():
    rig = DriverRig().enable()
    rig.drive(1, dz=-0.01)
    low = rig.arm.solve(rig.arm.rest_configuration, (0.675, 0.0, -0.385), 0.0, iterations=60)
    rig.backend.place(low.q)
    rig.run(0.02)
    assert rig.state is ArmDriverState.FAULT
    assert "25 mm outside of the workspace" in rig.driver.reason


def test_an_arm_that_does_not_follow_is_a_fault():
    rig = DriverRig("velocity", tracking=0.05, leash=0.1).enable()
    rig.drive(1, dy=0.03)
    rig.backend.place(rig.backend.joints() + np.eye(7)[6] * 0.08)
    rig.run(0.02)
    assert rig.state is ArmDriverState.FAULT
    assert "joint 6 is 0.08 rad from where it was sent" in rig.driver.reason


def test_outside_of_the_box_only_the_way_home_is_open():
    rig = DriverRig(start=(0.0, -1.18, 0.0, 2.18, 0.0, 0.57, 0.1745)).enable()
    rig.image()
    assert "send it home" in rig.send(dx=0.01)
    rig.driver.reset_pose(rig.time)
    assert rig.state is ArmDriverState.RESETTING
    rig.run(8.0)
    assert rig.state is ArmDriverState.READY
    rig.drive(1, dx=0.01)
    assert rig.state is ArmDriverState.ACTIVE


def test_motors_that_do_not_come_on_or_come_late():
    rig = DriverRig()
    rig.backend.fault("refuse_enable")
    rig.driver.enable(rig.time)
    assert "waits for the robot's motors" in rig.driver.reason
    rig.run(5.1)
    assert rig.state is ArmDriverState.DISABLED
    assert "did not come on within 5 s" in rig.driver.reason
    rig.backend.mend("refuse_enable")
    rig.backend.fault("slow_ack")
    rig.driver.enable(rig.time)
    rig.run(1.9)
    assert rig.state is ArmDriverState.DISABLED
    rig.run(0.3)
    assert rig.state is ArmDriverState.READY


def test_stopping_and_disabling_by_a_person():
    rig = DriverRig().enable()
    rig.drive(1, dx=0.02)
    rig.driver.stop()
    assert rig.state is ArmDriverState.FAULT
    rig.run(0.1)
    assert not rig.backend.reading().enabled
    rig.driver.clear_fault()
    rig.run(0.02)
    rig.enable()
    rig.drive(1, dx=0.02)
    rig.driver.disable()
    rig.run(0.05)
    assert rig.state is ArmDriverState.DISABLED
    assert not rig.backend.reading().enabled


def test_a_link_that_is_not_there_at_first_is_waited_for():
    rig = DriverRig()
    rig.backend.fault("drop_link")
    rig.run(0.02)
    assert rig.state is ArmDriverState.DISCONNECTED
    with pytest.raises(DriverError, match="not connected"):
        rig.driver.enable(rig.time)
    rig.backend.mend("drop_link")
    rig.run(0.02)
    assert rig.state is ArmDriverState.DISABLED


def test_an_arm_that_is_pushed_while_its_gripper_opens_goes_home_from_where_it_is():
    rig = DriverRig().enable()
    rig.driver.reset_pose(rig.time)
    rig.run(0.5)
    rig.backend.place(rig.backend.joints() + 0.05)
    rig.run(12.0)  # what is sent is compared with where the arm is
    assert rig.state is ArmDriverState.READY
