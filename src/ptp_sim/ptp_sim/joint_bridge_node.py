# SPDX-License-Identifier: Apache-2.0
"""Node: the simulated table as a robot with joint controllers and a camera.

It replaces ros2_control's joint_state_broadcaster and forward_command_controllers of arm and
gripper, the camera, and the person who sets up scenes and does the success check. The arm driver
drives it as it would drive a real arm.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from ptp_robot.kinematics import ARM_JOINTS
from ptp_ros.diagnostics import OK, WARN, Diagnostics
from ptp_ros.node_main import run
from ptp_ros.topics import ARM_COMMANDS, COMMANDS, GRIPPER_COMMANDS, JOINT_STATES
from ptp_sim.joint_table import JointTable
from ptp_sim.table_node import FINGER_JOINT, JointBridgeParameters, TableNode

FIRST_SCENE = "A"  # that stands on the table before anybody asks for one


class JointBridgeNode(TableNode):
    """Runs the table on a steady clock, whether or not commands come.

    As a forward_command_controller it has no watchdog: the arm goes to the last position that it
    was told. A command that is not finite, of another length, or too far from where the arm is,
    moves nothing. After a reset, which puts the arm somewhere else at once, a driver may go on to
    say for a while where the arm was: that moves nothing, either.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("joint_bridge", JointBridgeParameters, **options)
        settings = self._settings
        self._env.reset(seed=0, options={"task": FIRST_SCENE})
        self._table = JointTable(self._env.world, settings.leap)
        self._speed = settings.speed or settings.rate * self._env.world.step_seconds
        self._time, self._due, self._lost = time.monotonic(), 0.0, 0.0
        self._refused = 0
        self._joints = self.create_publisher(JointState, JOINT_STATES, COMMANDS)
        subscribe = self._streams.subscribe
        subscribe(Float64MultiArray, ARM_COMMANDS, self._alone(self._commanded), COMMANDS)
        subscribe(Float64MultiArray, GRIPPER_COMMANDS, self._alone(self._gripped), COMMANDS)
        Diagnostics(self, self._status)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / settings.joint_rate, self._alone(self._tick), clock=steady)
        self.create_timer(1.0 / settings.rate, self._alone(self._look), clock=steady)

    def _begin(self) -> None:
        self._table.reset()
        self._publish_joints()  # before the first image: its state shows the arm there

    def _commanded(self, message: Float64MultiArray) -> None:
        self._refuse(self._table.command(message.data))

    def _gripped(self, message: Float64MultiArray) -> None:
        values = list(message.data)
        if len(values) == 1 and math.isfinite(values[0]) and abs(values[0]) <= 1.0:
            self._table.grip(values[0])
        else:
            self._refuse(f"a gripper command is one number between -1 and 1, not {values}")

    def _refuse(self, reason: str) -> None:
        if reason:
            self._refused += 1
            self.get_logger().warning(reason, throttle_duration_sec=1.0)

    def _tick(self) -> None:
        """Let the time pass that has passed, and say where the joints are."""
        now = time.monotonic()
        self._due += (now - self._time) * self._speed
        self._time = now
        left = self._table.advance(self._due)
        self._lost += max(left - self._table.most, 0.0)  # time that cannot be made up for
        self._due = min(left, self._table.most)
        self._publish_joints()

    def _publish_joints(self) -> None:
        q, dq = self._env.world.arm.joint_states()
        opening = self._env.world.arm.opening() / 2  # the other finger mimics this one
        message = JointState(name=[*ARM_JOINTS, FINGER_JOINT])
        message.position, message.velocity = [*q, opening], [*dq, 0.0]
        message.header.stamp = self._stamp()
        self._joints.publish(message)

    def _look(self) -> None:
        self._publish_image()  # still due
        self._gate.observed(time.monotonic())
        pixels = self._look_at_table()
        self._publish(pixels)

    def _look_at_table(self) -> np.ndarray:
        image, _, _, _, info = self._env.look()
        if self._table.moved():
            self._count_step(info)
        self._info = info
        return image

    def _status(self):
        figures = {
            "task": self._task or "none",
            "observation": self._gate.observation_seq,
            "steps": self._steps,
            "refused": self._refused,
            "lost_seconds": self._lost,
        }
        if not self._task:
            return WARN, "waiting for a reset", figures
        return OK, "running", figures


def main() -> int:
    """Entry point."""
    return run(JointBridgeNode)
