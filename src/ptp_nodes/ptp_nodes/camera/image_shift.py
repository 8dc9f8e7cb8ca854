# SPDX-License-Identifier: Apache-2.0
"""Image registration: shift, rotation and zoom between two images with moved objects.

Phase correlation (Kuglin and Hines 1975) of a whole image follows its sharpest edges, even those
of one moved object. So it only proposes shifts here, at several scales. The shift with the largest
agreement of the images is refined tile by tile. Tiles that disagree with the others are ignored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

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
