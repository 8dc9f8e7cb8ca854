# SPDX-License-Identifier: Apache-2.0
"""Frames of a camera or a video file: read in a thread, only the newest is kept."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from ptp_core.errors import InputError


@dataclass(frozen=True)
class Frame:
    """One picture: RGB uint8 (H, W, 3), its number, steady-clock time of arrival [s]."""

    pixels: np.ndarray
    number: int
    time: float


class FrameSource:
    """Reads a V4L2 device (number or /dev/video...) or a video file until it is stopped.

    A device that is missing or vanishes is tried again every ``retry`` s; ``report`` hears of
    each change, once. A file plays at its own rate, again and again with ``loop``.
    """

    def __init__(
        self,
        device: str,
        *,
        size: tuple[int, int] = (640, 480),
        loop: bool = True,
        retry: float = 2.0,
        report: Callable[[str], None] = print,
    ) -> None:
        self._device = device
        self._size = size
        self._loop = loop
        self._retry = retry
        self._report = report
        self._is_file = os.path.isfile(device)
        self._newest: Frame | None = None
        self._count = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="frames", daemon=True)
        if not self._is_file and not self._is_device():
            raise InputError(
                f'"{device}" is neither a camera (number or /dev/video...) nor a video file'
            )
        if self._is_file:
            self._open().release()  # a file that is no video will not become one

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading; a device that does not answer is left to its thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    @property
    def newest(self) -> Frame | None:
        """The newest frame; None before the first."""
        return self._newest

    def _is_device(self) -> bool:
        return self._device.isdigit() or self._device.startswith("/dev/")

    def _open(self) -> cv2.VideoCapture:
        """An open capture. Raises InputError."""
        if self._is_file:
            capture = cv2.VideoCapture(self._device)
            if not capture.isOpened():
                raise InputError(f"{self._device}: not a video that can be read")
            return capture
        path = f"/dev/video{self._device}" if self._device.isdigit() else self._device
        if not os.path.exists(path):
            raise InputError(f"{path} does not exist: plug the camera in, or name another device")
        capture = cv2.VideoCapture(path, cv2.CAP_V4L2)
        if not capture.isOpened():
            raise InputError(
                f"{path} cannot be opened: is it in use, or are you not in the group video?"
            )
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._size[1])
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return capture

    def _run(self) -> None:
        told = ""
        while not self._stop.is_set():
            try:
                capture = self._open()
            except InputError as error:
                if str(error) != told:
                    told = str(error)
                    self._report(f"{told} (trying again every {self._retry:g} s)")
                self._stop.wait(self._retry)
                continue
            if told:
                self._report(f"{self._device} is there again")
                told = ""
            lost = self._read(capture)
            capture.release()
            if self._stop.is_set():
                return
            if self._is_file and not self._loop:
                self._report(f"{self._device}: end of the video")
                return
            if lost:
                told = f"{self._device} gives no more frames"
                self._report(f"{told} (trying again every {self._retry:g} s)")
                self._stop.wait(self._retry)

    def _read(self, capture: cv2.VideoCapture) -> bool:
        """Read until the end or the stop; whether a device was lost."""
        rate = capture.get(cv2.CAP_PROP_FPS) if self._is_file else 0.0
        period = 1.0 / rate if 0.0 < rate <= 1000.0 else 0.0
        due = time.monotonic()
        while not self._stop.is_set():
            good, pixels = capture.read()
            if not good:
                return not self._is_file
            self._count += 1
            rgb = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
            self._newest = Frame(rgb, self._count, time.monotonic())
            due += period
            self._stop.wait(max(0.0, due - time.monotonic()) if period else 0.0)
        return False
