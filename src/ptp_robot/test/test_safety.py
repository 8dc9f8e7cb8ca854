# SPDX-License-Identifier: Apache-2.0
"""The filter step by step: setpoint, box, singularities, forces, the way home."""

import numpy as np
import pytest

from ptp_robot.arm_driver import DriverError
from ptp_robot.driver_core import ArmDriverState
from ptp_robot.driver_testing import TELEOP, DriverRig
from ptp_robot.robot_file import HomingConfig, Limits, RobotConfig, read_kinematics
from ptp_robot.safety import SafetyFilter

ARM = read_kinematics(RobotConfig())


def follow(safety, cycles=400):
    """Follow until the arm arrives or stands for a reason: tool points [m] and the last motion."""
    points = [safety.pose(safety.q)[0]]
    for _ in range(cycles):
        motion = safety.follow(0.01)
        points.append(safety.pose(motion.q)[0])
        if motion.arrived or motion.reason:
            break
    return np.array(points), motion


def made(target, yaw=0.0, q=None, **limits):
    """A filter at rest that is told to go to a target."""
    safety = SafetyFilter(ARM, Limits(**limits))
    safety.seed(ARM.rest_configuration if q is None else q)
    safety.setpoint.position, safety.setpoint.yaw = np.array(target, float), yaw
    return safety


def test_the_tool_goes_straight_at_the_speed_allowed_and_stops_without_overshoot():
    safety = made((0.60, 0.1, -0.2))
    points, motion = follow(safety)
    assert motion.arrived
    np.testing.assert_allclose(points[-1], (0.60, 0.1, -0.2), atol=5e-5)
    speeds = np.linalg.norm(np.diff(points, axis=0), axis=1) / 0.01
    assert 0.14 < speeds.max() <= 0.15 + 1e-6
    assert np.diff(speeds).max() <= 1.0 * 0.01 + 1e-3  # m/s a cycle: 1 m/s^2
    way = points[-1] - points[0]
    off = np.cross(points - points[0], way) / np.linalg.norm(way)
    assert np.abs(off).max() < 2e-4


def test_the_tool_turns_and_only_turns():
    safety = made(ARM.forward(ARM.rest_configuration)[0], yaw=0.8)
    points, motion = follow(safety)
    assert motion.arrived
    assert safety.pose(safety.q)[1] == pytest.approx(0.8, abs=1e-3)
    assert np.linalg.norm(points - points[0], axis=1).max() < 2e-4


def test_near_a_face_the_tool_slows_down():
    safety = made((0.675, 0.0, -0.3598))
    points, _ = follow(safety)
    speeds = np.linalg.norm(np.diff(points, axis=0), axis=1) / 0.01
    height = points[1:, 2] + 0.36
    assert speeds[(height > 0.03) & (height < 0.08)].max() > 0.14
    assert speeds[height < 0.01].max() < 0.5 * 0.15 + 0.01


def test_what_no_go_boxes_hold_is_not_entered():
    safety = made((0.6, 0.0, -0.23), no_go=((0.62, -0.05, -0.3, 0.64, 0.05, -0.1),))
    points, motion = follow(safety)
    assert "held back" in motion.reason
    assert 0.64 - 1e-6 <= points[-1, 0] < 0.642


def test_a_singularity_slows_the_arm_and_then_holds_it():
    stretched = (0.85, 0.2, -0.1)
    free = made(stretched, condition_slow=2.0, condition_hold=50.0)
    follow(free)
    worst = free.condition
    safety = made(stretched, condition_slow=9.0, condition_hold=worst - 1.0)
    points, motion = follow(safety, 2000)
    assert "near a singularity" in motion.reason
    assert safety.condition < worst - 1.0
    speeds = np.linalg.norm(np.diff(points[:-1], axis=0), axis=1) / 0.01
    assert speeds[-1] < 0.06
    safety.setpoint.position = np.array((0.675, 0.0, -0.23))  # the way back is open
    assert follow(safety)[1].arrived


def test_what_is_out_of_reach_is_said():
    safety = made((1.4, 0.0, -0.2), box_upper=(1.45, 0.2, -0.1), condition_slow=30.0)
    safety.limits = Limits(box_upper=(1.45, 0.2, -0.1), condition_slow=30.0, condition_hold=50.0)
    _, motion = follow(safety, 3000)
    assert "out of reach" in motion.reason or "singularity" in motion.reason


def test_the_setpoint_leads_the_arm_by_no_more_than_the_leash():
    rig = DriverRig("position").enable()
    for _ in range(10):
        rig.image()
        rig.send(dy=0.03)
        rig.run(0.03)  # faster than it can go
        setpoint = rig.driver.safety.setpoint.position
        assert np.linalg.norm(setpoint - rig.tool()) <= 0.05 + 1e-3


def pressed(newton, **options):
    """A rig whose tool is pushed up by so much while a policy goes down."""
    rig = DriverRig("position", wrench=True, **options)
    rig.backend.push((0.0, 0.0, -9.0, 0.0, 0.0, 0.0))  # the tool's own weight
    rig.enable().run(0.3)
    assert abs(rig.driver.forces.force) < 1e-6
    rig.drive(1, dz=-0.01)
    rig.backend.push((0.0, 0.0, newton - 9.0, 0.0, 0.0, 0.0))
    rig.run(0.1)
    return rig


