# SPDX-License-Identifier: Apache-2.0
"""Node: a person moves the arm with a gamepad, and gives it back."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from typing import Any

from ptp_interfaces.msg import CartesianDelta, ErrorCode
from ptp_interfaces.srv import Rearm
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Joy

from ptp_core.errors import InputError
from ptp_robot.action import ActionScale
from ptp_robot.gamepad import Gamepad, GamepadMapping
from ptp_ros.diagnostics import ERROR, OK, WARN, Diagnostics
from ptp_ros.parameters import declare, parameter
from ptp_ros.run import run
from ptp_ros.topics import BASE_FRAME, COMMAND, COMMANDS, JOY, REARM

DEFAULT = GamepadMapping()
SCALE = ActionScale()


@dataclass(frozen=True)
class TeleopParameters:
    """Parameters of the teleop node; axes and buttons are numbered as joy_node does."""

    rate: float = parameter(10.0, "commands a second, Hz", minimum=1.0, maximum=60.0)
    patience: float = parameter(
        0.2, "s without a reading until the gamepad counts as let go", minimum=0.05, maximum=1.0
    )
    speed: float = parameter(
        0.5, "part of the largest motion that a full stick asks for", minimum=0.01, maximum=1.0
    )
    axis_x: int = parameter(DEFAULT.axis_x, "forward and back", minimum=0)
    axis_y: int = parameter(DEFAULT.axis_y, "left and right", minimum=0)
    axis_z: int = parameter(DEFAULT.axis_z, "up and down", minimum=0)
    axis_yaw: int = parameter(DEFAULT.axis_yaw, "turn left and right", minimum=0)
    button_dead_man: int = parameter(
        DEFAULT.button_dead_man, "held while the arm is moved", minimum=0
    )
    button_close: int = parameter(DEFAULT.button_close, "close the gripper", minimum=0)
    button_open: int = parameter(DEFAULT.button_open, "open the gripper", minimum=0)
    button_rearm: int = parameter(
        DEFAULT.button_rearm, "give the arm back to the policy", minimum=0
    )
    dead_zone: float = parameter(
        DEFAULT.dead_zone, "of an axis around its rest", minimum=0.0, maximum=0.9
    )


class TeleopNode(Node):
    """Reads `Joy`; publishes `CartesianDelta` while the dead-man switch is held.

    Letting go, a silent gamepad and a reading that makes no sense all send one command that holds
    still. A button asks for the arm to be given back to the policy.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("teleop", **options)
        self._settings = settings = declare(self, TeleopParameters)
        names = [field.name for field in fields(GamepadMapping)]
        mapping = GamepadMapping(**{name: getattr(settings, name) for name in names})
        self._gamepad = Gamepad(mapping, settings.patience)
        self._scale = ActionScale(
            SCALE.translation * settings.speed, SCALE.rotation * settings.speed
        )
        self._seq = self._readings = self._refused = 0
        self._holding = False
        self._commands = self.create_publisher(CartesianDelta, COMMAND, COMMANDS)
        self._rearm = self.create_client(Rearm, REARM)
        # Several deep: a button pressed briefly must not be overtaken.
        self.create_subscription(Joy, JOY, self._read, qos_profile_sensor_data)
        self.create_timer(
            1.0 / settings.rate, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        Diagnostics(self, self._status)
        self.get_logger().info(mapping.describe())
        self.get_logger().info(f"waiting for a gamepad on {self.resolve_topic_name(JOY)}")

    def _read(self, message: Joy) -> None:
        if not self._readings:
            self.get_logger().info("the gamepad is there")
        self._readings += 1
        try:
            self._gamepad.read(message.axes, message.buttons, time.monotonic())
        except InputError as error:
            self._refused += 1
            self.get_logger().error(f"holding still: {error}", throttle_duration_sec=1.0)
            self._command()  # at once, not with the next tick
            return
        if self._gamepad.take_rearm():
            self._give_back()

    def _tick(self) -> None:
        self._command()

    def _command(self) -> None:
        move = self._gamepad.move(time.monotonic())
        self._holding = move is not None and move.dead_man
        if move is None:
            return
        self._seq += 1
        command = CartesianDelta(seq=self._seq, source=CartesianDelta.TELEOP)
        command.header.stamp = self.get_clock().now().to_msg()
        command.header.frame_id = BASE_FRAME
        for name, value in vars(self._scale.to_delta(move.action)).items():
            setattr(command, name, value)
        command.dead_man = move.dead_man
        self._commands.publish(command)

    def _give_back(self) -> None:
        if not self._rearm.service_is_ready():
            self.get_logger().error(f"nobody serves {REARM}: is the arm's node running?")
            return
        self._rearm.call_async(Rearm.Request()).add_done_callback(self._given_back)

    def _given_back(self, future) -> None:
        answer = future.result()
        if answer.error_code == ErrorCode.NONE:
            self.get_logger().info("the arm is given back")
        else:
            self.get_logger().error(f"the arm is not given back: {answer.error_msg}")

    def _status(self):
        figures = {"readings": self._readings, "refused": self._refused, "commands": self._seq}
        if not self._readings:
            return WARN, "no gamepad yet", figures
        if self._refused == self._readings:
            return ERROR, "the mapping does not fit the gamepad", figures
        return OK, "a person moves the arm" if self._holding else "idle", figures


def main() -> int:
    """Entry point."""
    return run(TeleopNode)
