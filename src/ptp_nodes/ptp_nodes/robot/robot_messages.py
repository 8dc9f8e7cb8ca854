# SPDX-License-Identifier: Apache-2.0
"""Conversion and checks of messages of the arm driver and of joint states."""

from __future__ import annotations

import numpy as np
from ptp_interfaces.msg import ArmState, CartesianDelta, DriverState, ErrorCode
from sensor_msgs.msg import JointState

from ptp_robot.arm_driver import ArmDriver
from ptp_robot.backends.backend import JointReading
from ptp_robot.command import Command
from ptp_robot.driver_core import ArmDriverState, Interval
from ptp_ros.arm_state_messages import ArmReading, fill_motion
from ptp_ros.request_errors import RequestError, fill_error
from ptp_ros.topics import BASE_FRAME

__all__ = ["arm_reading", "arm_state", "driver_state", "joint_state", "to_command"]

FINGER_JOINT = "gripper_l_finger_joint"  # the other finger mimics it
FINGER_TRAVEL = 0.04  # m, open


def to_command(message: CartesianDelta, now: int, heard_from: int) -> Command:
    """The command in a message; ``now``: ROS time [ns], ``heard_from``: source of its topic."""
    stamp = message.header.stamp
    return Command(
        source=message.source,
        seq=message.seq,
        frame=message.header.frame_id,
        age=(now - stamp.sec * 10**9 - stamp.nanosec) * 1e-9,
        dx=message.dx,
        dy=message.dy,
        dz=message.dz,
        dyaw=message.dyaw,
        gripper=message.gripper,
        dead_man=message.dead_man,
        observation_seq=message.observation_seq,
        heard_from=heard_from,
        message=message,
    )


def arm_reading(interval: Interval) -> ArmReading | None:
    """Measurement at the end of an interval; None: no measurement yet."""
    if interval.reading is None:
        return None
    return ArmReading(interval.position, interval.yaw, interval.reading.q, interval.setpoint)


def arm_state(
    driver: ArmDriver, interval: Interval, before: ArmReading, seconds: float
) -> ArmState:
    """ArmState of an observation; ``before``: the arm at the one before, ``seconds`` ago."""
    reading, command = interval.reading, interval.command
    state = ArmState(holding=interval.holding, taken_over=interval.taken_over)
    fill_motion(state, before, arm_reading(interval), max(seconds, 1e-3))
    state.joint_names = list(driver.backend.joint_names)
    state.gripper = driver.gripper if reading.gripper is None else reading.gripper
    state.clamped = interval.clamped
    if command is not None:
        state.moved = True
        state.command, state.command_seq = command.message, command.seq
        state.latency = interval.latency
    if interval.error:
        fill_error(state, RequestError(ErrorCode.BAD_COMMAND, interval.error))
    elif driver.state in (ArmDriverState.FAULT, ArmDriverState.DISCONNECTED):
        fill_error(state, RequestError(ErrorCode.UNAVAILABLE, driver.reason))
    return state


def driver_state(driver: ArmDriver, limits: str, reference: str, now: float) -> DriverState:
    """DriverState of the driver; ``limits``: digest of its limits, ``now``: its clock [s]."""
    reading, safety, counts = driver.reading, driver.safety, driver.counts
    state = DriverState(
        state=int(driver.state),
        reason=driver.reason,
        backend=driver.name,
        interface=driver.backend.interface,
        reference=reference,
        limits=limits,
        wrench_valid=driver.forces.valid,
        condition=safety.condition,
        ik_residual=safety.residual,
        loop_rate=driver.meter.rate,
        loop_worst=driver.meter.worst,
        accepted=counts.accepted,
        refused=counts.refused,
        clamped=counts.clamped,
    )
    if reading is not None:
        state.robot_enabled = reading.enabled
        state.joint_margin = safety.margin(reading.q)
        # A back-end may stamp within the cycle; one far ahead is as useless as an old one.
        state.reading_age = abs(now - reading.stamp)
    if driver.forces.valid:
        force, torque = np.split(driver.forces.wrench, 2)
        for vector, values in ((state.wrench.force, force), (state.wrench.torque, torque)):
            vector.x, vector.y, vector.z = values.tolist()
    return state


def joint_state(names: tuple[str, ...], reading: JointReading, fingers: bool) -> JointState:
    """Measured joints, with the finger of our own gripper where ``fingers``."""
    joints = JointState(name=list(names))
    joints.header.frame_id = BASE_FRAME
    positions, velocities = reading.q.tolist(), reading.dq.tolist()
    if fingers and reading.gripper is not None:
        joints.name.append(FINGER_JOINT)
        positions.append(FINGER_TRAVEL * 0.5 * (1.0 - reading.gripper))
        velocities.append(0.0)
    joints.position, joints.velocity = positions, velocities
    return joints
