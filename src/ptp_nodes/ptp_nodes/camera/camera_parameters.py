# SPDX-License-Identifier: Apache-2.0
"""Parameters of the camera node."""

from __future__ import annotations

from dataclasses import dataclass

from ptp_core.errors import InputError
from ptp_nodes.camera.camera_device import Format
from ptp_nodes.camera.frame_source import HealthLimits
from ptp_nodes.camera.v4l2 import KEEP, Wish, wishes
from ptp_ros.lifecycle import ManagedParameters
from ptp_ros.parameters import parameter


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

    def wishes(self) -> tuple[Wish, ...]:
        """The controls to fix. Raises InputError."""
        if self.power_line not in (KEEP, 0, 50, 60):
            raise InputError(f"power_line is {self.power_line}; give 50, 60, 0 or {KEEP}")
        return wishes(
            exposure=self.exposure,
            gain=self.gain,
            white_balance=self.white_balance,
            focus=self.focus,
            zoom=self.zoom,
            power_line=self.power_line,
            others=self.controls,
        )

    def health(self) -> HealthLimits:
        """When a picture counts as none."""
        return HealthLimits(self.black_below, self.white_share, self.frozen_after)
