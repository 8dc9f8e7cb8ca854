# SPDX-License-Identifier: Apache-2.0
"""Teleoperation inputs, one for each source, each around a `TeleopDevice` of ptp_robot."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import Twist as TwistMessage
from geometry_msgs.msg import TwistStamped
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.time import Time
from sensor_msgs.msg import Joy
from std_msgs.msg import Float64

from ptp_core.errors import InputError
from ptp_nodes.operator.key_terminal import Terminal
from ptp_robot.gamepad import Gamepad, GamepadMapping
from ptp_robot.keyboard import Keyboard
from ptp_robot.spacemouse import SpaceMouse, SpaceMouseMapping
from ptp_robot.teleoperation import TeleopDevice
from ptp_robot.twist import Twist
from ptp_ros.topics import (
    BASE_FRAME,
    JOY,
    SPACENAV_JOY,
    SPACENAV_TWIST,
    TELEOP_GRIPPER,
    TELEOP_TWIST,
)

RETRY = 1.0  # s between looks for a terminal


class Input:
    """Reads one device and tells ``changed()`` when there is something new.

    ``description``: the device in one line. ``waiting`` and ``found``: log lines until it is there
    and once it is. An invalid reading is refused with a log line; the device then counts as
    released.
    """

    device: TeleopDevice
    description: str
    waiting: str
    found: str

    def __init__(self, node: Node, changed: Callable[[], None]) -> None:
        self._node = node
        self._changed = changed
        self.readings = self.refused = 0

    def look(self, now: float) -> None:
        """Called with each tick, for devices that must be asked."""

    def close(self) -> None:
        """Give the device back."""

    def _read(self, read: Callable[..., None], *values: Any) -> None:
        if not self.readings:
            self._node.get_logger().info(self.found)
        self.readings += 1
        try:
            read(*values)
        except InputError as error:
            self.refused += 1
            self._node.get_logger().error(f"holding still: {error}", throttle_duration_sec=1.0)
        self._changed()

    def _subscribe(self, kind: type, topic: str, callback: Callable[[Any], None]) -> str:
        # Several deep: a button pressed briefly must not be overtaken.
        self._node.create_subscription(kind, topic, callback, qos_profile_sensor_data)
        return self._node.resolve_topic_name(topic)


class JoyInput(Input):
    """A gamepad, through ROS's joy node."""

    def __init__(
        self, node: Node, changed: Callable[[], None], mapping: GamepadMapping, patience: float
    ) -> None:
        super().__init__(node, changed)
        self.device = Gamepad(mapping, patience)
        self.description = mapping.describe()
        self.found = "the gamepad is there"
        self.waiting = f"waiting for a gamepad on {self._subscribe(Joy, JOY, self._arrived)}"

    def _arrived(self, message: Joy) -> None:
        self._read(self.device.read, message.axes, message.buttons, time.monotonic())


class SpacenavInput(Input):
    """A SpaceMouse, through ROS's spacenav node."""

    def __init__(
        self, node: Node, changed: Callable[[], None], mapping: SpaceMouseMapping, patience: float
    ) -> None:
        super().__init__(node, changed)
        self.device = SpaceMouse(mapping, patience)
        self.description = mapping.describe()
        self.found = "the SpaceMouse is there"
        topic = self._subscribe(TwistMessage, SPACENAV_TWIST, self._pushed)
        self.waiting = f"waiting for a SpaceMouse on {topic}"
        self._subscribe(Joy, SPACENAV_JOY, self._pressed)

    def look(self, now: float) -> None:
        """See whether a press has become long."""
        self.device.look(now)
        self._changed()

    def _pushed(self, message: TwistMessage) -> None:
        linear = (message.linear.x, message.linear.y, message.linear.z)
        self._read(self.device.read, linear, message.angular.z, time.monotonic())

    def _pressed(self, message: Joy) -> None:
        self._read(self.device.read_buttons, message.buttons, time.monotonic())


class KeyboardInput(Input):
    """The keys of a terminal; without one it waits for it."""

    def __init__(
        self, node: Node, changed: Callable[[], None], path: str, patience: float
    ) -> None:
        super().__init__(node, changed)
        self.device = Keyboard(patience)
        self.description = self.device.describe()
        self.found = "keys come in"
        self._terminal = Terminal(path)
        self._tried = -RETRY
        try:
            self._terminal.open()
            self.waiting = f"reading keys from {self._terminal.path}"
        except InputError as error:
            self.waiting = f"waiting for a terminal: {error}"

    def look(self, now: float) -> None:
        """Take the keys that were typed since the last look."""
        try:
            if not self._terminal.is_open:
                if now - self._tried < RETRY:
                    return
                self._tried = now
                self._terminal.open()
                self._node.get_logger().info(f"reading keys from {self._terminal.path}")
            text = self._terminal.read()
        except InputError as error:
            if self._terminal.is_open:
                self._terminal.close()
                self._node.get_logger().error(f"holding still: {error}")
            return
        if text:
            self._read(self.device.read, text, now)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._terminal.close()


class TwistInput(Input):
    """Velocities of another program."""

    def __init__(
        self, node: Node, changed: Callable[[], None], period: float, patience: float
    ) -> None:
        super().__init__(node, changed)
        self.device = Twist(period, BASE_FRAME, patience=patience)
        self.description = self.device.describe()
        self.found = "velocities come in"
        topic = self._subscribe(TwistStamped, TELEOP_TWIST, self._arrived)
        self.waiting = f"waiting for velocities on {topic}"
        self._subscribe(Float64, TELEOP_GRIPPER, self._gripper_arrived)

    def _arrived(self, message: TwistStamped) -> None:
        self._read(self._take, message)

    def _take(self, message: TwistStamped) -> None:
        clock, twist = self._node.get_clock(), message.twist
        stamp = Time.from_msg(message.header.stamp, clock_type=clock.clock_type)
        age = (clock.now() - stamp).nanoseconds * 1e-9
        velocity = (twist.linear.x, twist.linear.y, twist.linear.z)
        now = time.monotonic()
        self.device.read(message.header.frame_id, velocity, twist.angular.z, age, now)

    def _gripper_arrived(self, message: Float64) -> None:
        self._read(self.device.read_gripper, message.data)
