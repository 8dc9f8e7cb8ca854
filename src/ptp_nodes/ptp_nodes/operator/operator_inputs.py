# SPDX-License-Identifier: Apache-2.0
"""Inputs of the operator: devices that move the arm; services, buttons, keys that answer."""

from __future__ import annotations

import contextlib
import os
import termios
import time
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import Twist as TwistMessage
from geometry_msgs.msg import TwistStamped
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.time import Time
from sensor_msgs.msg import Joy
from std_msgs.msg import Float64
from std_srvs.srv import Trigger

from ptp_core.errors import InputError
from ptp_nodes.operator.operator_dialog import OperatorAnswer, OperatorDialog, Question
from ptp_robot.teleoperation import (
    Button,
    Gamepad,
    GamepadMapping,
    Keyboard,
    SpaceMouse,
    SpaceMouseMapping,
    TeleopDevice,
    Twist,
)
from ptp_ros.topics import (
    BASE_FRAME,
    JOY,
    OPERATOR_CONFIRM,
    OPERATOR_FAILURE,
    OPERATOR_SUCCESS,
    SPACENAV_JOY,
    SPACENAV_TWIST,
    TELEOP_GRIPPER,
    TELEOP_TWIST,
)

CONTROLLING = "/dev/tty"
MOST = 4096  # bytes a look
RETRY = 1.0  # s between looks for a terminal
LOOK = 0.1  # s between looks at the keys
DEVICE_PATIENCE = 0.2  # s


class Terminal:
    """Opens a terminal beside whoever has it, without echo and line by line; gives it back.

    Args:
        path: of the terminal; empty: the one that controls this process.

    """

    def __init__(self, path: str = "") -> None:
        self.path = path or CONTROLLING
        self._file: int | None = None
        self._before: list | None = None

    @property
    def is_open(self) -> bool:
        """Whether keys can be read."""
        return self._file is not None

    def open(self) -> None:
        """Take the keys. Raises InputError where there is no terminal."""
        try:
            # O_NOCTTY: another session's terminal must not become the one that controls us.
            file = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be opened ({error.strerror}): start teleop in a terminal, or "
                "name one with the parameter tty"
            ) from error
        try:
            self._before = termios.tcgetattr(file)
            changed = termios.tcgetattr(file)
            changed[3] &= ~(termios.ICANON | termios.ECHO)  # Ctrl-C stays a signal
            changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
            termios.tcsetattr(file, termios.TCSADRAIN, changed)
        except termios.error as error:
            os.close(file)
            raise InputError(f"{self.path} is no terminal ({error.args[-1]})") from error
        self._file = file

    def read(self) -> str:
        """What was typed since the last call, maybe nothing. InputError when it is gone."""
        try:
            data = os.read(self._file, MOST)
        except BlockingIOError:
            return ""
        except OSError as error:
            raise InputError(f"{self.path} is gone ({error.strerror})") from error
        if not data:
            raise InputError(f"{self.path} is gone")
        return data.decode("utf-8", "replace")

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._file is None:
            return
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)
        os.close(self._file)
        self._file = None


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


SERVICES = {
    OperatorAnswer.CONFIRM: OPERATOR_CONFIRM,
    OperatorAnswer.SUCCESS: OPERATOR_SUCCESS,
    OperatorAnswer.FAILURE: OPERATOR_FAILURE,
}
BUTTONS = {
    Button.START: OperatorAnswer.CONFIRM,
    Button.SUCCESS: OperatorAnswer.SUCCESS,
    Button.FAILURE: OperatorAnswer.FAILURE,
}
KEYS = {
    **dict.fromkeys("\r\n", OperatorAnswer.CONFIRM),
    **dict.fromkeys("sS", OperatorAnswer.SUCCESS),
    **dict.fromkeys("fF", OperatorAnswer.FAILURE),
}


class AnswerServices:
    """``operator/confirm``, ``operator/success`` and ``operator/failure``, std_srvs/Trigger."""

    def __init__(self, node: Node, dialog: OperatorDialog) -> None:
        for answer, name in SERVICES.items():
            node.create_service(Trigger, name, self._service(dialog, answer))

    @staticmethod
    def _service(dialog: OperatorDialog, answer: OperatorAnswer) -> Callable[..., Any]:
        def serve(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.message = dialog.say(answer)
            response.success = not response.message
            return response

        return serve


class AnswerButtons:
    """Buttons of a gamepad, while its dead-man switch is let go.

    Pressed while nothing is asked they mean something to the teleop node, and nothing here.
    """

    def __init__(self, node: Node, dialog: OperatorDialog, mapping: GamepadMapping) -> None:
        self._node = node
        self._dialog = dialog
        self._input = JoyInput(node, self._changed, mapping, DEVICE_PATIENCE)

    def _changed(self) -> None:
        for button in self._input.device.take_presses():
            if button in BUTTONS and self._dialog.question is not None:
                problem = self._dialog.say(BUTTONS[button])
                if problem:
                    self._node.get_logger().warning(problem)


class AnswerKeys:
    """Enter, s and f in a terminal, which is ours while something is asked only."""

    def __init__(self, node: Node, dialog: OperatorDialog, path: str) -> None:
        self._node = node
        self._dialog = dialog
        self._terminal = Terminal(path)
        self._given_up = False
        self._question: Question | None = None  # the one that keys answer
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(LOOK, self._look, clock=steady)

    def _look(self) -> None:
        question = self._dialog.question
        if question is None or self._given_up:
            self._terminal.close()
            return
        try:
            if not self._terminal.is_open:
                self._terminal.open()
            keys = self._terminal.read()
        except InputError as error:
            self._given_up = True
            self._terminal.close()
            self._node.get_logger().warning(f"no keys: {error}")
            return
        if question is not self._question:
            self._question = question
            return  # typed before it was asked
        for key in keys:
            if key in KEYS and (problem := self._dialog.say(KEYS[key])):
                self._node.get_logger().warning(problem)

    def close(self) -> None:
        """Give the terminal back."""
        self._terminal.close()
