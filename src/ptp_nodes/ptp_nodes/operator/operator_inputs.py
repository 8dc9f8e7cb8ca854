# SPDX-License-Identifier: Apache-2.0
"""Inputs for the operator's answers: services, a gamepad, keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from std_srvs.srv import Trigger

from ptp_core.errors import InputError
from ptp_nodes.operator.key_terminal import Terminal
from ptp_nodes.operator.operator_dialog import OperatorAnswer, Person, Question
from ptp_nodes.operator.teleop_inputs import JoyInput
from ptp_robot.gamepad import GamepadMapping
from ptp_robot.teleoperation import Button
from ptp_ros.topics import OPERATOR_CONFIRM, OPERATOR_FAILURE, OPERATOR_SUCCESS

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
LOOK = 0.1  # s between looks at the keys
DEVICE_PATIENCE = 0.2  # s


class AnswerServices:
    """``operator/confirm``, ``operator/success`` and ``operator/failure``, std_srvs/Trigger."""

    def __init__(self, node: Node, person: Person) -> None:
        for answer, name in SERVICES.items():
            node.create_service(Trigger, name, self._service(person, answer))

    @staticmethod
    def _service(person: Person, answer: OperatorAnswer) -> Callable[..., Any]:
        def serve(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.message = person.say(answer)
            response.success = not response.message
            return response

        return serve


class AnswerButtons:
    """Buttons of a gamepad, while its dead-man switch is let go.

    Pressed while nothing is asked they mean something to the teleop node, and nothing here.
    """

    def __init__(self, node: Node, person: Person, mapping: GamepadMapping) -> None:
        self._node = node
        self._person = person
        self._input = JoyInput(node, self._changed, mapping, DEVICE_PATIENCE)

    def _changed(self) -> None:
        for button in self._input.device.take_presses():
            if button in BUTTONS and self._person.question is not None:
                problem = self._person.say(BUTTONS[button])
                if problem:
                    self._node.get_logger().warning(problem)


class AnswerKeys:
    """Enter, s and f in a terminal, which is ours while something is asked only."""

    def __init__(self, node: Node, person: Person, path: str) -> None:
        self._node = node
        self._person = person
        self._terminal = Terminal(path)
        self._given_up = False
        self._question: Question | None = None  # the one that keys answer
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(LOOK, self._look, clock=steady)

    def _look(self) -> None:
        question = self._person.question
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
            if key in KEYS and (problem := self._person.say(KEYS[key])):
                self._node.get_logger().warning(problem)

    def close(self) -> None:
        """Give the terminal back."""
        self._terminal.close()
