# SPDX-License-Identifier: Apache-2.0
"""Robot and teleoperator as LeRobot makes and drives them; only where LeRobot is installed."""

import threading

import numpy as np
import pytest

pytest.importorskip("lerobot", reason="lerobot is not installed")
pytest.importorskip("rclpy", reason="rclpy is not installed")
import rclpy
from geometry_msgs.msg import TwistStamped
from lerobot.robots import make_robot_from_config
from lerobot.robots.config import RobotConfig
from lerobot.teleoperators import make_teleoperator_from_config
from lerobot.teleoperators.config import TeleoperatorConfig
from lerobot.utils.errors import DeviceNotConnectedError
from lerobot.utils.feature_utils import hw_to_dataset_features
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64

import lerobot_robot_ptp  # noqa: F401  (registers both)

DOMAIN = 97
STATE = ("a", "b")


class Stack(Node):
    """Sends images, state and a person's command, and takes velocities."""

    def __init__(self, context):
        super().__init__("stack", context=context)
        self.twists = []
        images = self.create_publisher(Image, "observation/camera", 1)
        states = self.create_publisher(JointState, "observation/proprioception", 1)
        twists = self.create_publisher(TwistStamped, "arm/command/teleop/twist", 1)
        grippers = self.create_publisher(Float64, "arm/command/teleop/gripper", 1)
        self.create_subscription(TwistStamped, "teleop/twist", self.twists.append, 10)
        image = Image(height=24, width=32, step=96, encoding="rgb8", data=bytes(24 * 96))
        state = JointState(name=list(STATE), position=[0.5, 1.0])

        twist = TwistStamped()
        twist.header.frame_id, twist.twist.linear.y = "base", -0.25

        def tick():
            images.publish(image)
            states.publish(state)
            grippers.publish(Float64(data=1.0))
            twists.publish(twist)

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
        id="one", calibration_dir=tmp_path, state=list(STATE), height=24, width=32, domain=DOMAIN
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
        id="one", calibration_dir=tmp_path, state=list(STATE), domain=DOMAIN
    )
    with pytest.raises(ValueError, match=r"--robot\.height=24 --robot\.width=32"):
        make_robot_from_config(config).connect()


def test_a_person_moves_the_arm_and_lerobot_sends_nothing(stack, tmp_path):
    teleop = make_teleoperator_from_config(
        TeleoperatorConfig.get_choice_class("ptp_teleop")(calibration_dir=tmp_path, domain=DOMAIN)
    )
    config = RobotConfig.get_choice_class("ptp_arm")(
        id="one",
        calibration_dir=tmp_path,
        state=list(STATE),
        height=24,
        width=32,
        domain=DOMAIN,
        listen_only=True,
    )
    robot = make_robot_from_config(config)
    assert teleop.action_features == robot.action_features
    with pytest.raises(DeviceNotConnectedError):
        teleop.get_action()
    teleop.connect()
    robot.connect()
    action = teleop.get_action()
    while not any(action[name] for name in action if name.endswith(".vel")):
        action = teleop.get_action()
    assert robot.send_action(action) == action
    assert action == {**dict.fromkeys(action, 0.0), "dy.vel": -0.5, "gripper.pos": 1.0}
    robot.disconnect()
    teleop.disconnect()
    assert not stack.twists and not teleop.is_connected


def test_the_defaults_are_the_features_of_an_export_of_the_table(tmp_path):
    robot = make_robot_from_config(
        RobotConfig.get_choice_class("ptp_arm")(id="one", calibration_dir=tmp_path)
    )
    features = hw_to_dataset_features(robot.observation_features, "observation")
    assert features["observation.images.camera"]["shape"] == (48, 48, 3)
    assert features["observation.state"]["shape"] == (5,)
    assert hw_to_dataset_features(robot.action_features, "action")["action"]["shape"] == (5,)


def test_without_state_there_are_images_alone(tmp_path):
    config = RobotConfig.get_choice_class("ptp_arm")(id="one", calibration_dir=tmp_path, state=[])
    assert list(make_robot_from_config(config).observation_features) == ["camera"]
