# SPDX-License-Identifier: Apache-2.0
"""The arm's topics: images and joints in, velocities and gripper out. LeRobot is not needed here.

Source of the topics: the node `teleop` with source:=twist, which takes velocities in the frame
"base" with fresh stamps, and lets go of the arm when they stop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import rclpy
from geometry_msgs.msg import TwistStamped
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64

FRAME = "base"  # of the velocities: the arm's mount
TWIST, GRIPPER, JOINTS = "teleop/twist", "teleop/gripper", "joint_states"
ACTION = ("dx", "dy", "dz", "dyaw", "gripper")  # each in [-1, 1]
ENCODINGS = {"rgb8": (0, 1, 2), "bgr8": (2, 1, 0)}  # order of the channels
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
COMMANDS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)


@dataclass(frozen=True)
class ActionUnits:
    """What an action of 1 asks for in one step."""

    translation: float = 0.05  # m
    rotation: float = 0.0872664626  # rad
    rate: float = 10.0  # steps a second, Hz

    def check(self, action: Sequence[float]) -> np.ndarray:
        """The action (5,) cut to [-1, 1]. ValueError for another shape or a number not finite."""
        values = np.asarray(action, np.float64)
        if values.shape != (len(ACTION),) or not np.isfinite(values).all():
            raise ValueError(f"an action is 5 finite numbers, not {values.tolist()}: none is sent")
        return np.clip(values, -1.0, 1.0)

    def velocity(self, action: np.ndarray) -> np.ndarray:
        """(vx, vy, vz) [m/s] and yaw rate [rad/s] of an action (5,)."""
        scale = np.array([*[self.translation] * 3, self.rotation])
        return np.asarray(action[:4]) * scale * self.rate


def pixels(message: Image) -> np.ndarray:
    """RGB uint8 (H, W, 3) of an image. ValueError for another encoding than 8 bits of colour."""
    if message.encoding not in ENCODINGS:
        raise ValueError(f"an image is {message.encoding}; rgb8 or bgr8 is needed")
    rows = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.step)
    image = rows[:, : 3 * message.width].reshape(message.height, message.width, 3)
    return np.ascontiguousarray(image[:, :, ENCODINGS[message.encoding]])


class ArmLink:
    """Subscriptions and publishers on a ROS graph, with a thread of their own.

    Args:
        images: topic of each camera.
        joints: names in joint_states.
        units: what actions mean.
        patience: age at which an image or a joint state is too old [s].
        domain: of ROS; None: that of ROS_DOMAIN_ID.

    """

    def __init__(
        self,
        images: Mapping[str, str],
        joints: Sequence[str],
        units: ActionUnits,
        patience: float = 1.0,
        domain: int | None = None,
    ) -> None:
        self.units = units
        self._joints = tuple(joints)
        self._patience = patience
        self._seen: dict[str, tuple[float, Image]] = {}  # camera -> when, newest image
        self._felt: dict[str, tuple[float, float]] = {}  # joint -> when, newest position
        self._news = threading.Condition()
        self._context = Context()
        rclpy.init(args=[], context=self._context, domain_id=domain)
        self._node = node = Node("lerobot", context=self._context)
        for camera, topic in images.items():
            node.create_subscription(
                Image, topic, lambda message, name=camera: self._saw(name, message), NEWEST
            )
        self._cameras = {
            camera: node.resolve_topic_name(topic) for camera, topic in images.items()
        }
        node.create_subscription(JointState, JOINTS, self._felt_joints, NEWEST)
        self._twists = node.create_publisher(TwistStamped, TWIST, COMMANDS)
        self._grippers = node.create_publisher(Float64, GRIPPER, COMMANDS)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(node)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="arm_link", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until everything is there. TimeoutError names what is missing after ``seconds``."""
        with self._news:
            if self._news.wait_for(lambda: not self._missing(), seconds):
                return
        raise TimeoutError(f"{self._missing()[0]}: is the stack running in this ROS domain?")

    def images(self) -> dict[str, np.ndarray]:
        """The newest image of each camera, uint8 (H, W, 3). TimeoutError for one too old."""
        with self._news:
            self._require()
            newest = {camera: self._seen[camera][1] for camera in self._cameras}
        return {camera: pixels(message) for camera, message in newest.items()}

    def positions(self) -> dict[str, float]:
        """The newest position of each joint, rad or m. TimeoutError for one too old."""
        with self._news:
            self._require()
            return {joint: self._felt[joint][1] for joint in self._joints}

    def send(self, action: Sequence[float]) -> np.ndarray:
        """Publish an action (5,) as a velocity and a gripper; returns it cut to [-1, 1].

        Raises ValueError for one that is none, and ConnectionError where nobody listens: then
        nothing is sent.
        """
        cut = self.units.check(action)
        if not self._twists.get_subscription_count():
            topic = self._node.resolve_topic_name(TWIST)
            raise ConnectionError(f"nobody listens to {topic}: start the stack with source:=twist")
        twist = TwistStamped()
        twist.header.stamp = self._node.get_clock().now().to_msg()
        twist.header.frame_id = FRAME
        linear = twist.twist.linear
        linear.x, linear.y, linear.z, twist.twist.angular.z = self.units.velocity(cut).tolist()
        self._grippers.publish(Float64(data=float(cut[4])))
        self._twists.publish(twist)
        return cut

    def close(self) -> None:
        """Let go of the arm, which holds when nothing comes any more."""
        self._ending.set()
        self._executor.create_task(lambda: None)  # wakes it
        self._thread.join(5.0)
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def _spin(self) -> None:
        try:
            while not self._ending.is_set() and self._context.ok():
                self._executor.spin_once()
        except ExternalShutdownException:
            pass

    def _saw(self, camera: str, message: Image) -> None:
        with self._news:
            self._seen[camera] = time.monotonic(), message
            self._news.notify_all()

    def _felt_joints(self, message: JointState) -> None:
        with self._news:
            now = time.monotonic()
            for name, position in zip(message.name, message.position):
                self._felt[name] = now, position
            self._news.notify_all()

    def _missing(self) -> list[str]:
        """What never came or is too old, one line each."""
        now, lines = time.monotonic(), []
        for what, wanted, there in (
            ("image of", self._cameras, self._seen),
            ("position of the joint", dict.fromkeys(self._joints), self._felt),
        ):
            for name, topic in wanted.items():
                where = f"{what} {name} on {topic or self._node.resolve_topic_name(JOINTS)}"
                if name not in there:
                    lines.append(f"no {where}")
                elif (age := now - there[name][0]) > self._patience:
                    lines.append(f"the newest {where} is {age:.1f} s old")
        return lines

    def _require(self) -> None:
        if missing := self._missing():
            raise TimeoutError(f"{missing[0]}: is the stack running?")
