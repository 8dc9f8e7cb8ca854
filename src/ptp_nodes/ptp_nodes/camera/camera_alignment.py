# SPDX-License-Identifier: Apache-2.0
"""Camera alignment: compare the live image with a reference image and report the shift."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ptp_core.data.files import write_atomically
from ptp_core.errors import InputError
from ptp_nodes.camera.camera_client import camera_client
from ptp_nodes.camera.frame_source import FrameSource, fault_of, make_device
from ptp_nodes.camera.image_shift import place
from ptp_nodes.nodes.camera_node import CameraParameters
from ptp_nodes.operator.episode_video import row
from ptp_ros.image_messages import read_image

REFERENCE = "camera.png"  # beside the goals
GREEN, MAGENTA = (0, 255, 0), (255, 0, 255)


@dataclass(frozen=True)
class Shift:
    """Shift of the live image from the reference image."""

    right: float  # pixels
    down: float  # pixels
    turn: float  # degrees, clockwise
    zoom: float  # 0.01: one percent larger
    farthest: float  # pixels by which the farthest corner moves
    likeness: float  # correlation of the overlap, 1 for the same image
    is_sure: bool  # whether the images have enough in common for a valid shift
    brighter: float  # difference of the means, of 255

    @property
    def pixels(self) -> float:
        """Length of the shift."""
        return math.hypot(self.right, self.down)

    def within(self, tolerance: float) -> bool:
        """Whether the camera is in its place, within ``tolerance`` pixels."""
        return self.is_sure and self.farthest <= tolerance

    def line(self) -> str:
        """One line with the numbers."""
        if not self.is_sure:
            return (
                f"the images have too little in common (likeness {self.likeness:.2f}): put the "
                "table and the arm as they were, then turn the camera until the overlay shows one "
                "image"
            )
        return (
            f"shift {self.pixels:.1f} px (right {self.right:+.1f}, down {self.down:+.1f}), "
            f"turn {self.turn:+.2f} deg, zoom {100 * self.zoom:+.1f} %, corner "
            f"{self.farthest:.1f} px, "
            f"brightness {self.brighter:+.0f}, likeness {self.likeness:.2f}"
        )

    def advice(self) -> str:
        """Text that tells how to move the camera; empty when it is in place."""
        if not self.is_sure:
            return ""
        words = []
        if abs(self.right) >= 0.5:
            words.append(f"turn it {'right' if self.right > 0 else 'left'}")
        if abs(self.down) >= 0.5:
            words.append(f"tilt it {'down' if self.down > 0 else 'up'}")
        if abs(self.turn) >= 0.1:
            words.append(f"roll it {'clockwise' if self.turn > 0 else 'counter-clockwise'}")
        return ", ".join(words)


def shift_between(reference: np.ndarray, live: np.ndarray) -> Shift:
    """Shift between two images of one size, RGB uint8 (H, W, 3). Raises InputError for others."""
    if reference.shape != live.shape:
        raise InputError(
            f"the live image is {live.shape[1]} x {live.shape[0]}, the reference "
            f"{reference.shape[1]} x {reference.shape[0]}: give the camera the size of before"
        )
    first, second = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (reference, live))
    found = place(first, second)
    corner = math.hypot(*first.shape) / 2
    return Shift(
        right=found.right,
        down=found.down,
        turn=math.degrees(found.turn),
        zoom=found.zoom,
        farthest=math.hypot(found.right, found.down) + math.hypot(found.turn, found.zoom) * corner,
        likeness=found.likeness,
        is_sure=found.is_sure,
        brighter=float(second.mean()) - float(first.mean()),
    )


def overlay(reference: np.ndarray, live: np.ndarray, size: int = 480) -> np.ndarray:
    """Live | blend | difference | edges (reference green, live magenta); RGB uint8."""
    if reference.shape != live.shape:
        reference = cv2.resize(reference, live.shape[1::-1], interpolation=cv2.INTER_AREA)
    blend = cv2.addWeighted(reference, 0.5, live, 0.5, 0.0)
    difference = cv2.convertScaleAbs(cv2.absdiff(reference, live), alpha=2.0)
    edges = np.zeros_like(live)
    for image, colour in ((reference, GREEN), (live, MAGENTA)):
        found = cv2.Canny(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 60, 150) > 0
        edges[found] |= np.array(colour, np.uint8)
    tiles = [_square(p) for p in (live, blend, difference, edges)]
    return row(tiles, ["live", "blend", "difference", "edges: was green, is magenta"], size)


def _square(image: np.ndarray) -> np.ndarray:
    """The image, padded with black bars to a square."""
    height, width = image.shape[:2]
    side = max(height, width)
    canvas = np.zeros((side, side, 3), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    canvas[top : top + height, left : left + width] = image
    return canvas


def read_reference(path: str | Path) -> np.ndarray:
    """The reference image, RGB uint8 (H, W, 3). Raises InputError."""
    if not Path(path).is_file():
        raise InputError(
            f"there is no reference image {path}: take it while the camera stands where it "
            "should, with ptp camera align --save"
        )
    return read_image(str(path))


def write_image(path: str | Path, pixels: np.ndarray) -> None:
    """Write RGB uint8 (H, W, 3) as PNG, whole or not at all. Raises InputError."""
    path = Path(path)
    png = cv2.imencode(".png", np.ascontiguousarray(pixels[:, :, ::-1]))[1].tobytes()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda partial: partial.write_bytes(png))
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror})") from error


PATIENCE = 5.0  # s for an image


class LiveImages(Protocol):
    """Source of live images, and display of the overlay."""

    def next_raw_image(self, seconds: float) -> np.ndarray:
        """The next image, RGB uint8 (H, W, 3). Raises InputError."""

    def show(self, pixels: np.ndarray) -> None:
        """Show an image to the operator."""


class DeviceImages:
    """Live images of a camera that this process opens, while no stack uses it."""

    def __init__(self, source: FrameSource, problems: list[str]) -> None:
        self._source = source
        self._problems = problems
        self._seen = 0

    def next_raw_image(self, seconds: float) -> np.ndarray:
        """The next frame."""
        deadline = time.monotonic() + seconds
        while (frame := self._source.newest) is None or frame.number == self._seen:
            if time.monotonic() > deadline:
                said = "; ".join(self._problems) or "is it the right one?"
                raise InputError(f"the camera gave no image for {seconds:g} s: {said}")
            time.sleep(0.01)
        self._seen = frame.number
        return frame.pixels

    def show(self, pixels: np.ndarray) -> None:
        """Do nothing: there is no display, only the file."""


@contextmanager
def live_images(device: str = "", domain: int | None = None) -> Iterator[LiveImages]:
    """Live images of the running graph, or of the camera ``device`` with the node's controls."""
    if not device:
        with camera_client(domain) as node:
            yield node
        return
    settings, problems = CameraParameters(), []
    source = FrameSource(
        make_device(device),
        settings.format(),
        control_settings=settings.control_settings(),
        report=lambda text, level: problems.append(text),
    )
    source.start()
    try:
        yield DeviceImages(source, problems)
    finally:
        source.stop()


