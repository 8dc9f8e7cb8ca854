# SPDX-License-Identifier: Apache-2.0
"""Client of the camera for commands: show images of a running graph, and take a goal image."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from ptp_interfaces.msg import ArmState, Observation
from rclpy.node import Node
from sensor_msgs.msg import Image

from ptp_core.errors import InputError
from ptp_nodes.camera.frame_source import fault_of
from ptp_nodes.operator.goal_files import GoalFile
from ptp_ros.image_messages import array_to_image, image_to_array
from ptp_ros.node_main import background_node
from ptp_ros.topics import (
    ARM_STATE,
    CAMERA_FRAME,
    IMAGE_RAW,
    LATCHED,
    OBSERVATION,
    RECORDS,
    SENSOR,
    VIEW_ALIGN,
)

POLL = 0.05  # s
KEPT = 30  # large images, until the observation of the same instant is looked for


class CameraClient(Node):
    """Keeps the newest observation, large images, the arm's state and the camera's diagnostics."""

    def __init__(self, **options: Any) -> None:
        super().__init__(f"camera_client_{os.getpid()}", start_parameter_services=False, **options)
        self._news = threading.Condition()
        self.observation: Observation | None = None
        self.raw_images: deque[Image] = deque(maxlen=KEPT)
        self.arm: ArmState | None = None
        self._complaint = ""
        self._aligned = self.create_publisher(Image, VIEW_ALIGN, LATCHED)
        self.create_subscription(Observation, OBSERVATION, self._observed, LATCHED)
        self.create_subscription(Image, IMAGE_RAW, self._raw_image_arrived, SENSOR)
        self.create_subscription(ArmState, ARM_STATE, self._moved, RECORDS)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._diagnosed, 10)

    def until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until ``condition()``. Raises InputError with the camera's diagnostics."""
        if not self.wait(condition, seconds):
            said = f" The camera says: {self._complaint}." if self._complaint else ""
            raise InputError(
                f"{what} for {seconds:g} s: is the stack running, with this ROS_DOMAIN_ID "
                f"({self.context.get_domain_id()})?{said}"
            )

    def wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Whether ``condition()`` came to hold in time."""
        deadline = time.monotonic() + seconds
        with self._news:
            while not condition():
                if time.monotonic() > deadline:
                    return False
                self._news.wait(POLL)
        return True

    def age(self, message: Observation | Image) -> float:
        """Seconds since the message's stamp, of this machine's clock."""
        now = self.get_clock().now().nanoseconds
        return (now - nanoseconds(message)) * 1e-9

    def raw_image_at(self, observation: Observation) -> np.ndarray | None:
        """The large image of the instant of ``observation``, or within half a second."""
        with self._news:
            images = list(self.raw_images)
        wanted = nanoseconds(observation)
        near = min(images, key=lambda p: abs(nanoseconds(p) - wanted), default=None)
        if near is None or abs(nanoseconds(near) - wanted) > 0.5e9:
            return None
        return image_to_array(near)

    def next_raw_image(self, seconds: float) -> np.ndarray:
        """The next large image, RGB uint8 (H, W, 3). Raises InputError where none comes."""
        with self._news:
            before = len(self.raw_images) and nanoseconds(self.raw_images[-1])
        self.until(
            lambda: bool(self.raw_images) and nanoseconds(self.raw_images[-1]) != before,
            seconds,
            f"no image on {self.resolve_topic_name(IMAGE_RAW)}",
        )
        return image_to_array(self.raw_images[-1])

    def show(self, pixels: np.ndarray) -> None:
        """Publish an image for display."""
        stamp = self.get_clock().now().to_msg()
        self._aligned.publish(array_to_image(pixels, stamp, CAMERA_FRAME))

    def _tell(self) -> None:
        with self._news:
            self._news.notify_all()

    def _observed(self, message: Observation) -> None:
        self.observation = message
        self._tell()

    def _raw_image_arrived(self, message: Image) -> None:
        with self._news:
            self.raw_images.append(message)
        self._tell()

    def _moved(self, message: ArmState) -> None:
        self.arm = message
        self._tell()

    def _diagnosed(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.rpartition("/")[2] == "camera":
                bad = status.level == DiagnosticStatus.ERROR
                self._complaint = status.message if bad else ""


def camera_client(domain: int | None = None) -> AbstractContextManager[CameraClient]:
    """A `CameraClient` that spins while the block runs. ``domain`` None: that of ROS_DOMAIN_ID."""
    return background_node(lambda context: CameraClient(context=context), domain)


def nanoseconds(message: Observation | Image) -> int:
    """A message's stamp."""
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


PATIENCE = 5.0  # s for an image
OLDEST = 1.0  # s that an image may be old
COMPANION = 1.0  # s to wait for the large image


def capture_goal(
    camera: CameraClient,
    note: str = "",
    ready: Callable[[], None] = lambda: None,
    patience: float = PATIENCE,
) -> GoalFile:
    """The next observation as a goal, after ``ready()`` returned: the operator arranged the scene.

    Raises InputError where no new image comes, and for one that is old, black or over-exposed.
    """
    nothing = "no new observation came"
    camera.until(lambda: camera.observation is not None, patience, nothing)
    ready()
    before = camera.observation.seq
    camera.until(lambda: camera.observation.seq != before, patience, nothing)
    observation = camera.observation
    age = camera.age(observation)
    if abs(age) > OLDEST:
        raise InputError(
            f"the image's stamp is {age:.1f} s old: is the camera behind, are the clocks of two "
            "machines apart, or does the stack run on simulated time (mode:=lock_step)?"
        )
    if not observation.images:
        raise InputError("the observation has no image: is this the topic of a camera?")
    image = image_to_array(observation.images[0])
    if (fault := fault_of(image)) is not None:
        raise InputError(f"not taken: {fault}")
    camera.wait(
        lambda: any(nanoseconds(p) >= nanoseconds(observation) for p in list(camera.raw_images)),
        COMPANION,
    )
    facts = {
        "note": note,
        "taken": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "observation": observation.seq,
    }
    if (arm := camera.arm) is not None:
        facts["joints"] = dict(zip(arm.joint_names, map(float, arm.joint_positions)))
        facts["gripper"] = float(arm.gripper)
    return GoalFile(image, camera.raw_image_at(observation), facts)
