# SPDX-License-Identifier: Apache-2.0
"""Put a camera back where it was: look, compare with the reference, say how far it is off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from ptp_core.errors import InputError
from ptp_nodes.camera_parameters import CameraParameters
from ptp_nodes.cameras.alignment import (
    Shift,
    overlay,
    read_reference,
    shift_between,
    write_picture,
)
from ptp_nodes.cameras.health import fault_of
from ptp_nodes.cameras.looker import looker
from ptp_nodes.cameras.make_device import make_device
from ptp_nodes.frames import FrameSource

PATIENCE = 5.0  # s for a picture


class Eyes(Protocol):
    """Where live pictures come from, and where the overlay is shown."""

    def next_picture(self, seconds: float) -> np.ndarray:
        """The next picture, RGB uint8 (H, W, 3). Raises InputError."""

    def show(self, pixels: np.ndarray) -> None:
        """Show a picture to the person."""


class DeviceEyes:
    """A camera of our own, while no stack has it."""

    def __init__(self, source: FrameSource, problems: list[str]) -> None:
        self._source = source
        self._problems = problems
        self._seen = 0

    def next_picture(self, seconds: float) -> np.ndarray:
        """The next frame."""
        deadline = time.monotonic() + seconds
        while (frame := self._source.newest) is None or frame.number == self._seen:
            if time.monotonic() > deadline:
                said = "; ".join(self._problems) or "is it the right one?"
                raise InputError(f"the camera gave no picture for {seconds:g} s: {said}")
            time.sleep(0.01)
        self._seen = frame.number
        return frame.pixels

    def show(self, pixels: np.ndarray) -> None:
        """Nobody looks: the file is what there is."""


@contextmanager
def eyes(device: str = "", domain: int | None = None) -> Iterator[Eyes]:
    """Those of the running graph; with ``device`` that camera's, set up as the node does it."""
    if not device:
        with looker(domain) as node:
            yield node
        return
    settings, problems = CameraParameters(), []
    source = FrameSource(
        make_device(device),
        settings.format(),
        wishes=settings.wishes(),
        report=lambda text, level: problems.append(text),
    )
    source.start()
    try:
        yield DeviceEyes(source, problems)
    finally:
        source.stop()


def save_reference(eyes: Eyes, path: Path, replace: bool = False) -> None:
    """Keep the next picture as the reference. Raises InputError, also for a bad picture."""
    if path.exists() and not replace:
        raise InputError(f"{path} exists: replace it with --replace")
    picture = eyes.next_picture(PATIENCE)
    if (fault := fault_of(picture)) is not None:
        raise InputError(f"not taken: {fault}")
    write_picture(path, picture)


def look_once(eyes: Eyes, reference: np.ndarray, out: Path | None = None) -> Shift:
    """Compare the next picture; the overlay is shown, and written to ``out``."""
    live = eyes.next_picture(PATIENCE)
    shift = shift_between(reference, live)
    picture = overlay(reference, live)
    eyes.show(picture)
    if out is not None:
        write_picture(out, picture)
    return shift


def align(
    eyes: Eyes,
    reference: Path,
    tell: Callable[[Shift], None],
    *,
    out: Path | None = None,
    period: float = 1.0,
    stop: threading.Event | None = None,
) -> Shift:
    """Compare every ``period`` s until ``stop`` is set or Ctrl-C; the last shift."""
    picture, ending = read_reference(reference), stop or threading.Event()
    while True:
        shift = look_once(eyes, picture, out)
        tell(shift)
        try:
            if ending.wait(period):
                return shift
        except KeyboardInterrupt:
            return shift
