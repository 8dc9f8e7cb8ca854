# SPDX-License-Identifier: Apache-2.0
"""Film of an episode: video frames, the strip of planned subgoals, and the last image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ptp_nodes.operator.episode_video import EpisodeVideo

TILE = 288  # pixels a side of an image in the film: 6 per observation pixel
STRIP_TILE = 96  # in the strip: 2 per observation pixel
GAP = 8
PAPER = (22, 24, 29)
EMPTY = (44, 48, 56)
INK = (236, 238, 242)
FAINT = (150, 157, 170)
MARK = (255, 176, 32)  # the pursued subgoal
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
    """Text of a frame."""

    title: str
    step: int  # control steps taken
    steps: int  # of the whole episode
    subgoal: int | None  # pursued, from 0; the number of subgoals is the goal; None: planning
    subgoals: int
    verdict: str | None = None  # how the episode ended: one of VERDICTS
    predicted: bool = False  # the goal is what the agent predicts of an instruction


def frame(camera: Pixels | None, target: Pixels | None, goal: Pixels | None, moment: Moment):
    """One frame of the film: camera | pursued subgoal | goal, uint8 (H, W, 3) RGB.

    Every frame has the same size, with even sides, which video codecs need.
    """
    width = 3 * TILE + 4 * GAP
    head, caption, foot = 40, 26, 42
    canvas = Image.new("RGB", (width, head + caption + TILE + foot), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((GAP, head // 2), moment.title, INK, font(17), anchor="lm")
    words, color = _standing(moment)
    draw.text((width - GAP, head // 2), words, color, font(17), anchor="rm")
    top = head + caption
    goal_name = "predicted goal" if moment.predicted else "goal image"
    captions = ("camera now", _pursued(moment), goal_name)
    for number, (pixels, text) in enumerate(zip((camera, target, goal), captions)):
        left = GAP + number * (TILE + GAP)
        canvas.paste(Image.fromarray(tile(pixels, TILE)), (left, top))
        place = (left + TILE // 2, head + caption // 2 - 3)
        draw.text(place, text, MARK if number == 1 else FAINT, font(15), anchor="mm")
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
        draw.text(place, name, MARK if planned else INK, font(14), anchor="mm")
    return np.asarray(canvas)


def tile(pixels: Pixels | None, size: int) -> Pixels:
    """A square image of ``size`` pixels; a small one is enlarged without smoothing."""
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
        draw.text(((x0 + x1) / 2, (top + bottom - 10) / 2), name, ink, font(13), anchor="mm")


@cache
def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """The font of films, ``size`` pixels."""
    return ImageFont.load_default(size)


RATE = 12.0  # frames a second
EVERY = 2  # control steps a frame
OPENING = 1.0  # s of the first frame with the plan
ENDING = 2.5  # s of the last frame with the result


@dataclass
class _Seen:
    """The newest of everything in one episode."""

    camera: Pixels | None = None
    observation: Pixels | None = None
    goal: Pixels | None = None
    predicted: bool = False  # the goal
    subgoals: tuple[Pixels, ...] = ()
    step: int = 0
    subgoal: int | None = None


class Film:
    """Writes ``task_A_episode_0.webm``, ``…_plan.png`` and ``…_last.png`` of each episode.

    Images are uint8 (H, W, 3) RGB. ``titles``: descriptions of the tasks. ``steps``: control steps
    of an episode. ``scale``: size of the film, 1 as drawn.
    """

    def __init__(
        self, folder: Path, titles: Mapping[str, str], steps: int, scale: float = 1.0
    ) -> None:
        self._folder = folder
        self._scale = scale
        self._titles = titles
        self._steps = steps
        self._video = EpisodeVideo(folder, RATE)
        self._seen = _Seen()
        self._task = ""
        self._name: str | None = None
        self.running: tuple[str, int] | None = None  # task and episode whose film is not ended

    def begin(self, task: str, episode: int) -> None:
        """Start the film of an episode of a task."""
        # Images stay: those of this episode replace them, and may have arrived already.
        self._seen = replace(self._seen, subgoals=(), step=0, subgoal=None)
        self._task = task
        self._name = episode_name(task, episode)
        self.running = task, episode
        self._video.begin_named(self._name)

    def camera(self, pixels: Pixels) -> None:
        """A large display image arrived."""
        self._seen.camera = pixels

    def observed(self, pixels: Pixels) -> None:
        """An observation arrived; it is shown if there is no larger image."""
        self._seen.observation = pixels

    def goal(self, pixels: Pixels, predicted: bool = False) -> None:
        """The goal image arrived, or the goal that an agent ``predicted``."""
        self._seen.goal, self._seen.predicted = pixels, predicted

    def planned(self, subgoals: list[Pixels]) -> None:
        """A plan is finished. The first one of an episode is shown for a while, with its strip."""
        if self._name is None:
            return
        seen = self._seen
        first, seen.subgoals = not seen.subgoals, tuple(subgoals)
        if not first:
            seen.subgoal = 0
            return
        now = seen.camera if seen.observation is None else seen.observation
        self._save("plan", strip(now, subgoals, seen.goal))
        seen.subgoal = 0
        self._show(OPENING)

    def stepped(self, step: int, subgoal: int) -> None:
        """The policy took control step ``step``, from 0, towards ``subgoal``."""
        self._seen.step, self._seen.subgoal = step + 1, subgoal
        if step % EVERY == 0:
            self._show(0.0)

    def end(self, verdict: str) -> None:
        """The episode has ended; one of `VERDICTS`."""
        if self._name is None:
            return
        self._save("last", self._show(ENDING, verdict))
        self._video.end()
        self._name = self.running = None

    def close(self, timeout: float = 60.0) -> None:
        """Wait until every file is written, at most ``timeout`` s."""
        self._video.close(timeout)

    def _show(self, seconds: float, verdict: str | None = None) -> Pixels:
        """Append the present moment for so long, at least one frame."""
        drawn = self._draw(verdict)
        if self._scale != 1.0:
            size = {"fx": self._scale, "fy": self._scale}
            drawn = cv2.resize(drawn, None, **size, interpolation=cv2.INTER_AREA)
        if self._name is not None:
            for _ in range(max(1, round(seconds * RATE))):
                self._video.add(drawn)
        return drawn

    def _draw(self, verdict: str | None) -> Pixels:
        seen = self._seen
        moment = Moment(
            title=f"Task {self._task}: {self._titles.get(self._task, '')}",
            step=seen.step,
            steps=self._steps,
            subgoal=seen.subgoal,
            subgoals=len(seen.subgoals),
            verdict=verdict,
            predicted=seen.predicted,
        )
        target = None
        if seen.subgoal is not None:
            target = (*seen.subgoals, seen.goal)[min(seen.subgoal, len(seen.subgoals))]
        camera = seen.observation if seen.camera is None else seen.camera
        return frame(camera, target, seen.goal, moment)

    def _save(self, what: str, pixels: Pixels) -> None:
        path = self._folder / f"{self._name}_{what}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", np.ascontiguousarray(pixels[:, :, ::-1]))[1])


def episode_name(task: str, episode: int) -> str:
    """How the files of an episode are called, as in EpisodeStatus."""
    return f"task_{task}_episode_{episode}"
