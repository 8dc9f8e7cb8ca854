# SPDX-License-Identifier: Apache-2.0
"""Standard messages of observations and of a person's commands, on a real graph."""

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TwistStamped
from ptp_interfaces.msg import CartesianDelta
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64, Header

from ptp_ros.agent_messages import observation_message
from ptp_ros.graph_testing import Graph
from ptp_ros.image_messages import image_to_array
from ptp_ros.standard_publishers import CommandParts, ObservationParts
from ptp_ros.topics import (
    COMMANDS,
    PROPRIOCEPTION,
    SENSOR,
    TELEOP_COMMAND_GRIPPER,
    TELEOP_COMMAND_TWIST,
)

HEADER = Header(stamp=Time(sec=7), frame_id="base")
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


@pytest.fixture
def graph():
    with Graph() as graph:
        yield graph


@pytest.fixture
def node(graph):
    return graph.add(Node("source", context=graph.context))


def test_the_images_and_the_proprioception_of_an_observation(graph, node):
    parts = ObservationParts(node, ("camera",), proprioception=True)
    images = graph.collect(Image, "observation/camera", SENSOR)
    felt = graph.collect(JointState, PROPRIOCEPTION, SENSOR)
    pixels = {"camera": PIXELS, "wrist": PIXELS[::-1].copy()}  # wrist has no topic
    message = observation_message(3, HEADER, pixels, proprioception=(["x", "y"], [1.0, 2.5]))

    def arrived():  # both sides must know each other first
        parts.publish(message)
        return images and felt

    graph.wait(arrived, "both parts")
    assert np.array_equal(image_to_array(images[0]), PIXELS)
    assert images[0].header.stamp == felt[0].header.stamp == HEADER.stamp
    assert list(zip(felt[0].name, felt[0].position)) == [("x", 1.0), ("y", 2.5)]
    topics = dict(node.get_publisher_names_and_types_by_node("source", "/"))
    assert "/observation/wrist" not in topics


@pytest.mark.parametrize(("held", "speed"), [(True, 0.2), (False, 0.0)])
def test_a_command_is_a_velocity_and_without_the_switch_it_is_zero(graph, node, held, speed):
    parts = CommandParts(node, rate=10.0)
    twists = graph.collect(TwistStamped, TELEOP_COMMAND_TWIST, COMMANDS)
    grippers = graph.collect(Float64, TELEOP_COMMAND_GRIPPER, COMMANDS)
    command = CartesianDelta(header=HEADER, dx=0.02, dyaw=0.02, gripper=-0.5, dead_man=held)

    def arrived():
        parts.publish(command)
        return twists and grippers

    graph.wait(arrived, "both parts")
    assert twists[0].header == HEADER
    assert twists[0].twist.linear.x == pytest.approx(speed)
    assert twists[0].twist.angular.z == pytest.approx(speed)
    assert grippers[0].data == -0.5
