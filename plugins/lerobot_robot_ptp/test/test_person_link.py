# SPDX-License-Identifier: Apache-2.0
"""What a person's device commands, heard on a real graph. No LeRobot."""

import numpy as np
import pytest
from geometry_msgs.msg import TwistStamped
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Joy

from lerobot_robot_ptp.action_units import ActionUnits
from lerobot_robot_ptp.person_link import TWIST, PersonLink
from ptp_nodes.nodes.teleop_node import TeleopNode
from ptp_ros import topics
from ptp_ros.graph_testing import Graph, parameters

LB, A = 4, 0
REST = [0.0, 0.0, 0.0, 0.0]


@pytest.fixture
def graph():
    with Graph() as graph:
        yield graph


def listen(graph, patience=0.3):
    return PersonLink(ActionUnits(rate=50.0), patience, graph.context.get_domain_id())


def test_the_stick_of_a_gamepad_is_the_action_and_letting_go_holds_still(graph):
    values = parameters({"source": "joy", "rate": 50.0, "speed": 0.5})
    graph.add(TeleopNode(context=graph.context, parameter_overrides=values))
    joy = graph.publisher(Joy, topics.JOY, qos_profile_sensor_data)
    link = listen(graph)
    try:
        link.wait(30.0)
        assert link.action().tolist() == [*REST, -1.0]  # nothing was commanded yet

        def hold(*buttons, forward):
            message = Joy(axes=[0.0] * 6, buttons=[int(n in buttons) for n in range(8)])
            message.axes[1] = forward
            joy.publish(message)

        def moving():
            hold(LB, A, forward=1.0)
            return link.action().tolist() == pytest.approx([0.5, 0.0, 0.0, 0.0, 1.0], abs=1e-6)

        graph.wait(moving, "half of the largest motion, at speed 0.5")

        def resting():
            hold(forward=1.0)
            return link.action().tolist() == [*REST, 1.0]

        graph.wait(resting, "no motion, and the gripper as it was")
    finally:
        link.close()


def test_a_stack_without_a_device_is_named_with_the_cure(graph):
    values = parameters({"source": "twist"})  # would repeat what LeRobot itself sends
    graph.add(TeleopNode(context=graph.context, parameter_overrides=values))
    graph.publisher(TwistStamped, topics.TELEOP_TWIST, topics.COMMANDS)  # the node is found
    assert not graph.client.count_publishers(TWIST)
    link = listen(graph)
    try:
        with pytest.raises(ConnectionError, match=f"nobody publishes /{TWIST}: start the stack"):
            link.wait(0.0)
    finally:
        link.close()


@pytest.mark.parametrize(
    ("frame", "speed", "fault"),
    [("tool", 0.1, "in frame 'tool'; 'base' is needed"), ("base", np.nan, "5 finite numbers")],
)
def test_a_velocity_that_is_none_is_refused(graph, frame, speed, fault):
    twists = graph.client.create_publisher(TwistStamped, TWIST, topics.COMMANDS)
    message = TwistStamped()
    message.header.frame_id, message.twist.linear.x = frame, speed
    link = listen(graph, patience=60.0)

    def refused():
        twists.publish(message)
        try:
            link.action()
            return False
        except ValueError as error:
            return fault in str(error)

    try:
        graph.wait(refused, fault)
    finally:
        link.close()


def test_a_velocity_becomes_the_action_that_asks_for_it():
    units = ActionUnits(rate=24.0)
    action = np.array([0.4, -0.2, 0.1, 0.5])
    assert units.motion(units.velocity(action)) == pytest.approx(action)
