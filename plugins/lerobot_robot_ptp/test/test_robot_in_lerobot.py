# SPDX-License-Identifier: Apache-2.0
"""The robot as LeRobot makes and drives it; only where LeRobot and rclpy are installed."""

import threading

import numpy as np
import pytest

pytest.importorskip("lerobot", reason="lerobot is not installed")
pytest.importorskip("rclpy", reason="rclpy is not installed")
import rclpy
from geometry_msgs.msg import TwistStamped
from lerobot.robots import make_robot_from_config
from lerobot.robots.config import RobotConfig
from lerobot.utils.errors import DeviceNotConnectedError
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState

import lerobot_robot_ptp  # noqa: F401  (registers the robot)

DOMAIN = 97
JOINTS = ("a", "b")


class Stack(Node):
    """Sends images and joints, and takes velocities."""

    def __init__(self, context):
        super().__init__("stack", context=context)
        self.twists = []
        images = self.create_publisher(Image, "image_raw", 1)
        joints = self.create_publisher(JointState, "joint_states", 1)
        self.create_subscription(TwistStamped, "teleop/twist", self.twists.append, 10)
        image = Image(height=24, width=32, step=96, encoding="rgb8", data=bytes(24 * 96))
        state = JointState(name=list(JOINTS), position=[0.5, 1.0])

        def tick():
            images.publish(image)
            joints.publish(state)

        self.create_timer(0.05, tick)


@pytest.fixture
def stack():
    context = Context()
    rclpy.init(args=[], context=context, domain_id=DOMAIN)
    node = Stack(context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield node
    executor.shutdown()
    rclpy.try_shutdown(context=context)
    thread.join(5.0)


def test_lerobot_makes_the_robot_and_what_it_gives_fits_its_features(stack, tmp_path):
    config = RobotConfig.get_choice_class("ptp_arm")(
        id="one", calibration_dir=tmp_path, joints=list(JOINTS), height=24, width=32, domain=DOMAIN
    )
    robot = make_robot_from_config(config)
    with pytest.raises(DeviceNotConnectedError):
        robot.get_observation()
    # lerobot-rollout drops every other action.
    assert all(name.endswith((".vel", ".pos")) for name in robot.action_features)
    robot.connect()
    seen = robot.get_observation()
    assert set(seen) == set(robot.observation_features)
    assert seen["camera"].shape == robot.observation_features["camera"]
    assert (seen["a.pos"], seen["b.pos"]) == (0.5, 1.0)
    sent = None
    while not stack.twists:
        try:
            sent = robot.send_action(dict.fromkeys(robot.action_features, 0.5))
        except ConnectionError:
            continue
    assert sent == dict.fromkeys(robot.action_features, 0.5)
    assert np.isclose(stack.twists[0].twist.linear.x, 0.25)
    with pytest.raises(ValueError, match="--return_to_initial_position=false"):
        robot.send_action({"a.pos": 0.5, "b.pos": 1.0})
    robot.disconnect()
    assert not robot.is_connected


def test_images_of_another_size_are_refused_with_the_option(stack, tmp_path):
    config = RobotConfig.get_choice_class("ptp_arm")(
        id="one", calibration_dir=tmp_path, joints=list(JOINTS), domain=DOMAIN
    )
    with pytest.raises(ValueError, match=r"--robot\.height=24 --robot\.width=32"):
        make_robot_from_config(config).connect()
