# SPDX-License-Identifier: Apache-2.0
"""How far a camera has moved since its reference picture was taken, and pictures that show it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ptp_core.data.files import write_atomically
from ptp_core.errors import InputError
from ptp_nodes.pictures import row
from ptp_ros.images import read_picture

REFERENCE = "camera.png"  # beside the goals
LEAST_LIKENESS = 0.15  # below it the two show different things, and the shift means nothing
GREEN, MAGENTA = (0, 255, 0), (255, 0, 255)


@dataclass(frozen=True)
class Shift:
    """Where the live picture lies, seen from the reference.

    ``turn`` and ``zoom`` come from the shifts of the picture's quarters; both are rough.
    """

    right: float  # pixels
    down: float  # pixels
    turn: float  # degrees, clockwise
    zoom: float  # 0.01: one percent larger
    farthest: float  # pixels that the corner goes that goes farthest
    likeness: float  # height of the correlation's peak, 1 for the same picture
    brighter: float  # difference of the means, of 255

    @property
    def pixels(self) -> float:
        """Length of the shift."""
        return math.hypot(self.right, self.down)

    @property
    def is_sure(self) -> bool:
        """Whether the two pictures have enough in common."""
        return self.likeness >= LEAST_LIKENESS

    def within(self, tolerance: float) -> bool:
        """Whether the camera stands where it stood, to ``tolerance`` pixels."""
        return self.is_sure and self.farthest <= tolerance

    def line(self) -> str:
        """The numbers, and what to do."""
        if not self.is_sure:
            return (
                f"the pictures have too little in common (likeness {self.likeness:.2f}): look at "
                "the blend, and turn the camera until both show the same"
            )
        return (
            f"shift {self.pixels:.1f} px (right {self.right:+.1f}, down {self.down:+.1f}), "
            f"turn {self.turn:+.2f} deg, zoom {100 * self.zoom:+.1f} %, corner "
            f"{self.farthest:.1f} px, "
            f"brightness {self.brighter:+.0f}, likeness {self.likeness:.2f}"
        )

    def advice(self) -> str:
        """How to move the camera, in words; empty when there is nothing to do."""
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
    """Compare two pictures of one size, RGB uint8 (H, W, 3), by phase correlation."""
    if reference.shape != live.shape:
        raise InputError(
            f"the live picture is {live.shape[1]} x {live.shape[0]}, the reference "
            f"{reference.shape[1]} x {reference.shape[0]}: give the camera the size of before"
        )
    first, second = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (reference, live))
    right, down, likeness = _correlate(first, second)
    height, width = first.shape
    middle_x, middle_y = width // 2, height // 2
    rows, values = [], []
    for top in (0, height - middle_y):
        for left in (0, width - middle_x):
            part = np.s_[top : top + middle_y, left : left + middle_x]
            dx, dy, like = _correlate(first[part], second[part])
            x, y = left + middle_x / 2 - width / 2, top + middle_y / 2 - height / 2
            # Small turns and zooms: point p shifts by t + zoom * p + turn * p', p' at 90 deg.
            rows += [[like, 0.0, like * x, -like * y], [0.0, like, like * y, like * x]]
            values += [like * dx, like * dy]
    _, _, zoom, turn = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    corner = math.hypot(width, height) / 2
    return Shift(
        right=right,
        down=down,
        turn=math.degrees(turn),
        zoom=float(zoom),
        farthest=math.hypot(right, down) + math.hypot(turn, zoom) * corner,
        likeness=likeness,
        brighter=float(second.mean()) - float(first.mean()),
    )


def _correlate(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Shift of the second grey picture, right and down, and the peak's height.

    At half the size: the sensor's grain and a JPEG's blocks stay where they are when the camera
    moves, and would hold the peak at zero.
    """
    size = (first.shape[1] // 2, first.shape[0] // 2)
    halves = [cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in (first, second)]
    window = cv2.createHanningWindow(size, cv2.CV_32F)
    (right, down), peak = cv2.phaseCorrelate(*(h.astype(np.float32) for h in halves), window)
    return 2 * right, 2 * down, peak


def overlay(reference: np.ndarray, live: np.ndarray, size: int = 480) -> np.ndarray:
    """Live | blend | difference | edges (reference green, live magenta); RGB uint8."""
    if reference.shape != live.shape:
        reference = cv2.resize(reference, live.shape[1::-1], interpolation=cv2.INTER_AREA)
    blend = cv2.addWeighted(reference, 0.5, live, 0.5, 0.0)
    difference = cv2.convertScaleAbs(cv2.absdiff(reference, live), alpha=2.0)
    edges = np.zeros_like(live)
    for picture, colour in ((reference, GREEN), (live, MAGENTA)):
        found = cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 60, 150) > 0
        edges[found] |= np.array(colour, np.uint8)
    tiles = [_square(p) for p in (live, blend, difference, edges)]
    return row(tiles, ["live", "blend", "difference", "edges: was green, is magenta"], size)


def _square(picture: np.ndarray) -> np.ndarray:
    """The picture with black bars around it."""
    height, width = picture.shape[:2]
    side = max(height, width)
    canvas = np.zeros((side, side, 3), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    canvas[top : top + height, left : left + width] = picture
    return canvas


def read_reference(path: str | Path) -> np.ndarray:
    """The reference picture, RGB uint8 (H, W, 3). Raises InputError."""
    if not Path(path).is_file():
        raise InputError(
            f"there is no reference picture {path}: take it while the camera stands where it "
            "should, with ptp camera align --save"
        )
    return read_picture(str(path))


def write_picture(path: str | Path, pixels: np.ndarray) -> None:
    """Write RGB uint8 (H, W, 3) as PNG, whole or not at all. Raises InputError."""
    path = Path(path)
    png = cv2.imencode(".png", np.ascontiguousarray(pixels[:, :, ::-1]))[1].tobytes()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda partial: partial.write_bytes(png))
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror})") from error
