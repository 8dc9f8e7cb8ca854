# SPDX-License-Identifier: Apache-2.0
"""Video file as an image source, at its own frame rate."""

from __future__ import annotations

import time
from threading import Event

import cv2

from ptp_core.errors import InputError
from ptp_nodes.camera.camera_device import Format, Frame

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

    panel = None

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
