# SPDX-License-Identifier: Apache-2.0
"""Node: publishes images of a camera or video file, cropped and resized for the encoder."""

from __future__ import annotations

import array
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from ptp_interfaces.msg import Observation
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from ptp_core.data.trajectory import CAMERA
from ptp_core.errors import InputError
from ptp_nodes.camera.camera_device import CameraDevice, Format, Frame
from ptp_nodes.camera.frame_source import FrameSource, Health, HealthLimits, make_device
from ptp_nodes.camera.v4l2 import KEEP, ControlSetting, control_settings
from ptp_robot.command import first_number
from ptp_ros.agent_messages import observation_message
from ptp_ros.diagnostics import ERROR, OK, WARN, Diagnostics
from ptp_ros.image_messages import array_to_image, crop_and_resize
from ptp_ros.lifecycle import ManagedNode, ManagedParameters
from ptp_ros.node_main import run
from ptp_ros.parameters import parameter
from ptp_ros.standard_publishers import ObservationParts
from ptp_ros.streams import HistoryPublisher
from ptp_ros.topics import CAMERA_FRAME, IMAGE_COMPRESSED, IMAGE_RAW, OBSERVATION, SENSOR, STREAM

__all__ = ["CameraNode", "CameraParameters", "main"]


@dataclass(frozen=True)
class CameraParameters(ManagedParameters):
    """Parameters of the camera node. A control at -1 is left as the device has it.

    Exposure and gain to begin with are those of a lit room at 50 Hz; both, focus and white
    balance are set by eye once (docs/camera.md) and never again.
    """

    device: str = parameter(
        "0", "camera, /dev/v4l/by-id/... or number; a video file; or fake:VIDEO"
    )
    width: int = parameter(640, "pixels asked of the camera", minimum=48, maximum=8192)
    height: int = parameter(480, "pixels asked of the camera", minimum=48, maximum=8192)
    pixel_format: str = parameter(
        "MJPG",
        "asked of the camera: MJPG: JPEGs, passed on as they are; YUYV: without JPEG's losses. "
        "Collect data and practise with the same one",
        choices=("MJPG", "YUYV"),
    )
    frame_rate: float = parameter(30.0, "asked of the camera, Hz", minimum=1.0, maximum=240.0)
    exposure: int = parameter(
        100, "time, 0.1 ms; whole half-waves of the mains do not flicker", minimum=KEEP
    )
    gain: int = parameter(32, "the device's units", minimum=KEEP)
    white_balance: int = parameter(4500, "colour temperature of the light, K", minimum=KEEP)
    focus: int = parameter(0, "the device's units; a C920's 0 is far, 250 near", minimum=KEEP)
    zoom: int = parameter(100, "the device's units; a C920 keeps it when unplugged", minimum=KEEP)
    power_line: int = parameter(50, "of the mains, Hz: 50, 60; 0: off", minimum=KEEP, maximum=60)
    controls: tuple[str, ...] = parameter(
        ("",), "others to fix, name=value, as v4l2-ctl --list-ctrls calls them: sharpness=128"
    )
    loop: bool = parameter(True, "play a video file again and again")
    rate: float = parameter(10.0, "observations a second, Hz", minimum=0.1, maximum=60.0)
    observation_size: int = parameter(
        48, "pixels a side of observations: those that the encoder was trained on", minimum=4
    )
    crop: int = parameter(0, "pixels of the square that is cut out; 0: the largest", minimum=0)
    offset: tuple[int, ...] = parameter(
        (0, 0), "of the square from the image's centre, right and down, pixels"
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
    black_below: float = parameter(
        5.0,
        "mean of an observation, of 255, below which it counts as black; 0: never",
        minimum=0.0,
        maximum=255.0,
    )
    white_share: float = parameter(
        0.5,
        "share of white pixels above which an observation counts as over-exposed; 1: never",
        minimum=0.0,
        maximum=1.0,
    )

    def format(self) -> Format:
        """What is asked of the device."""
        return Format(self.width, self.height, self.pixel_format, self.frame_rate)

    def control_settings(self) -> tuple[ControlSetting, ...]:
        """The controls to fix. Raises InputError."""
        if self.power_line not in (KEEP, 0, 50, 60):
            raise InputError(f"power_line is {self.power_line}; give 50, 60, 0 or {KEEP}")
        return control_settings(
            exposure=self.exposure,
            gain=self.gain,
            white_balance=self.white_balance,
            focus=self.focus,
            zoom=self.zoom,
            power_line=self.power_line,
            others=self.controls,
        )

    def health(self) -> HealthLimits:
        """When an image counts as none."""
        return HealthLimits(self.black_below, self.white_share, self.frozen_after)


class CameraNode(ManagedNode):
    """Publishes the newest frame: `Observation`, ``image_raw`` and the camera's own JPEG.

    The three of one frame have one stamp, of when it was taken. A frame that is old, frozen,
    black or over-exposed is published by none of them; log and diagnostics name what is wrong.
    ``device`` None: the one that the parameter of that name names.
    """

    parameters_type = CameraParameters

    def __init__(self, device: CameraDevice | None = None, **options: Any) -> None:
        super().__init__("camera", **options)
        self._given_device = device
        self._source: FrameSource | None = None
        self._seq = self._first = first_number()
        self._last = self._damaged = 0
        self._fault = ""  # of the newest frame
        self._brightness = math.nan
        self._activated = time.monotonic()
        self._observations = HistoryPublisher(self, Observation, OBSERVATION, STREAM, managed=True)
        self._parts = ObservationParts(self, (CAMERA,), managed=True)
        self._images = self.create_lifecycle_publisher(Image, IMAGE_RAW, SENSOR)
        self._jpegs = self.create_lifecycle_publisher(CompressedImage, IMAGE_COMPRESSED, SENSOR)
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
        self._health = Health(settings.health())
        self._source = FrameSource(
            self._given_device or make_device(settings.device, settings.loop),
            settings.format(),
            control_settings=settings.control_settings(),
            report=self._report,
        )

    def _report(self, text: str, level: str) -> None:
        # A line of its own for each: rclpy wants one severity a place.
        if level == "error":
            self.get_logger().error(text)
        elif level == "warning":
            self.get_logger().warning(text)
        else:
            self.get_logger().info(text)

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
        since = self._activated if frame is None else max(frame.time, self._activated)
        if time.monotonic() - since > self.parameters.stale_after:
            self._withhold(f"no new frame for {self.parameters.stale_after:g} s")
        elif frame is not None and frame.number != self._last:
            self._last = frame.number
            self._look_at(frame)

    def _look_at(self, frame: Frame) -> None:
        try:
            pixels = frame.pixels
        except InputError as error:
            self._damaged += 1
            self.get_logger().error(str(error), throttle_duration_sec=1.0)
            return
        settings = self.parameters
        try:
            small = crop_and_resize(
                pixels, settings.observation_size, settings.crop, tuple(settings.offset)
            )
        except InputError as error:
            self._withhold(str(error))
            return
        self._brightness = float(small.mean())
        fault = self._health.fault(pixels, small, frame.time)
        if fault is not None:
            self._withhold(fault)
            return
        if self._fault:
            self.get_logger().info("images are published again")
        self._fault = ""
        self._publish(frame, small)

    def _withhold(self, fault: str) -> None:
        if fault != self._fault:
            self.get_logger().error(f"{fault}: nothing is published")
        self._fault = fault

    def _publish(self, frame: Frame, small: np.ndarray) -> None:
        # When the frame was taken, not when it was looked at.
        age = int((time.monotonic() - frame.time) * 1e9)
        now = self.get_clock().now()
        stamp = Time(nanoseconds=now.nanoseconds - age, clock_type=now.clock_type).to_msg()
        self._seq += 1
        header = Header(stamp=stamp, frame_id=CAMERA_FRAME)
        observation = observation_message(self._seq, header, {CAMERA: small})
        self._observations.publish(observation)
        self._parts.publish(observation)
        if self._images.get_subscription_count():
            self._images.publish(array_to_image(frame.pixels, stamp, CAMERA_FRAME))
        if self._jpegs.get_subscription_count():
            jpeg = CompressedImage(header=observation.header, format="rgb8; jpeg compressed bgr8")
            jpeg.data = array.array("B", frame.jpeg)
            self._jpegs.publish(jpeg)

    def _status(self):
        figures = {"device": self.parameters.device, "observations": self._seq - self._first}
        source = self._source
        if source is not None:
            newest = source.newest
            figures |= {
                "frames": 0 if newest is None else newest.number,
                "damaged": self._damaged,
                "found": source.opened,
                "brightness": self._brightness,
            }
            if (given := source.given) is not None:
                figures["format"] = (
                    f"{given.width} x {given.height} {given.pixels} {given.rate:g} Hz"
                )
        if not self.active:
            return ERROR, str(self.problem), figures
        if self._fault:
            return ERROR, self._fault, figures
        if source.disobeyed:
            return WARN, f"the camera does not obey: {'; '.join(source.disobeyed)}", figures
        return OK, "running", figures


def main() -> int:
    """Entry point."""
    return run(CameraNode)
