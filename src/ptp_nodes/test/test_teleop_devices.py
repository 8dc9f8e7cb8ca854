# SPDX-License-Identifier: Apache-2.0
"""The teleop node on a real graph with each device: SpaceMouse, a terminal's keys, velocities."""

import os
import pty
import termios

import pytest
from geometry_msgs.msg import Twist, TwistStamped, Vector3
from ptp_interfaces.msg import CartesianDelta
from rclpy.duration import Duration
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Joy
from std_msgs.msg import Float64

from ptp_nodes.nodes.teleop_node import TeleopNode
from ptp_robot.action import ActionScale
from ptp_ros.graph_testing import parameters
from ptp_ros.topics import (
    COMMANDS,
    SPACENAV_JOY,
    SPACENAV_TWIST,
    TELEOP_COMMAND,
    TELEOP_GRIPPER,
    TELEOP_TWIST,
)

STEP = ActionScale().translation


class Teleop:
    """The node, what it commands and what it says."""

    def __init__(self, graph, **values):
        self.graph = graph
        self.logs = graph.logs()
        self.commands = graph.collect(CartesianDelta, TELEOP_COMMAND, COMMANDS)
        values = {"rate": 50.0, "speed": 1.0, **values}
        self.node = TeleopNode(context=graph.context, parameter_overrides=parameters(values))
        graph.add(self.node)

    def publisher(self, kind, topic):
        return self.graph.publisher(kind, topic, qos_profile_sensor_data)

    def wait(self, condition, what):
        self.graph.wait(lambda: self.commands and condition(self.commands[-1]), what)
        return self.commands[-1]

    def wait_until_still(self):
        return self.wait(lambda c: not c.dead_man, "the command that holds still")


def test_a_spacemouse_moves_the_arm_until_its_cap_springs_back(graph):
    teleop = Teleop(graph, source="spacenav", cap_full=0.5)
    teleop.logs.expect("push the cap to move")
    teleop.logs.expect("waiting for a SpaceMouse")
    cap = teleop.publisher(Twist, SPACENAV_TWIST)
    buttons = teleop.publisher(Joy, SPACENAV_JOY)
    cap.publish(Twist(linear=Vector3(y=-0.5)))
    command = teleop.wait(lambda c: c.dead_man, "a command")
    assert (command.dx, command.dy, command.gripper) == (0.0, -STEP, -1.0)
    cap.publish(Twist())
    assert teleop.wait_until_still().dy == 0.0
    for pressed in ([1, 0], [0, 0]):
        buttons.publish(Joy(buttons=pressed))
    assert teleop.wait(lambda c: c.dead_man, "the gripper").gripper == 1.0
    for pressed in ([0, 1], [0, 0]):
        buttons.publish(Joy(buttons=pressed))
    teleop.logs.expect("nobody serves recorder/record")
    teleop.wait_until_still()


@pytest.fixture
def terminal():
    """The two ends of a terminal: where a person types, and its path."""
    master, slave = pty.openpty()
    yield master, os.ttyname(slave)
    for file in (master, slave):
        os.close(file)


def test_keys_of_a_terminal_move_the_arm_and_the_terminal_is_given_back(graph, terminal):
    keys, path = terminal
    before = termios.tcgetattr(keys)
    teleop = Teleop(graph, source="keyboard", tty=path)
    teleop.logs.expect("hold a key to move")
    teleop.logs.expect(f"reading keys from {path}")
    os.write(keys, b"w")
    assert teleop.wait(lambda c: c.dead_man, "a command").dx == STEP
    assert teleop.wait_until_still().dx == 0.0  # the key did not repeat
    os.write(keys, b"a")
    teleop.wait(lambda c: c.dead_man, "a command")
    os.write(keys, b" ")
    teleop.wait_until_still()
    os.write(keys, b"1")
    teleop.logs.expect("nobody serves recorder/record")
    assert termios.tcgetattr(keys) != before
    graph.remove(teleop.node)
    assert termios.tcgetattr(keys) == before


def test_without_a_terminal_one_line_says_so_and_the_node_waits_for_one(graph, tmp_path, terminal):
    keys, path = terminal
    link = tmp_path / "tty"
    teleop = Teleop(graph, source="keyboard", tty=str(link))
    teleop.logs.expect(f"waiting for a terminal: {link} cannot be opened")
    link.symlink_to(path)
    teleop.logs.expect(f"reading keys from {link}")
    os.write(keys, b"s")
    assert teleop.wait(lambda c: c.dead_man, "a command").dx == -STEP
    assert teleop.logs.count("cannot be opened") == 1


def test_a_terminal_that_closes_stops_the_arm(graph):
    master, slave = pty.openpty()
    teleop = Teleop(graph, source="keyboard", tty=os.ttyname(slave))
    os.write(master, b"w")
    teleop.wait(lambda c: c.dead_man, "a command")
    os.close(slave)
    os.close(master)
    teleop.logs.expect("is gone")
    teleop.wait_until_still()


def velocity(graph, frame="base", age=0.0, **linear):
    message = TwistStamped()
    message.header.frame_id = frame
    stamp = graph.client.get_clock().now() - Duration(seconds=age)
    message.header.stamp = stamp.to_msg()
    for name, value in linear.items():
        setattr(message.twist.linear, name, value)
    return message


def test_fresh_velocities_of_another_program_move_the_arm(graph):
    teleop = Teleop(graph, source="twist", speed=0.1)
    teleop.logs.expect("waiting for velocities on /teleop/twist")
    gripper = teleop.publisher(Float64, TELEOP_GRIPPER)
    gripper.publish(Float64(data=0.5))
    graph.wait(lambda: teleop.node._input.readings, "the gripper's opening")
    twist = teleop.publisher(TwistStamped, TELEOP_TWIST)
    twist.publish(velocity(graph, x=0.1, z=-0.05))
    command = teleop.wait(lambda c: c.dead_man, "a command")
    assert (command.dx, command.dz, command.gripper) == pytest.approx((0.002, -0.001, 0.5))
    assert teleop.wait_until_still().dx == 0.0  # nothing came after it


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"age": 0.5}, "s old; at most 0.3 s"),
        ({"frame": "tool"}, 'in frame "tool"'),
        ({"x": float("nan")}, "not finite"),
    ],
)
def test_a_velocity_that_must_not_be_followed_stops_the_arm_and_is_named(graph, wrong, reason):
    teleop = Teleop(graph, source="twist")
    twist = teleop.publisher(TwistStamped, TELEOP_TWIST)
    twist.publish(velocity(graph, x=0.1))
    teleop.wait(lambda c: c.dead_man, "a command")
    twist.publish(velocity(graph, **{"x": 0.1, **wrong}))
    teleop.logs.expect(reason)
    teleop.wait_until_still()
