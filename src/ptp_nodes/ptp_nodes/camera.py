# SPDX-License-Identifier: Apache-2.0
"""Node: pictures of a camera or a video file, cropped and reduced to what the encoder takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from ptp_interfaces.msg import Observation
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.time import Time
from sensor_msgs.msg import Image

from ptp_core.errors import InputError
from ptp_nodes.frames import Frame, FrameSource
from ptp_ros.diagnostics import ERROR, OK, Diagnostics
from ptp_ros.images import array_to_image, crop_and_resize
from ptp_ros.lifecycle import ManagedNode, ManagedParameters
from ptp_ros.parameters import parameter
from ptp_ros.run import run
from ptp_ros.topics import CAMERA_FRAME, IMAGE_RAW, OBSERVATION, SENSOR, STREAM


@dataclass(frozen=True)
class CameraParameters(ManagedParameters):
    """Parameters of the camera node."""

    device: str = parameter("0", "camera, number or /dev/video..., or a video file")
    width: int = parameter(640, "pixels asked of the camera", minimum=48, maximum=8192)
    height: int = parameter(480, "pixels asked of the camera", minimum=48, maximum=8192)
    loop: bool = parameter(True, "play a video file again and again")
    rate: float = parameter(10.0, "observations a second, Hz", minimum=0.1, maximum=60.0)
    crop: int = parameter(0, "pixels of the square that is cut out; 0: the largest", minimum=0)
    offset: tuple[int, ...] = parameter(
        (0, 0), "of the square from the picture's centre, right and down, pixels"
    )
    stale_after: float = parameter(
        1.0, "s without a new frame until the camera counts as stale", minimum=0.05
    )
    frozen_after: float = parameter(
        2.0,
        "s of frames that are equal to the bit until the camera counts as frozen; a sensor's "
        "noise never repeats; 0: never",
        minimum=0.0,
    )


class CameraNode(ManagedNode):
    """Publishes the newest frame as `Observation` and `image_raw`, and nothing while it is old."""

    parameters_type = CameraParameters

    def __init__(self, **options: Any) -> None:
        super().__init__("camera", **options)
        self._source: FrameSource | None = None
        self._seq = 0
        self._last = 0
        self._stale = False
        self._before: Frame | None = None  # the frame since which every one was the same
        self._activated = time.monotonic()
        self._observations = self.create_lifecycle_publisher(Observation, OBSERVATION, STREAM)
        self._images = self.create_lifecycle_publisher(Image, IMAGE_RAW, SENSOR)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / self.parameters.rate, self._tick, clock=steady)
        Diagnostics(self, self._status)

    def stop(self) -> None:
        """Let go of the device."""
        super().stop()
        if self._source is not None:
            self._source.stop()

    def _configure(self) -> None:
        settings = self.parameters
        if len(settings.offset) != 2:
            raise InputError(
                f"offset has {len(settings.offset)} numbers; give two, right and down"
            )
        self._source = FrameSource(
            settings.device,
            size=(settings.width, settings.height),
            loop=settings.loop,
            report=self._report,
        )

    def _report(self, text: str) -> None:
        self.get_logger().error(text)

    def _activate(self) -> None:
        self._activated = time.monotonic()
        self._source.start()

    def _deactivate(self) -> None:
        # The device is free while the node is inactive.
        if self._source is not None:
            self._source.stop()
            self._configure()

    def _cleanup(self) -> None:
        self._source = None

    def _tick(self) -> None:
        if not self.active:
            return
        frame = self._source.newest
        since = self._activated if frame is None else frame.time
        if time.monotonic() - since > self.parameters.stale_after:
            self._nothing_new(f"no new frame for {self.parameters.stale_after:g} s")
        elif frame is not None and frame.number != self._last:
            self._last = frame.number
            if self._is_frozen(frame):
                seconds = self.parameters.frozen_after
                self._nothing_new(f"every frame of the last {seconds:g} s is the same")
                return
            self._stale = False
            self._publish(frame)

    def _nothing_new(self, text: str) -> None:
        if not self._stale:
            self.get_logger().error(f"{text}: nothing is published")
        self._stale = True

    def _is_frozen(self, frame: Frame) -> bool:
        """Whether all frames of the last ``frozen_after`` s are equal to the bit."""
        before = self._before
        if before is None or not np.array_equal(before.pixels, frame.pixels):
            self._before = frame
            return False
        seconds = self.parameters.frozen_after
        return bool(seconds) and frame.time - before.time > seconds

    def _publish(self, frame: Frame) -> None:
        settings = self.parameters
        try:
            small = crop_and_resize(frame.pixels, settings.crop, tuple(settings.offset))
        except InputError as error:
            self.get_logger().error(str(error), throttle_duration_sec=1.0)
            return
        # When the frame was taken, not when it was looked at.
        age = int((time.monotonic() - frame.time) * 1e9)
        now = self.get_clock().now()
        stamp = Time(nanoseconds=now.nanoseconds - age, clock_type=now.clock_type).to_msg()
        self._seq += 1
        observation = Observation(seq=self._seq, image=array_to_image(small, stamp, CAMERA_FRAME))
        observation.header = observation.image.header
        self._observations.publish(observation)
        if self._images.get_subscription_count():
            self._images.publish(array_to_image(frame.pixels, stamp, CAMERA_FRAME))

    def _status(self):
        figures = {"device": self.parameters.device, "observations": self._seq}
        if not self.active:
            return ERROR, str(self.problem), figures
        if self._stale:
            return ERROR, "no new frames", figures
        return OK, "running", figures


def main() -> int:
    """Entry point."""
    return run(CameraNode)
