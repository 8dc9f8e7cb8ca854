# SPDX-License-Identifier: Apache-2.0
"""Image sources that play a video: the file itself, and a fake camera that can be unplugged."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from threading import Event

import cv2

from ptp_core.errors import InputError
from ptp_nodes.camera.camera_device import Control, Format, Frame

FASTEST = 1000.0  # Hz; more is a broken header


def open_video(path: str) -> cv2.VideoCapture:
    """The opened file. Raises InputError."""
    capture = cv2.VideoCapture(path)
    if not capture.isOpened():
        raise InputError(f"{path}: not a video that can be read")
    return capture


def rate_of(capture: cv2.VideoCapture) -> float:
    """Frames a second; 0 where the file does not say, or nonsense."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0.0 < rate <= FASTEST else 0.0


class VideoFile:
    """Plays a file; with ``loop`` again and again. Raises InputError for a file that is none."""

    lasting = False

    def __init__(self, path: str, loop: bool = True) -> None:
        self.name = path
        self._loop = loop
        open_video(path).release()  # a file that is no video will not become one

    def open(self, wanted: Format) -> VideoCapture:
        """Begin at the first frame."""
        return VideoCapture(open_video(self.name), self._loop)


class VideoCapture:
    """An open video file."""

    controls = None

    def __init__(self, capture: cv2.VideoCapture, loop: bool) -> None:
        self._capture = capture
        self._loop = loop
        rate = rate_of(capture)
        self.format = Format(
            int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            "file",
            rate,
        )
        self._period = 1.0 / rate if rate else 0.0
        self._due = time.monotonic()
        self._pause = Event()

    def read(self) -> Frame | None:
        """The next frame, when it is due."""
        good, bgr = self._capture.read()
        if not good and self._loop:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            good, bgr = self._capture.read()
        if not good:
            return None
        self._pause.wait(max(0.0, self._due - time.monotonic()))
        self._due += self._period
        return Frame(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), time.monotonic())

    def release(self) -> None:
        """Close the file."""
        self._capture.release()


# As uvcvideo shows a C920: value at power-up, least, most.
C920 = {
    "brightness": Control(128, 0, 255),
    "white_balance_automatic": Control(1),
    "gain": Control(0, 0, 255),
    "power_line_frequency": Control(2, 0, 2),
    "white_balance_temperature": Control(4000, 2000, 6500),
    "sharpness": Control(128, 0, 255),
    "auto_exposure": Control(3, 0, 3),
    "exposure_time_absolute": Control(250, 3, 2047),
    "exposure_dynamic_framerate": Control(1),
    "focus_absolute": Control(0, 0, 250),
    "focus_automatic_continuous": Control(1),
    "zoom_absolute": Control(100, 100, 500),
}
OLD_NAMES = {
    "auto_exposure": "exposure_auto",
    "exposure_time_absolute": "exposure_absolute",
    "exposure_dynamic_framerate": "exposure_auto_priority",
    "white_balance_automatic": "white_balance_temperature_auto",
    "focus_automatic_continuous": "focus_auto",
}
# A value -> what must be off before it can be written, and the value that is off.
MANUAL = {
    "exposure_time_absolute": ("auto_exposure", 1),
    "white_balance_temperature": ("white_balance_automatic", 0),
    "focus_absolute": ("focus_automatic_continuous", 0),
}


class FakeControls:
    """Controls in memory. A value behind an automatic control is refused until that is off.

    ``old``: with the names of older kernels. ``stubborn``: controls that take a value and keep
    their own.
    """

    def __init__(self, old: bool = False, stubborn: tuple[str, ...] = ()) -> None:
        self._names = OLD_NAMES if old else {}
        self._stubborn = stubborn
        self.written: list[tuple[str, int]] = []
        self.power_up()

    def power_up(self) -> None:
        """As after plugging in."""
        self._controls = {self._names.get(name, name): c for name, c in C920.items()}

    def forget_exposure(self) -> None:
        """As C920s do with what was set before the first frame."""
        for name in ("auto_exposure", "exposure_time_absolute"):
            self._controls[self._names.get(name, name)] = C920[name]

    def read(self) -> dict[str, Control]:
        """All controls as they are now."""
        return dict(self._controls)

    def write(self, name: str, value: int) -> None:
        """Set one."""
        self.written.append((name, value))
        if name not in self._controls:
            raise InputError(f"unknown control '{name}'")
        for behind, (toggle, off) in MANUAL.items():
            toggle = self._names.get(toggle, toggle)
            if self._names.get(behind, behind) == name and self._controls[toggle].value != off:
                raise InputError("VIDIOC_S_EXT_CTRLS: failed: Input/output error")
        if name not in self._stubborn:
            self._controls[name] = replace(self._controls[name], value=value)


class FakeDevice:
    """A camera that plays ``path`` in a loop while that file exists and nobody unplugs it.

    Move the file away and back to unplug and plug it; in a program `unplug` and `plug` do so.

    ``gives``: the size, pixel format and rate that it has whatever it is asked for; None: the
    video's size and rate, and the format that is asked for.
    """

    lasting = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        controls: FakeControls | None = None,
        gives: Format | None = None,
    ) -> None:
        self.path = os.path.abspath(path)
        self.name = f"fake:{self.path}"
        self.controls = controls or FakeControls()
        self.opened = 0
        self._gives = gives
        self._plugged = threading.Event()
        self._plugged.set()

    def unplug(self) -> None:
        """Pull the plug: frames end, and it cannot be opened."""
        self._plugged.clear()

    def plug(self) -> None:
        """Plug it in again."""
        self._plugged.set()

    @property
    def is_there(self) -> bool:
        """Whether it is plugged in."""
        return self._plugged.is_set() and os.path.exists(self.path)

    def open(self, wanted: Format) -> FakeCapture:
        """Open it, with its controls as after plugging in."""
        if not self.is_there:
            raise InputError(
                f"{self.name} does not exist: plug the camera in, or name another device"
            )
        self.controls.power_up()
        self.opened += 1
        video = VideoCapture(open_video(self.path), loop=True)
        given = self._gives or replace(video.format, pixels=wanted.pixels)
        return FakeCapture(self, video, given)


class FakeCapture:
    """An open fake camera."""

    def __init__(self, device: FakeDevice, video: VideoCapture, given: Format) -> None:
        self.format = given
        self.controls = device.controls
        self._device = device
        self._video = video
        self._began = False

    def read(self) -> Frame | None:
        """The next frame: a JPEG, where MJPG was asked for."""
        frame = self._video.read()
        if frame is None or not self._device.is_there:
            return None
        if not self._began:
            self._began = True
            self.controls.forget_exposure()
        return Frame(frame.jpeg, frame.time) if self.format.pixels == "MJPG" else frame

    def release(self) -> None:
        """Close it."""
        self._video.release()
