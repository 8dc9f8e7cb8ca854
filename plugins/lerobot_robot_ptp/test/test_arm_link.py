# SPDX-License-Identifier: Apache-2.0
"""The arm's topics on a real graph, with the node that takes the velocities. No LeRobot."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ptp_interfaces.msg import CartesianDelta, Observation
from ptp_interfaces.srv import ResetScene
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState

from lerobot_robot_ptp.action_units import ActionUnits
from lerobot_robot_ptp.arm_link import IMAGES, SIZE, STATE, STATE_TOPIC, ArmLink, pixels
from ptp_nodes.nodes.teleop_node import TeleopNode
from ptp_ros import topics
from ptp_ros.graph_testing import Graph, parameters
from ptp_ros.image_messages import array_to_image, image_to_array
from ptp_sim.sim_bridge_node import SimBridgeNode

ACTION = [0.4, -0.2, 0.1, 0.5, 1.0]
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.fixture
def graph():
    with Graph() as graph:
        yield graph


@pytest.fixture
def link(graph):
    made = ArmLink(
        IMAGES,
        ("a", "b"),
        STATE_TOPIC,
        ActionUnits(),
        patience=60.0,
        domain=graph.context.get_domain_id(),
    )
    yield made
    made.close()


def test_an_action_moves_the_arm_as_far_as_in_our_data_sets(graph, link):
    """Through the teleop node, which the arm's driver obeys."""
    commands = graph.collect(CartesianDelta, topics.TELEOP_COMMAND, topics.COMMANDS)
    graph.add(
        TeleopNode(
            context=graph.context,
            parameter_overrides=parameters({"source": "twist", "rate": 10.0}),
        )
    )

    def sent():
        try:
            link.send(ACTION)
        except ConnectionError:
            return False  # the teleop node was not found yet
        return any(command.dead_man and command.gripper == 1.0 for command in commands)

    graph.wait(sent, "a command")
    command = next(c for c in commands if c.dead_man and c.gripper == 1.0)
    moved = [command.dx, command.dy, command.dz, command.dyaw]
    assert moved == pytest.approx([0.02, -0.01, 0.005, np.radians(2.5)], abs=1e-6)
    assert command.header.frame_id == topics.BASE_FRAME


def test_the_simulated_table_gives_what_is_exported_of_it(graph):
    """The same image and numbers as the Observation, from which recordings are exported."""
    options = parameters({"mode": "real_time", "rate": 10.0})
    graph.add(SimBridgeNode(context=graph.context, parameter_overrides=options))
    seen = graph.collect(Observation, topics.OBSERVATION, topics.LATCHED)
    link = ArmLink(IMAGES, STATE, STATE_TOPIC, ActionUnits(), domain=graph.context.get_domain_id())
    try:
        request = ResetScene.Request(task="A", protocol="paper", seed=11)
        assert not graph.call(ResetScene, topics.RESET_SCENE, request).error_code
        waiting = ThreadPoolExecutor(1).submit(link.observation, 60.0)
        graph.wait(lambda: waiting.done() and seen, "image and state")
        state, images = waiting.result()
    finally:
        link.close()
    assert images["camera"].shape == (SIZE, SIZE, 3)
    assert tuple(seen[-1].proprioception_names) == STATE  # a still table looks as before
    assert np.array_equal(images["camera"], image_to_array(seen[-1].images[0]))
    assert [state[name] for name in STATE] == pytest.approx(list(seen[-1].proprioception))


def test_images_and_state_come_in(graph, link):
    images = graph.publisher(Image, "observation/camera", topics.SENSOR)
    state = graph.publisher(JointState, topics.PROPRIOCEPTION, topics.SENSOR)
    with pytest.raises(TimeoutError, match="no image of camera on /observation/camera"):
        link.observation()
    stamp = graph.client.get_clock().now().to_msg()

    def arrived():  # a camera's messages may be lost until both sides know each other
        images.publish(array_to_image(PIXELS, stamp, "camera"))
        state.publish(JointState(name=["b", "a", "c"], position=[2.0, 1.0, 3.0]))
        try:
            return link.observation(0.1)
        except TimeoutError:
            return None

    graph.wait(arrived, "an image and state")
    felt, seen = link.observation()
    assert np.array_equal(seen["camera"], PIXELS)
    assert felt == {"a": 1.0, "b": 2.0}


def test_an_old_image_is_none_and_a_new_one_is_waited_for(graph):
    link = ArmLink(
        IMAGES,
        (),
        STATE_TOPIC,
        ActionUnits(),
        patience=0.2,
        domain=graph.context.get_domain_id(),
    )
    images = graph.publisher(Image, "observation/camera", topics.SENSOR)

    def arrived():
        images.publish(array_to_image(PIXELS, graph.client.get_clock().now().to_msg(), "camera"))
        try:
            return link.observation(0.1)
        except TimeoutError:
            return None

    def aged():
        try:
            return not link.observation()
        except TimeoutError as error:
            return "the newest image of camera on /observation/camera is 0." in str(error)

    try:
        graph.wait(arrived, "an image")
        graph.wait(aged, "the image to be too old")
        waiting = ThreadPoolExecutor(1).submit(link.observation, 30.0)
        graph.wait(lambda: arrived() and waiting.done(), "the next image")
        assert np.array_equal(waiting.result()[1]["camera"], PIXELS)
    finally:
        link.close()


def test_an_image_of_the_other_order_becomes_rgb():
    message = Image(height=24, width=32, step=96, encoding="bgr8")
    message.data = np.ascontiguousarray(PIXELS[:, :, ::-1]).tobytes()
    assert np.array_equal(pixels(message), PIXELS)
    message.encoding = "mono8"
    with pytest.raises(ValueError, match="an image is mono8"):
        pixels(message)


@pytest.mark.parametrize("action", [[0.0] * 4, [0.0, np.nan, 0.0, 0.0, 0.0]])
def test_what_is_no_action_is_not_sent(graph, link, action):
    other = graph.add(Node("other", context=graph.context))
    with pytest.raises(ValueError, match="none is sent"):
        link.send(action)
    with pytest.raises(ConnectionError, match="nobody listens to /teleop/twist"):
        link.send([0.0] * 5)
    with pytest.raises(ConnectionError, match=r"--robot\.listen_only=true"):
        link.wait_for_listener(0.0)
    assert not other.count_subscribers("/teleop/twist")


def test_an_action_that_is_too_large_is_cut():
    units = ActionUnits(rate=10.0)
    cut = units.check([9.0, 0.0, 0.0, -9.0, 2.0])
    assert cut.tolist() == [1.0, 0.0, 0.0, -1.0, 1.0]
    assert units.velocity(cut) == pytest.approx([0.5, 0.0, 0.0, -0.872664626])
