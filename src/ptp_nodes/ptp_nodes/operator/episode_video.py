# SPDX-License-Identifier: Apache-2.0
"""Display images: subgoal strip, images side by side, and the video of an episode."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import cv2
import numpy as np

GAP = 4  # pixels between tiles
LINE = 18  # pixels of a caption
BACKGROUND = (32, 32, 32)
INK = (230, 230, 230)
MARK = (255, 170, 0)  # frame of the subgoal that is pursued
SHADES = ((46, 106, 70), (44, 84, 128), (128, 84, 36), (92, 62, 110))  # parts of a bar


def tile(pixels: np.ndarray | None, size: int) -> np.ndarray:
    """An image as a square of ``size`` pixels, uint8 (size, size, 3); grey when there is none.

    Small images keep their pixels visible, large ones are averaged.
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


def backward_strip(
    start: np.ndarray | None,
    subgoals: list[np.ndarray],
    goal: np.ndarray | None,
    attention: Sequence[float] = (),
    size: int = 96,
) -> np.ndarray:
    """A plan made backwards, from near to far; below it the `attention_bar` of its latents."""
    names = level_names(len(subgoals))
    picture = row([start, *subgoals, goal], ["now", *names], size)
    if not len(attention):
        return picture
    names = [*names, "words"][: len(attention)]
    return np.concatenate([picture, attention_bar(attention, names, picture.shape[1])])


def level_names(subgoals: int) -> list[str]:
    """Names of so many subgoals from near to far, and of the goal."""
    if subgoals == 2:
        return ["near", "far", "goal"]
    return [*(f"subgoal {k + 1}" for k in range(subgoals)), "goal"]


def attention_bar(shares: Sequence[float], names: Sequence[str], width: int) -> np.ndarray:
    """A bar, uint8 (H, width, 3), that is shared out among ``names`` by ``shares`` of 1."""
    height = 2 * GAP + LINE
    canvas = np.full((height, width, 3), BACKGROUND, np.uint8)
    ends = GAP + np.round(np.cumsum(shares) * (width - 2 * GAP)).astype(int)
    begin = GAP
    for number, (share, end, name) in enumerate(zip(shares, ends.tolist(), names, strict=True)):
        canvas[GAP : height - GAP, begin:end] = SHADES[number % len(SHADES)]
        text = f"{name} {share:.0%}"
        (long, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.36, 1)
        if long <= end - begin - 4:
            where = (begin + 3, height - GAP - 5)
            cv2.putText(canvas, text, where, cv2.FONT_HERSHEY_SIMPLEX, 0.36, INK, 1, cv2.LINE_AA)
        begin = end
    return canvas


def side_by_side(
    now: np.ndarray | None,
    target: np.ndarray | None,
    goal: np.ndarray | None,
    caption: str = "subgoal",
    size: int = 240,
) -> np.ndarray:
    """Now | pursued subgoal | goal."""
    return row([now, target, goal], ["now", caption, "goal"], size)


def text_below(image: np.ndarray, text: str) -> np.ndarray:
    """The image with a line of text below it, cut where it is longer than the image is wide."""
    line = np.full((LINE + GAP, image.shape[1], 3), BACKGROUND, np.uint8)
    where = (GAP + 2, LINE - 4)
    cv2.putText(line, text, where, cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)
    return np.concatenate([image, line])


CODECS = (("VP80", "webm"), ("mp4v", "mp4"))  # the first that this OpenCV can write


class EpisodeVideo:
    """Writes ``task_A_episode_0.webm`` and ``task_A_episode_0_plan.png`` into a folder.

    Encoding happens in a thread. A video has a temporary name until its episode ends. Images
    are RGB, uint8 (H, W, 3); those of one episode have one size.
    """

    def __init__(self, folder: Path, rate: float) -> None:
        self._folder = folder
        self._rate = rate
        self._name: str | None = None
        self._writer: cv2.VideoWriter | None = None
        self._partial = self._final = folder
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="video")

    def begin(self, task: str, episode: int) -> None:
        """Name the files of the next episode after its task and number."""
        self.begin_named(f"task_{task}_episode_{episode}")

    def begin_named(self, name: str) -> None:
        """Name the files of the next episode."""
        self.end()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._name = name

    def save_strip(self, name: str, image: np.ndarray) -> None:
        """Write the subgoal strip of the episode of that name."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{name}_plan.png"
        self._pool.submit(cv2.imwrite, str(path), image[:, :, ::-1])

    def add(self, image: np.ndarray) -> None:
        """Append one image."""
        if self._name is not None:
            self._pool.submit(self._write, self._name, image)

    def end(self) -> None:
        """Finish the video of this episode."""
        self._name = None
        self._pool.submit(self._finish)

    def close(self, timeout: float) -> None:
        """Finish everything, at most ``timeout`` s; what is left to encode then is dropped."""
        self._name = None
        last = self._pool.submit(self._finish)
        wait([last], timeout)
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._finish()

    def _write(self, name: str, image: np.ndarray) -> None:
        height, width = (length - length % 2 for length in image.shape[:2])  # codecs want even
        if self._writer is None:
            self._open(name, (width, height))
        self._writer.write(np.ascontiguousarray(image[:height, :width, ::-1]))

    def _open(self, name: str, size: tuple[int, int]) -> None:
        for codec, ending in CODECS:
            self._final = self._folder / f"{name}.{ending}"
            self._partial = self._folder / f"{name}.partial.{ending}"
            fourcc = cv2.VideoWriter_fourcc(*codec)
            self._writer = cv2.VideoWriter(str(self._partial), fourcc, self._rate, size)
            if self._writer.isOpened():
                return

    def _finish(self) -> None:
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            if self._partial.exists():
                self._partial.rename(self._final)
