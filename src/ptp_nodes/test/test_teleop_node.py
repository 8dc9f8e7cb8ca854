# SPDX-License-Identifier: Apache-2.0
"""The teleop node on a real graph: gamepad in, commands out, and the arm given back."""

import itertools

import pytest
from ptp_interfaces.msg import CartesianDelta, ErrorCode
from ptp_interfaces.srv import Rearm
from rcl_interfaces.msg import Log
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Joy

from ptp_nodes.nodes.teleop_node import TeleopNode
from ptp_robot.action import ActionScale
from ptp_ros.graph_testing import parameters
from ptp_ros.topics import COMMANDS, JOY, REARM, TELEOP_COMMAND

LB, A, START = 4, 0, 7


class Person:
    """Holds the gamepad and looks at the commands."""

    def __init__(self, graph, **values):
        self.graph = graph
        self.logs = graph.collect(Log, "/rosout", 100)
        self.commands = graph.collect(CartesianDelta, TELEOP_COMMAND, COMMANDS)
        graph.add(TeleopNode(context=graph.context, parameter_overrides=parameters(values)))
        self.joy = graph.publisher(Joy, JOY, qos_profile_sensor_data)

    def press(self, *buttons, forward=0.0, axes=6):
        message = Joy(axes=[0.0] * axes, buttons=[int(n in buttons) for n in range(8)])
        message.axes[1] = forward
        self.joy.publish(message)

    def wait(self, condition, what):
        self.graph.wait(lambda: self.commands and condition(self.commands[-1]), what)
        return self.commands[-1]

    def wait_for_log(self, text):
        self.graph.wait(lambda: any(text in log.msg for log in self.logs), f'"{text}"')


@pytest.fixture
def person(graph):
    return Person(graph, rate=50.0, speed=1.0)


def test_a_held_switch_moves_the_arm_and_letting_go_stops_it(person):
    person.press(LB, A, forward=1.0)
    command = person.wait(lambda c: c.dead_man, "a command")
    assert command.dx == ActionScale().translation
    assert (command.dy, command.dz, command.dyaw, command.gripper) == (0, 0, 0, 1)
    assert (command.source, command.header.frame_id) == (CartesianDelta.TELEOP, "base")
    assert (command.observation_seq, command.weights_version) == (0, "")
    person.press(A, forward=1.0)
    last = person.wait(lambda c: not c.dead_man, "the command that holds still")
    assert (last.dx, last.gripper) == (0.0, 1.0)
    assert [c.seq for c in person.commands] == list(range(1, len(person.commands) + 1))


def test_a_gamepad_that_falls_silent_stops_the_arm(person):
    person.press(LB, forward=1.0)
    person.wait(lambda c: c.dead_man, "a command")
    assert person.wait(lambda c: not c.dead_man, "the command that holds still").dx == 0.0


def test_a_gamepad_that_does_not_fit_is_named_and_stops_the_arm(person):
    person.press(LB, forward=1.0)
    person.wait(lambda c: c.dead_man, "a command")
    person.press(LB, forward=1.0, axes=3)
    person.wait_for_log("the gamepad has 3 axes")
    person.wait(lambda c: not c.dead_man, "the command that holds still")
    person.press(LB, forward=1.0)
    person.wait(lambda c: c.dead_man, "a command again")


def test_the_buttons_are_said_at_the_start_and_a_missing_gamepad_is_waited_for(person):
    person.wait_for_log("hold button 4 to move")
    person.wait_for_log("waiting for a gamepad")


def test_a_button_gives_the_arm_back(person):
    person.press(START)
    person.wait_for_log("nobody serves")
    asked = []

    def rearm(request, response):
        asked.append(request)
        if len(asked) == 1:
            response.error_code, response.error_msg = ErrorCode.BUSY, "let go first"
        return response

    person.graph.client.create_service(Rearm, REARM, rearm)
    person.graph.client.executor.wake()
    presses = itertools.cycle([(), (START,)])
    for text in ("not given back: let go first", "the arm is given back"):

        def pressed(text=text):
            person.press(*next(presses))
            return any(text in log.msg for log in person.logs)

        person.graph.wait(pressed, text)


def test_a_program_may_move_the_arm_once_with_each_reading(graph):
    person = Person(graph, rate=60.0, pace="readings")
    for count in (1, 2, 3):
        person.press(LB, forward=1.0)
        graph.wait(lambda: sum(c.dead_man for c in person.commands) == count, "a command")  # noqa: B023
    person.wait(lambda c: not c.dead_man, "the command that holds still")
    assert [c.dead_man for c in person.commands] == [True, True, True, False]
