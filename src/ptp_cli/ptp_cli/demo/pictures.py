# SPDX-License-Identifier: Apache-2.0
"""What the demo draws: a frame of the film and the strip of planned subgoals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

TILE = 288  # pixels a side of a picture in the film: 6 an observation pixel
STRIP_TILE = 96  # in the strip: 2 an observation pixel
GAP = 8
PAPER = (22, 24, 29)
EMPTY = (44, 48, 56)
INK = (236, 238, 242)
FAINT = (150, 157, 170)
MARK = (255, 176, 32)  # what is pursued now
GOOD = (74, 201, 126)
BAD = (242, 106, 96)

VERDICTS = {
    "success": ("SUCCESS", GOOD),
    "no success": ("GOAL NOT REACHED", BAD),
    "failed": ("BROKEN OFF", BAD),
}

Pixels = np.ndarray  # uint8 (H, W, 3) RGB


@dataclass(frozen=True)
class Moment:
    """What a frame says beside its pictures."""

    title: str
    step: int  # control steps taken
    steps: int  # of the whole episode
    subgoal: int | None  # pursued, from 0; the number of subgoals is the goal; None: planning
    subgoals: int
    verdict: str | None = None  # how the episode ended: one of VERDICTS


def frame(camera: Pixels | None, target: Pixels | None, goal: Pixels | None, moment: Moment):
    """One frame of the film: camera | pursued subgoal | goal, uint8 (H, W, 3) RGB.

    Every frame has the same size, both sides even, as video codecs want.
    """
    width = 3 * TILE + 4 * GAP
    head, caption, foot = 40, 26, 42
    canvas = Image.new("RGB", (width, head + caption + TILE + foot), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((GAP, head // 2), moment.title, INK, _font(17), anchor="lm")
    words, color = _standing(moment)
    draw.text((width - GAP, head // 2), words, color, _font(17), anchor="rm")
    top = head + caption
    captions = ("camera now", _pursued(moment), "goal picture")
    for number, (pixels, text) in enumerate(zip((camera, target, goal), captions)):
        left = GAP + number * (TILE + GAP)
        canvas.paste(Image.fromarray(tile(pixels, TILE)), (left, top))
        place = (left + TILE // 2, head + caption // 2 - 3)
        draw.text(place, text, MARK if number == 1 else FAINT, _font(15), anchor="mm")
    _milestones(draw, moment, (GAP, top + TILE + GAP, width - GAP, canvas.height - GAP))
    return np.asarray(canvas)


def strip(now: Pixels | None, subgoals: list[Pixels], goal: Pixels | None) -> Pixels:
    """The plan in one row: now, each subgoal, goal; uint8 (H, W, 3) RGB."""
    names = ["now", *(f"subgoal {number + 1}" for number in range(len(subgoals))), "goal"]
    caption = 22
    size = (len(names) * (STRIP_TILE + GAP) + GAP, STRIP_TILE + caption + GAP)
    canvas = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(canvas)
    for number, (pixels, name) in enumerate(zip((now, *subgoals, goal), names)):
        left = GAP + number * (STRIP_TILE + GAP)
        canvas.paste(Image.fromarray(tile(pixels, STRIP_TILE)), (left, GAP))
        planned = 0 < number < len(names) - 1
        place = (left + STRIP_TILE // 2, GAP + STRIP_TILE + caption // 2)
        draw.text(place, name, MARK if planned else INK, _font(14), anchor="mm")
    return np.asarray(canvas)


def tile(pixels: Pixels | None, size: int) -> Pixels:
    """A square picture of ``size`` pixels: small ones keep their pixels visible."""
    if pixels is None:
        return np.full((size, size, 3), EMPTY, np.uint8)
    if pixels.shape[:2] == (size, size):
        return pixels
    way = cv2.INTER_NEAREST if size % pixels.shape[0] == 0 else cv2.INTER_AREA
    return cv2.resize(pixels, (size, size), interpolation=way)


def _standing(moment: Moment) -> tuple[str, tuple[int, int, int]]:
    if moment.verdict is not None:
        return VERDICTS[moment.verdict]
    if moment.subgoal is None:
        return "planning", FAINT
    return f"step {moment.step} of {moment.steps}", INK


def _pursued(moment: Moment) -> str:
    if moment.subgoal is None:
        return "no subgoal yet"
    if moment.subgoal >= moment.subgoals:
        return "pursues the goal itself"
    return f"subgoal {moment.subgoal + 1} of {moment.subgoals}"


def _milestones(draw: ImageDraw.ImageDraw, moment: Moment, box: tuple[int, int, int, int]):
    """A box for each subgoal and the goal, and a line for the steps taken."""
    left, top, right, bottom = box
    draw.rectangle((left, bottom - 4, right - 1, bottom - 1), EMPTY)
    done = round((right - left) * moment.step / max(moment.steps, 1))
    if done:
        draw.rectangle((left, bottom - 4, left + done - 1, bottom - 1), INK)
    count = moment.subgoals + 1
    pitch = (right - left + 4) / count
    for number in range(count):
        x0, x1 = round(left + number * pitch), round(left + (number + 1) * pitch) - 5
        name = "goal" if number == moment.subgoals else str(number + 1)
        pursued = number == moment.subgoal
        passed = moment.subgoal is not None and number < moment.subgoal
        draw.rectangle((x0, top, x1, bottom - 10), MARK if pursued else EMPTY)
        ink = PAPER if pursued else INK if passed else FAINT
        draw.text(((x0 + x1) / 2, (top + bottom - 10) / 2), name, ink, _font(13), anchor="mm")


@cache
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