def test_the_weight_of_the_tool_is_measured_before_anything_moves():
    rig = DriverRig(wrench=True).enable()
    rig.image()
    assert "weight" in rig.send(dx=0.01)
    rig.run(0.25)
    rig.drive(1, dx=0.01)


def test_a_contact_blocks_the_way_into_it_and_no_other():
    rig = pressed(20.0)
    before = rig.tool()
    rig.drive(3, dx=0.01, dz=-0.01)
    moved = rig.tool() - before
    assert moved[2] > -1e-3
    assert moved[0] > 0.015
    rig.drive(2, dz=0.01)
    assert rig.tool()[2] > before[2] + 0.005


def test_a_hard_contact_makes_the_arm_go_up_and_then_wait():
    rig = pressed(35.0)
    before = rig.tool()[2]
    assert rig.state is ArmDriverState.HOLD
    assert "N press the tool: goes up" in rig.driver.reason
    rig.image()
    assert "not ready" in rig.send(dz=-0.01)
    rig.backend.push((0.0, 0.0, -9.0, 0.0, 0.0, 0.0))
    rig.run(2.1)
    assert rig.tool()[2] - before == pytest.approx(0.02, abs=4e-3)
    assert "waits for a command" in rig.driver.reason
    rig.drive(1, dz=-0.01)
    assert rig.state is ArmDriverState.ACTIVE


def test_a_contact_that_stays_is_a_fault_and_a_blow_stops_the_robot():
    rig = pressed(35.0)
    rig.run(2.1)
    assert rig.state is ArmDriverState.FAULT
    assert "also after a retreat" in rig.driver.reason
    rig = pressed(80.0)
    assert rig.state is ArmDriverState.FAULT
    assert not rig.backend.reading().enabled


def home(rig, seconds=15.5):
    rig.driver.reset_pose(rig.time)
    rig.run(0.02)
    rig.run(seconds - 0.02)
    return rig


def test_the_way_home_opens_lifts_moves_and_verifies():
    rig = DriverRig().enable()
    rig.drive(3, dx=-0.03, dz=-0.03, gripper=1.0)
    before = rig.tool()
    rig.driver.reset_pose(rig.time)
    rig.run(0.9)
    assert rig.backend.reading().gripper == -1.0
    np.testing.assert_allclose(rig.tool(), before, atol=1e-9)  # the gripper opens first
    way = []
    for _ in range(700):
        rig.run(0.01)
        way.append(rig.tool() - before)
    way = np.array(way)
    assert 0.075 < way[:, 2].max() < 0.085
    rising = way[: way[:, 2].argmax()]
    assert np.abs(rising[rising[:, 2] < 0.07, :2]).max() < 3e-3  # straight up
    assert rig.state is ArmDriverState.READY
    assert np.abs(rig.backend.joints() - ARM.rest_configuration).max() < 0.02


def test_a_bent_way_home_goes_in_a_straight_line_first():
    elbow_up = (0.0, -1.18, 0.0, 2.18, 0.0, 0.57, 0.1745)
    corner = ARM.solve(elbow_up, (0.6, 0.1, -0.3), 0.0, iterations=100, rest_gain=0.0)
    assert corner.ok
    rig = DriverRig("position", start=corner.q, homing=HomingConfig(lift=0.0)).enable()
    way = ARM.rest_configuration - corner.q
    direct = [rig.backend.safety.outside(corner.q + p * way) for p in np.linspace(0, 1, 50)]
    assert max(direct) > 1e-3  # the joints alone would leave the box; the witness sees to it
    home(rig)
    assert rig.state is ArmDriverState.READY


def test_an_arm_that_does_not_get_home_is_a_fault_in_time():
    rig = DriverRig("position").enable()
    rig.drive(3, dy=0.03)
    rig.driver.reset_pose(rig.time)
    start = rig.backend.joints()
    for _ in range(1600):
        rig.run(0.01)
        rig.backend.place(start)  # somebody holds it
        if rig.state is not ArmDriverState.RESETTING:
            break
    assert rig.state is ArmDriverState.FAULT


def test_a_person_interrupts_the_way_home():
    rig = DriverRig().enable()
    rig.drive(2, dy=0.03)
    rig.driver.reset_pose(rig.time)
    rig.run(1.5)
    rig.image()
    assert "on its way home" in rig.send(dx=0.01)
    assert not rig.send(TELEOP, dx=0.01)
    assert rig.state is ArmDriverState.INTERVENTION
    with pytest.raises(DriverError, match="a person holds"):
        rig.driver.reset_pose(rig.time)
    rig.send(TELEOP, dead_man=False)
    rig.run(0.4)
    home(rig)
    # Home, and still not given back.
    assert rig.state is ArmDriverState.INTERVENTION
    rig.driver.rearm(rig.time)
    assert rig.state is ArmDriverState.HOLD
