# SPDX-License-Identifier: Apache-2.0
"""Frames of a device: read in a thread, only the newest is kept; a lost device is found again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from ptp_core.errors import InputError
from ptp_nodes.cameras.controls import Wish, fix
from ptp_nodes.cameras.device import Capture, Device, Format, Frame

SETTLE = 10  # frames of a camera that nobody sees: it forgets what was set before the first
RETRY = 1.0  # s between looks for a device that is not there


class FrameSource:
    """Reads a device until it is stopped.

    A lasting device that is missing or vanishes is looked for every ``retry`` s. Each time it is
    found, its controls are set, set again after the first ``settle`` frames, and read back.
    ``report`` hears of each change once: (text, "info", "warning" or "error").
    """

    def __init__(
        self,
        device: Device,
        wanted: Format,
        *,
        wishes: Sequence[Wish] = (),
        report: Callable[[str, str], None],
        settle: int = SETTLE,
        retry: float = RETRY,
    ) -> None:
        self._device = device
        self._wanted = wanted
        self._wishes = wishes
        self._report = report
        self._settle = settle if device.lasting else 0
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
        if self._settle:
            self._fix(capture)
            if not self._skip(capture):
                return
            self.disobeyed = [*self._wanted.unlike(capture.format), *self._fix(capture)]
            if self.disobeyed:
                self._report(
                    f"{self._device.name} does not obey: {'; '.join(self.disobeyed)}. Pictures "
                    "will not look as those that the networks know: see docs/camera.md",
                    "warning",
                )
            # Exposure and white balance take some frames to arrive.
            if not self._skip(capture):
                return
        while not self._stop.is_set() and (frame := capture.read()) is not None:
            self._count += 1
            self._newest = replace(frame, number=self._count)

    def _fix(self, capture: Capture) -> list[str]:
        return [] if capture.panel is None else fix(capture.panel, self._wishes)

    def _skip(self, capture: Capture) -> bool:
        """Whether ``settle`` frames came."""
        return all(
            not self._stop.is_set() and capture.read() is not None for _ in range(self._settle)
        )
