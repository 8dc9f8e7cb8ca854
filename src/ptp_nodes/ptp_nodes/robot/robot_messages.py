# SPDX-License-Identifier: Apache-2.0
"""Conversion and checks of messages of the arm driver and of joint states."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from ptp_interfaces.msg import ArmState, CartesianDelta, DriverState, ErrorCode
from sensor_msgs.msg import JointState

from ptp_nodes.robot.ros2_control_config import Ros2ControlConfig
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


RESTART = 1.0  # s: a stamp that goes back by more is of a driver that was started again


@dataclass(frozen=True)
class Joints:
    """Robot state of one message."""

    stamp: float  # when it was received, steady clock [s]
    q: np.ndarray  # (n,) rad
    dq: np.ndarray  # (n,) rad/s
    gripper: float | None  # -1 open .. +1 closed


class JointReader:
    """Keeps the newest complete reading. Messages may have other joints, too, in any order."""

    def __init__(self, config: Ros2ControlConfig, problems: Counter[str]) -> None:
        self._config = config
        self._problems = problems
        self.forget()

    def forget(self) -> None:
        """Discard the robot state."""
        self.newest: Joints | None = None
        self._sent: int | None = None  # stamp of the newest message, ns
        self._gripper: float | None = None

    def read(self, message: JointState, now: float) -> None:
        """Read a message that was received at ``now``, or count its problem."""
        index = {name: i for i, name in enumerate(message.name)}
        self._read_gripper(message, index)
        found = [index[name] for name in self._config.joints if name in index]
        if not found:
            return  # of other joints altogether, such as a gripper's
        if problem := self._wrong(message, index, found):
            self._problems[problem] += 1
            return
        q = np.array([message.position[i] for i in found])
        dq = self._speeds(message, found, q, now)
        if not (np.isfinite(q).all() and np.isfinite(dq).all()):
            self._problems["joint positions that are not finite"] += 1
            return
        self._sent = _nanoseconds(message)
        self.newest = Joints(now, q, dq, self._gripper)

    def _wrong(self, message: JointState, index: dict[str, int], found: list[int]) -> str:
        missing = [name for name in self._config.joints if name not in index]
        if missing:
            return f"joint states without {', '.join(missing)}"
        if len(message.position) != len(message.name):
            return "joint states with more names than positions"
        sent = _nanoseconds(message)
        if sent and self._sent is not None and -RESTART * 1e9 < sent - self._sent <= 0:
            return "joint states that are not newer than the one before"
        return ""

    def _speeds(
        self, message: JointState, found: list[int], q: np.ndarray, now: float
    ) -> np.ndarray:
        """Measured speeds, or differences where the robot measures none."""
        if len(message.velocity) == len(message.name):
            return np.array([message.velocity[i] for i in found])
        before = self.newest
        if before is None or now <= before.stamp:
            return np.zeros_like(q)
        sent, last = _nanoseconds(message), self._sent
        seconds = (sent - last) * 1e-9 if sent and last and sent > last else now - before.stamp
        return (q - before.q) / seconds

    def _read_gripper(self, message: JointState, index: dict[str, int]) -> None:
        place = index.get(self._config.gripper_joint)
        if place is None or place >= len(message.position):
            return
        open_, closed = self._config.gripper_reads
        share = (message.position[place] - open_) / (closed - open_)
        if np.isfinite(share):
            self._gripper = float(np.clip(2.0 * share - 1.0, -1.0, 1.0))


def _nanoseconds(message: JointState) -> int:
    stamp = message.header.stamp
    return stamp.sec * 10**9 + stamp.nanosec
