# SPDX-License-Identifier: Apache-2.0
"""The arm's topics: images and state in, velocities and gripper out. LeRobot is not needed here.

Source of the topics: the node `teleop` with source:=twist, which takes velocities in the frame
"base" with fresh stamps, and lets go of the arm when they stop.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
from geometry_msgs.msg import TwistStamped
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64

from lerobot_robot_ptp.action_units import FRAME, ActionUnits
from lerobot_robot_ptp.ros_link import COMMANDS, NEWEST, RosLink

# What `ptp export lerobot` has of the simulated table: camera -> topic, and numbers of the state.
IMAGES = {"camera": "observation/camera"}
SIZE = 48  # pixels a side
STATE = ("tcp_x", "tcp_y", "tcp_z", "tcp_yaw", "gripper_opening")
STATE_TOPIC = "observation/proprioception"
TWIST, GRIPPER = "teleop/twist", "teleop/gripper"
ENCODINGS = {"rgb8": (0, 1, 2), "bgr8": (2, 1, 0)}  # order of the channels


def pixels(message: Image) -> np.ndarray:
    """RGB uint8 (H, W, 3) of an image. ValueError for another encoding than 8 bits of colour."""
    if message.encoding not in ENCODINGS:
        raise ValueError(f"an image is {message.encoding}; rgb8 or bgr8 is needed")
    rows = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.step)
    image = rows[:, : 3 * message.width].reshape(message.height, message.width, 3)
    return np.ascontiguousarray(image[:, :, ENCODINGS[message.encoding]])


class ArmLink(RosLink):
    """Subscriptions and publishers of an arm.

    Args:
        images: topic of each camera.
        state: names of its numbers, and
        state_topic: the sensor_msgs/JointState whose positions they are.
        units: what actions mean.
        patience: age at which an image or a number is too old [s].
        domain: of ROS; None: that of ROS_DOMAIN_ID.

    """

    def __init__(
        self,
        images: Mapping[str, str],
        state: Sequence[str],
        state_topic: str,
        units: ActionUnits,
        patience: float = 1.0,
        domain: int | None = None,
    ) -> None:
        super().__init__("lerobot", domain)
        self.units = units
        self._state = tuple(state)
        self._patience = patience
        self._seen: dict[str, tuple[float, Image]] = {}  # camera -> when, newest image
        self._felt: dict[str, tuple[float, float]] = {}  # name -> when, newest number
        node = self.node
        for camera, topic in images.items():
            node.create_subscription(
                Image, topic, lambda message, name=camera: self._saw(name, message), NEWEST
            )
        self._cameras = {
            camera: node.resolve_topic_name(topic) for camera, topic in images.items()
        }
        self._state_topic = node.resolve_topic_name(state_topic)
        if self._state:
            node.create_subscription(JointState, state_topic, self._felt_state, NEWEST)
        self._twists = node.create_publisher(TwistStamped, TWIST, COMMANDS)
        self._grippers = node.create_publisher(Float64, GRIPPER, COMMANDS)
        self.start()

    def observation(self, seconds: float = 0.0) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """The newest numbers of the state, in SI units, and images, uint8 (H, W, 3), by name.

        Waits where some are missing or too old; TimeoutError names them after ``seconds``.
        """
        with self.news:
            if not self.news.wait_for(lambda: not self._missing(), seconds):
                missing = self._missing()[0]
                raise TimeoutError(f"{missing}: is the stack running in this ROS domain?")
            state = {name: self._felt[name][1] for name in self._state}
            newest = {camera: self._seen[camera][1] for camera in self._cameras}
        return state, {camera: pixels(message) for camera, message in newest.items()}

    def wait_for_listener(self, seconds: float) -> None:
        """Wait until the stack listens. ConnectionError where nobody does after ``seconds``."""
        if not self.found(self._twists.get_subscription_count, seconds):
            raise self._nobody()

    def send(self, action: Sequence[float]) -> np.ndarray:
        """Publish an action (5,) as a velocity and a gripper; returns it cut to [-1, 1].

        Raises ValueError for one that is none, and ConnectionError where nobody listens: then
        nothing is sent.
        """
        cut = self.units.check(action)
        if not self._twists.get_subscription_count():
            raise self._nobody()
        twist = TwistStamped()
        twist.header.stamp = self.node.get_clock().now().to_msg()
        twist.header.frame_id = FRAME
        linear = twist.twist.linear
        linear.x, linear.y, linear.z, twist.twist.angular.z = self.units.velocity(cut).tolist()
        self._grippers.publish(Float64(data=float(cut[4])))
        self._twists.publish(twist)
        return cut

    def _nobody(self) -> ConnectionError:
        return ConnectionError(
            f"nobody listens to {self.node.resolve_topic_name(TWIST)}: start the stack with "
            "source:=twist, or give --robot.listen_only=true where a person moves the arm with a "
            "device of the stack"
        )

    def _saw(self, camera: str, message: Image) -> None:
        with self.news:
            self._seen[camera] = time.monotonic(), message
            self.news.notify_all()

    def _felt_state(self, message: JointState) -> None:
        with self.news:
            now = time.monotonic()
            for name, position in zip(message.name, message.position):
                self._felt[name] = now, position
            self.news.notify_all()

    def _missing(self) -> list[str]:
        """What never came or is too old, one line each."""
        now, lines = time.monotonic(), []
        for what, wanted, there in (
            ("image of", self._cameras, self._seen),
            ("number", dict.fromkeys(self._state, self._state_topic), self._felt),
        ):
            for name, topic in wanted.items():
                where = f"{what} {name} on {topic}"
                if name not in there:
                    lines.append(f"no {where}")
                elif (age := now - there[name][0]) > self._patience:
                    lines.append(f"the newest {where} is {age:.1f} s old")
        return lines