def save_reference(images: LiveImages, path: Path, replace: bool = False) -> None:
    """Save the next image as the reference. Raises InputError, also for a bad image."""
    if path.exists() and not replace:
        raise InputError(f"{path} exists: replace it with --replace")
    image = images.next_raw_image(PATIENCE)
    if (fault := fault_of(image)) is not None:
        raise InputError(f"not taken: {fault}")
    write_image(path, image)


def look_once(images: LiveImages, reference: np.ndarray, out: Path | None = None) -> Shift:
    """Compare the next image; the overlay is shown, and written to ``out``."""
    live = images.next_raw_image(PATIENCE)
    shift = shift_between(reference, live)
    image = overlay(reference, live)
    images.show(image)
    if out is not None:
        write_image(out, image)
    return shift


def align(
    images: LiveImages,
    reference: Path,
    tell: Callable[[Shift], None],
    *,
    out: Path | None = None,
    period: float = 1.0,
    stop: threading.Event | None = None,
) -> Shift:
    """Compare every ``period`` s until ``stop`` is set or Ctrl-C; the last shift."""
    image, ending = read_reference(reference), stop or threading.Event()
    while True:
        shift = look_once(images, image, out)
        tell(shift)
        try:
            if ending.wait(period):
                return shift
        except KeyboardInterrupt:
            return shift
