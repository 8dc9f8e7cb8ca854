# SPDX-License-Identifier: Apache-2.0
"""Factory of image sources by text: a camera, a video file or a fake."""

from __future__ import annotations

import os

from ptp_core.errors import InputError
from ptp_nodes.camera.camera_device import CameraDevice
from ptp_nodes.camera.fake_camera import FakeDevice
from ptp_nodes.camera.v4l2 import V4l2Device
from ptp_nodes.camera.video_file import VideoFile

FAKE = "fake:"  # before a video file: `FakeDevice`


def make_device(text: str, loop: bool = True) -> CameraDevice:
    """The device that ``text`` names: a number or /dev/..., a video file, or fake:VIDEO.

    Raises InputError.
    """
    if text.startswith(FAKE):
        return FakeDevice(text.removeprefix(FAKE))
    if os.path.isfile(text):
        return VideoFile(text, loop)
    if text.isdigit() or text.startswith("/dev/"):
        return V4l2Device(text)
    raise InputError(
        f'"{text}" is neither a camera (number or /dev/video...) nor a video file: name a camera '
        "by /dev/v4l/by-id/..., which stays when it is plugged in elsewhere"
    )
