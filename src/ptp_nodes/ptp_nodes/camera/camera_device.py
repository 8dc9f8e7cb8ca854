# SPDX-License-Identifier: Apache-2.0
"""Interface of image sources; a fake device replaces real ones behind it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import cv2
import numpy as np

from ptp_core.data.file_limits import check_picture_size
from ptp_core.errors import InputError

JPEG_BEGIN, JPEG_END = b"\xff\xd8", b"\xff\xd9"
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Format:
    """Image format that is requested from a device, or that it delivers."""

    width: int  # pixels
    height: int
    pixels: str  # MJPG or YUYV
    rate: float  # frames a second, Hz

    def unlike(self, given: Format) -> list[str]:
        """Differences of ``given`` from this requested format, each in a few words."""
        wrong = []
        if (self.width, self.height) != (given.width, given.height):
            wrong.append(
                f"size is {given.width} x {given.height}, not {self.width} x {self.height}"
            )
        if self.pixels != given.pixels:
            wrong.append(f"pixel format is {given.pixels or 'unknown'}, not {self.pixels}")
        if abs(self.rate - given.rate) > 0.5:
            wrong.append(f"rate is {given.rate:g} Hz, not {self.rate:g} Hz")
        return wrong


def _may_be_decoded(jpeg: bytes) -> bool:
    """Whether it declares a size that a camera has: a decoder sets aside what is declared."""
    try:
        check_picture_size(jpeg)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Frame:
    """One frame as the device gave it: a JPEG file's bytes, or RGB pixels.

    A JPEG is decoded when its pixels are asked for: of 30 frames a second a policy looks at ten.
    """

    data: bytes | np.ndarray  # JPEG, or RGB uint8 (H, W, 3)
    time: float  # when it was taken, steady clock [s]
    number: int = 0  # counts up while the source runs, over replugs, too

    @cached_property
    def pixels(self) -> np.ndarray:
        """RGB, uint8 (H, W, 3). Raises InputError for a JPEG that came damaged."""
        if isinstance(self.data, np.ndarray):
            return self.data
        end = self.data.rfind(JPEG_END)
        whole = self.data.startswith(JPEG_BEGIN) and end > 0
        bgr = None
        if whole and _may_be_decoded(self.data):
            bgr = cv2.imdecode(np.frombuffer(self.data, np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            raise InputError(
                f"frame {self.number} is damaged ({len(self.data)} bytes that are no whole JPEG): "
                "look at the camera's cable and at what else is on its USB hub"
            )
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)

    @property
    def jpeg(self) -> bytes:
        """The device's own JPEG; where it gives pixels, they are encoded."""
        if isinstance(self.data, bytes):
            return self.data
        bgr = cv2.cvtColor(self.data, cv2.COLOR_RGB2BGR)
        return cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1].tobytes()


@dataclass(frozen=True)
class Control:
    """One control of a device. None: it has no such limit."""

    value: int
    minimum: int | None = None
    maximum: int | None = None


class CameraControls(Protocol):
    """A device's controls: exposure, focus, ..., by the names that the kernel gives them."""

    def read(self) -> dict[str, Control]:
        """All controls as they are now. Raises InputError."""

    def write(self, name: str, value: int) -> None:
        """Set one. Raises InputError with the device's reason."""


class Capture(Protocol):
    """An open device."""

    format: Format  # as the device says; what it does not say is as asked for
    controls: CameraControls | None  # None: it has no controls

    def read(self) -> Frame | None:
        """Wait for the next frame; None when there are no more: unplugged, or the file's end."""

    def release(self) -> None:
        """Close the device."""


class CameraDevice(Protocol):
    """A source of images that may be unplugged and return."""

    name: str
    lasting: bool  # whether it comes back after it is lost; a file ends

    def open(self, wanted: Format) -> Capture:
        """An open capture. Raises InputError that names cause and cure."""
