# SPDX-License-Identifier: Apache-2.0
"""Frames of a camera: open a named device, read it in a thread, report bad and lost frames."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ptp_core.errors import InputError, quoted
from ptp_nodes.camera.camera_device import CameraDevice, Capture, Format, Frame
from ptp_nodes.camera.v4l2 import ControlSetting, V4l2Device, fix
from ptp_nodes.camera.video_file import FakeDevice, VideoFile

WHITE = 250  # a channel from here on has lost what was there
FIRST = 3  # frames after which a camera keeps its controls
SETTLE = 10  # frames until exposure and white balance are stable; they are dropped
RETRY = 1.0  # s between attempts to open a missing device
FAKE = "fake:"  # before a video file: `FakeDevice`


@dataclass(frozen=True)
class HealthLimits:
    """Limits beyond which an image is unusable."""

    black_below: float = 5.0  # mean of all channels, of 255
    white_share: float = 0.5  # of pixels whose three channels are all white
    frozen_after: float = 2.0  # s of frames that are equal to the bit; 0: never


def fault_of(pixels: np.ndarray, limits: HealthLimits | None = None) -> str | None:
    """Fault of this image, RGB uint8 (H, W, 3), in one line; None: the image is usable."""
    limits = limits or HealthLimits()
    if float(pixels.mean()) < limits.black_below:
        return (
            f"the image is black (mean below {limits.black_below:g} of 255; take the cap off, "
            "switch the light on, or raise exposure)"
        )
    if float((pixels >= WHITE).all(axis=2).mean()) > limits.white_share:
        return (
            f"the image is over-exposed (over {100 * limits.white_share:g} % of it is white; "
            "lower exposure or gain, or dim the light)"
        )
    return None


class Health:
    """Checks each frame in turn."""

    def __init__(self, limits: HealthLimits) -> None:
        self._limits = limits
        self._before: tuple[np.ndarray, float] | None = None  # since when every one was the same

    def fault(self, pixels: np.ndarray, small: np.ndarray, time: float) -> str | None:
        """What is wrong with the frame ``pixels`` of that time [s]; ``small``: what is used of it.

        Both RGB uint8 (H, W, 3).
        """
        if self._is_frozen(pixels, time):
            return f"every frame of the last {self._limits.frozen_after:g} s is the same"
        return fault_of(small, self._limits)

    def _is_frozen(self, pixels: np.ndarray, time: float) -> bool:
        """Whether frames are bitwise equal; the noise of a working sensor never repeats."""
        if self._before is None or not np.array_equal(self._before[0], pixels):
            self._before = pixels, time
            return False
        seconds = self._limits.frozen_after
        return bool(seconds) and time - self._before[1] > seconds


class FrameSource:
    """Reads a device until it is stopped.

    A lasting device that is missing or vanishes is looked for every ``retry`` s. Each time it is
    found, its controls are set, set again after the first frames, and read back.
    ``report`` is called once for each change: (text, "info", "warning" or "error").
    """

    def __init__(
        self,
        device: CameraDevice,
        wanted: Format,
        *,
        control_settings: Sequence[ControlSetting] = (),
        report: Callable[[str, str], None],
        retry: float = RETRY,
    ) -> None:
        self._device = device
        self._wanted = wanted
        self._control_settings = control_settings
        self._report = report
        self._retry = retry
        self._newest: Frame | None = None
        self._count = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="frames", daemon=True)
        self.opened = 0  # times that the device was found
        self.disobeyed: list[str] = []  # what the device did not do of what it was told
        self.given: Format | None = None  # what it gives; None: it is not there

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

    def _run(self) -> None:
        told = ""
        while not self._stop.is_set():
            try:
                capture = self._device.open(self._wanted)
            except InputError as error:
                if str(error) != told:
                    told = str(error)
                    self._report(f"{told} (trying again every {self._retry:g} s)", "error")
                self._stop.wait(self._retry)
                continue
            if told:
                self._report(f"{self._device.name} is there again", "info")
                told = ""
            self.opened, self.given = self.opened + 1, capture.format
            try:
                self._read(capture)
            except InputError as error:
                self._report(str(error), "error")
            finally:
                capture.release()
                self.given = None
            if self._stop.is_set():
                return
            if not self._device.lasting:
                self._report(f"{self._device.name}: end of the video", "error")
                return
            told = f"{self._device.name} gives no more frames"
            self._report(f"{told} (trying again every {self._retry:g} s)", "error")
            self._stop.wait(self._retry)

    def _read(self, capture: Capture) -> None:
        """Read until the stop, or until there are no more frames."""
        if self._device.lasting:
            self._fix(capture)
            if not self._skip(capture, FIRST):
                return
            self.disobeyed = [*self._wanted.unlike(capture.format), *self._fix(capture)]
            if self.disobeyed:
                self._report(
                    f"{self._device.name} does not obey: {'; '.join(self.disobeyed)}. Images "
                    "will not look as those that the networks know: see docs/camera.md",
                    "warning",
                )
            if not self._skip(capture, SETTLE):
                return
        while not self._stop.is_set() and (frame := capture.read()) is not None:
            self._count += 1
            self._newest = replace(frame, number=self._count)

    def _fix(self, capture: Capture) -> list[str]:
        return [] if capture.controls is None else fix(capture.controls, self._control_settings)

    def _skip(self, capture: Capture, count: int) -> bool:
        """Whether so many frames came."""
        return all(not self._stop.is_set() and capture.read() is not None for _ in range(count))


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
        f"{quoted(text)} is neither a camera (number or /dev/video...) nor a "
        "video file: name a camera "
        "by /dev/v4l/by-id/..., which stays when it is plugged in elsewhere"
    )
