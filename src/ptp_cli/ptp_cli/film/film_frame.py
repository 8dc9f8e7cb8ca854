# SPDX-License-Identifier: Apache-2.0
"""One frame of `ptp film`: the camera image on the left, plan and goal on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ptp_cli.demo.demo_film import BAD, EMPTY, FAINT, GAP, GOOD, INK, MARK, PAPER, font, tile

SIDE = 296  # pixels a side of the camera image
BESIDE = 456  # width of what is beside it
TILES = (296, 224, 144, 96, 72, 48, 24)  # sides of the images of a plan: the largest that fits
HEAD, CAPTION, FOOT = 40, 26, 14
WIDTH, HEIGHT = SIDE + BESIDE + 3 * GAP, HEAD + CAPTION + SIDE + FOOT


@dataclass(frozen=True)
class PlanImages:
    """Images beside the camera's, uint8 (H, W, 3) RGB.

    subgoals: from near to far. goal: that was given, or that was predicted; None where there is
    none. predicted: the plan was made backwards from a predicted goal, and is renewed while the
    agent acts.
    """

    subgoals: Sequence[np.ndarray] = ()
    goal: np.ndarray | None = None
    predicted: bool = False


@dataclass(frozen=True)
class FilmText:
    """The words of a frame. ``success`` is None until the episode has ended."""

    title: str
    step: int  # control steps taken
    steps: int  # of the whole episode
    pursued: int | None = None  # subgoal, from 0; their number stands for the goal; None: no mark
    success: bool | None = None


def film_frame(camera: np.ndarray, plan: PlanImages, text: FilmText) -> np.ndarray:
    """Draw a frame, uint8 (HEIGHT, WIDTH, 3) RGB, from ``camera``, uint8 (H, W, 3) RGB."""
    canvas = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw = ImageDraw.Draw(canvas)
    standing, color = _standing(text)
    room = WIDTH - 3 * GAP - draw.textlength(standing, font(15))
    title = _shortened(draw, text.title, room)
    draw.text((GAP, HEAD // 2), title, INK, font(15), anchor="lm")
    draw.text((WIDTH - GAP, HEAD // 2), standing, color, font(15), anchor="rm")
    top, left = HEAD + CAPTION, SIDE + 2 * GAP
    draw.text((GAP, top - 4), "camera now", FAINT, font(14), anchor="ls")
    canvas.paste(Image.fromarray(tile(camera, SIDE)), (GAP, top))
    _plan(canvas, draw, plan, text.pursued, (left, top))
    bar = WIDTH - 2 * GAP
    draw.rectangle((GAP, HEIGHT - 9, GAP + bar - 1, HEIGHT - 6), EMPTY)
    done = round(bar * text.step / max(text.steps, 1))
    if done:
        draw.rectangle((GAP, HEIGHT - 9, GAP + done - 1, HEIGHT - 6), INK)
    return np.asarray(canvas)


def _plan(
    canvas: Image.Image,
    draw: ImageDraw.ImageDraw,
    plan: PlanImages,
    pursued: int | None,
    corner: tuple[int, int],
) -> None:
    """Paste subgoals and goal in rows, and frame what is pursued."""
    named = [(str(number + 1), image) for number, image in enumerate(plan.subgoals)]
    if plan.goal is not None:
        named.append(("goal", plan.goal))
    side = next((s for s in TILES if _columns(s) * _rows(s) >= len(named)), TILES[-1])
    columns = _columns(side)
    rows = -(-len(named) // columns)
    first = (
        corner[1] + max(0, SIDE - rows * (side + GAP) + GAP) // 2
    )  # in the middle of the height
    draw.text((corner[0], first - 4), _caption(plan), FAINT, font(14), anchor="ls")
    for number, (name, image) in enumerate(named[: columns * _rows(side)]):
        left = corner[0] + number % columns * (side + GAP)
        top = first + number // columns * (side + GAP)
        canvas.paste(Image.fromarray(tile(image, side)), (left, top))
        marked = number == pursued
        if marked:
            draw.rectangle((left - 3, top - 3, left + side + 2, top + side + 2), None, MARK, 4)
        if side >= 48:
            width = round(draw.textlength(name, font(13))) + 8
            box = (left, top, left + width, top + 17)
            draw.rectangle(box, MARK if marked else PAPER)
            draw.text((left + 4, top + 9), name, PAPER if marked else INK, font(13), anchor="lm")


def _columns(side: int) -> int:
    return (BESIDE + GAP) // (side + GAP)


def _rows(side: int) -> int:
    return (SIDE + GAP) // (side + GAP)


def _caption(plan: PlanImages) -> str:
    if plan.predicted:
        return "predicted, from near to far"
    if not plan.subgoals:
        return "goal image, no subgoals"
    return "planned subgoals" + ("" if plan.goal is None else ", then the goal image")


def _standing(text: FilmText) -> tuple[str, tuple[int, int, int]]:
    if text.success is None:
        return f"step {text.step} of {text.steps}", INK
    verdict = ("SUCCESS", GOOD) if text.success else ("GOAL NOT REACHED", BAD)
    return f"after {text.step} steps: {verdict[0]}", verdict[1]


def _shortened(draw: ImageDraw.ImageDraw, words: str, room: float) -> str:
    """The words, or as many of their first letters as have room."""
    if draw.textlength(words, font(15)) <= room:
        return words
    while words and draw.textlength(words + "…", font(15)) > room:
        words = words[:-1]
    return words.rstrip() + "…"
