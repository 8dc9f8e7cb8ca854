# SPDX-License-Identifier: Apache-2.0
"""Camera alignment: compare the live image with a reference image and report the shift.

`place` finds shift, rotation and zoom between two images with moved objects. Phase correlation
(Kuglin and Hines 1975) of a whole image follows its sharpest edges, even those of one moved
object. So it only proposes shifts here, at several scales. The shift with the largest agreement of
the images is refined tile by tile. Tiles that disagree with the others are ignored.
"""

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
from ptp_nodes.nodes.camera_node import CameraParameters
from ptp_nodes.operator.episode_video import row
from ptp_ros.image_messages import read_image

FACTORS = (8, 4, 2)  # sizes at which shifts are proposed, and agreement is seen at the middle one
LEAST_OVERLAP = 0.25  # of the area
TILES = (4, 5)  # rows, columns
FINE = 2  # tiles are compared at this part of their size: a sensor's grain stands still
FARTHEST = 6  # pixels of a tile, each way, that it may be off after the first step
LEAST_CONTRAST = 4.0  # standard deviation of a tile, of 255: above that of grain
LEAST_MATCH = 0.7  # normalised correlation of a tile with its match
LEAST_LIKENESS = 0.4
LEAST_TILES = 5  # for a fit of four numbers that some of them may spoil
ROUNDS = 8  # of the fit
STEPS = 4
REFERENCE = "camera.png"  # beside the goals
GREEN, MAGENTA = (0, 255, 0), (255, 0, 255)
PATIENCE = 5.0  # s for an image


@dataclass(frozen=True)
class Placement:
    """Where the second image lies, seen from the first."""

    right: float  # pixels, at the centre
    down: float
    turn: float  # rad, clockwise
    zoom: float  # 0.01: one percent larger
    agreeing: int  # tiles that the placement was measured with
    likeness: float  # correlation of what overlaps, smoothed: 1 for the same image

    @property
    def is_sure(self) -> bool:
        """Whether the two images have enough in common."""
        return self.agreeing >= LEAST_TILES and self.likeness >= LEAST_LIKENESS


def place(first: np.ndarray, second: np.ndarray) -> Placement:
    """Place the second grey image on the first; both uint8 (H, W) of one size."""
    coarse, likeness = _best_shift(first, second)
    found, agreeing = _refined(first, second, coarse)
    return Placement(*map(float, found), agreeing, likeness)


@dataclass(frozen=True)
class CameraShift:
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


def shift_between(reference: np.ndarray, live: np.ndarray) -> CameraShift:
    """Shift between two images of one size, RGB uint8 (H, W, 3). Raises InputError for others."""
    if reference.shape != live.shape:
        raise InputError(
            f"the live image is {live.shape[1]} x {live.shape[0]}, the reference "
            f"{reference.shape[1]} x {reference.shape[0]}: give the camera the size of before"
        )
    first, second = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (reference, live))
    found = place(first, second)
    corner = math.hypot(*first.shape) / 2
    return CameraShift(
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


def look_once(images: LiveImages, reference: np.ndarray, out: Path | None = None) -> CameraShift:
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
    tell: Callable[[CameraShift], None],
    *,
    out: Path | None = None,
    period: float = 1.0,
    stop: threading.Event | None = None,
) -> CameraShift:
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


def _best_shift(first: np.ndarray, second: np.ndarray) -> tuple[tuple[int, int], float]:
    """The proposed shift under which the two agree best, and how well."""
    proposed = {(0, 0)}
    for factor in FACTORS:
        right, down, _ = _correlate(_smaller(first, factor), _smaller(second, factor))
        proposed.add((round(factor * right), round(factor * down)))
    best, likeness = (0, 0), -1.0
    factor = FACTORS[1]
    for shift in sorted(proposed):
        parts = _overlap(first, second, shift)
        if parts is None:
            continue
        a, b = (_smaller(part, factor).astype(np.float64) for part in parts[:2])
        a, b = a - a.mean(), b - b.mean()
        scale = math.sqrt((a * a).sum() * (b * b).sum())
        agreement = float((a * b).sum() / scale) if scale > 0.0 else 0.0
        if agreement > likeness:
            best, likeness = shift, agreement
    return best, likeness


def _overlap(
    first: np.ndarray, second: np.ndarray, shift: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, int, int] | None:
    """What both show when the second lies ``shift`` off, and where it begins in the first."""
    height, width = first.shape
    right, down = shift
    left, top = max(0, -right), max(0, -down)
    wide, high = width - abs(right), height - abs(down)
    if wide <= 0 or high <= 0 or wide * high < LEAST_OVERLAP * width * height:
        return None
    a = first[top : top + high, left : left + wide]
    b = second[top + down : top + down + high, left + right : left + right + wide]
    return a, b, left, top


