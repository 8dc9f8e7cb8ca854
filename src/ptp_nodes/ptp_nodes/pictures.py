# SPDX-License-Identifier: Apache-2.0
"""Pictures for people: the strip of subgoals, and now | subgoal | goal side by side."""

from __future__ import annotations

import cv2
import numpy as np

GAP = 4  # pixels between tiles
LINE = 18  # pixels of a caption
BACKGROUND = (32, 32, 32)
INK = (230, 230, 230)
MARK = (255, 170, 0)  # frame of the subgoal that is pursued


def tile(pixels: np.ndarray | None, size: int) -> np.ndarray:
    """A picture as a square of ``size`` pixels, uint8 (size, size, 3); grey when there is none.

    Small pictures keep their pixels visible, large ones are averaged.
    """
    if pixels is None:
        return np.full((size, size, 3), 64, np.uint8)
    way = cv2.INTER_NEAREST if pixels.shape[0] <= size else cv2.INTER_AREA
    return cv2.resize(pixels, (size, size), interpolation=way)


def row(
    tiles: list[np.ndarray | None],
    captions: list[str],
    size: int,
    marked: int | None = None,
) -> np.ndarray:
    """Captioned tiles side by side, uint8 (H, W, 3) RGB; the ``marked`` one gets a frame."""
    height = size + LINE + 2 * GAP
    width = len(tiles) * (size + GAP) + GAP
    canvas = np.full((height, width, 3), BACKGROUND, np.uint8)
    for number, (pixels, caption) in enumerate(zip(tiles, captions)):
        left, top = GAP + number * (size + GAP), GAP
        canvas[top : top + size, left : left + size] = tile(pixels, size)
        color = MARK if number == marked else INK
        if number == marked:
            corner, opposite = (left - 2, top - 2), (left + size + 1, top + size + 1)
            cv2.rectangle(canvas, corner, opposite, MARK, 2)
        where = (left + 2, top + size + LINE - 4)
        cv2.putText(canvas, caption, where, cv2.FONT_HERSHEY_SIMPLEX, 0.42, color, 1, cv2.LINE_AA)
    return canvas


def strip(
    start: np.ndarray | None,
    subgoals: list[np.ndarray],
    goal: np.ndarray | None,
    marked: int | None = None,
    size: int = 96,
) -> np.ndarray:
    """Start, subgoals, goal in a row. ``marked``: subgoal pursued; their number is the goal."""
    captions = ["start", *(f"subgoal {k + 1}" for k in range(len(subgoals))), "goal"]
    place = None if marked is None else min(marked, len(subgoals)) + 1
    return row([start, *subgoals, goal], captions, size, place)


def side_by_side(
    now: np.ndarray | None,
    target: np.ndarray | None,
    goal: np.ndarray | None,
    caption: str = "subgoal",
    size: int = 240,
) -> np.ndarray:
    """Now | pursued subgoal | goal."""
    return row([now, target, goal], ["now", caption, "goal"], size)