def _refined(
    first: np.ndarray, second: np.ndarray, coarse: tuple[int, int]
) -> tuple[np.ndarray, int]:
    """(right, down, turn, zoom) of the second image, beginning with ``coarse``; tiles used.

    A point p, from the centre, shifts by t + zoom * p + turn * p', p' being p turned by 90 deg.
    A turned tile matches less well; so the image is put back and looked at again.
    """
    found = np.array([*coarse, 0.0, 0.0])
    height, width = first.shape
    centre = np.array([width, height]) / 2
    for _ in range(STEPS):
        turn, zoom = found[2:]
        linear = np.array([[1.0 + zoom, -turn], [turn, 1.0 + zoom]])
        offset = centre + found[:2] - linear @ centre
        matrix = np.concatenate([linear, offset[:, None]], axis=1)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        back = cv2.warpAffine(second, matrix, (width, height), flags=flags)
        seen = cv2.warpAffine(np.ones_like(second), matrix, (width, height), flags=flags)
        points, shifts = _tile_shifts(first, back, seen)
        found = found + _fit(points, shifts)
    return found, len(points)


def _tile_shifts(
    first: np.ndarray, second: np.ndarray, seen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Centres of tiles, from the image's, and their shifts, both (N, 2) [pixels].

    ``seen`` is 0 where the second image shows nothing.
    """
    high, wide = (length // count for length, count in zip(first.shape, TILES))
    points, shifts = [], []
    for y in range(0, high * TILES[0], high):
        for x in range(0, wide * TILES[1], wide):
            part = np.s_[y : y + high, x : x + wide]
            if not seen[part].all():
                continue
            match = _match(_smaller(first[part], FINE), _smaller(second[part], FINE))
            if match is not None:
                dx, dy = FINE * match[0], FINE * match[1]
                points.append((x + (wide - first.shape[1]) / 2, y + (high - first.shape[0]) / 2))
                shifts.append((dx, dy))
    return np.array(points).reshape(-1, 2), np.array(shifts).reshape(-1, 2)


def _fit(points: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """(right, down, turn, zoom) that most shifts agree with; 0 where there are too few."""
    if len(points) < LEAST_TILES:
        return np.zeros(4)
    one, none = np.ones(len(points)), np.zeros(len(points))
    x, y = points.T
    rows = np.concatenate(
        [np.stack([one, none, -y, x], axis=1), np.stack([none, one, x, y], axis=1)]
    )
    weights = np.ones(len(points))
    for _ in range(ROUNDS):
        root = np.sqrt(np.tile(weights, 2))
        fit = np.linalg.lstsq(rows * root[:, None], shifts.T.ravel() * root, rcond=None)[0]
        off = np.linalg.norm((rows @ fit).reshape(2, -1).T - shifts, axis=1)
        spread = max(float(np.median(off)), 0.1)
        weights = 1.0 / (1.0 + (off / (2.0 * spread)) ** 2) ** 2  # of Geman and McClure
    return fit


def _match(first: np.ndarray, second: np.ndarray) -> tuple[float, float] | None:
    """Shift of a tile's middle, to parts of a pixel; None where nothing distinct is found.

    Unlike phase correlation this weighs by contrast: grain and the blocks of a JPEG, which stand
    still when the camera moves, do not count.
    """
    middle = first[FARTHEST:-FARTHEST, FARTHEST:-FARTHEST]
    if min(middle.shape, default=0) < 8 or middle.std() < LEAST_CONTRAST:
        return None
    scores = cv2.matchTemplate(second, middle, cv2.TM_CCOEFF_NORMED)
    _, best, _, (x, y) = cv2.minMaxLoc(scores)
    last = 2 * FARTHEST
    if best < LEAST_MATCH or not (0 < x < last and 0 < y < last):
        return None
    along = _vertex(scores[y, x - 1 : x + 2]), _vertex(scores[y - 1 : y + 2, x])
    return x - FARTHEST + along[0], y - FARTHEST + along[1]


def _vertex(values: np.ndarray) -> float:
    """Where, from the middle one, the parabola through three values has its top."""
    before, middle, after = map(float, values)
    curve = before - 2.0 * middle + after
    return 0.5 * (before - after) / curve if curve < 0.0 else 0.0


def _smaller(image: np.ndarray, factor: int) -> np.ndarray:
    size = (max(4, image.shape[1] // factor), max(4, image.shape[0] // factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _correlate(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Shift of the second image by phase correlation, and the peak's height."""
    window = cv2.createHanningWindow(first.shape[::-1], cv2.CV_32F)
    (right, down), peak = cv2.phaseCorrelate(
        first.astype(np.float32), second.astype(np.float32), window
    )
    return right, down, peak


def _square(image: np.ndarray) -> np.ndarray:
    """The image, padded with black bars to a square."""
    height, width = image.shape[:2]
    side = max(height, width)
    canvas = np.zeros((side, side, 3), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    canvas[top : top + height, left : left + width] = image
    return canvas
