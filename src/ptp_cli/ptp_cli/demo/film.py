# SPDX-License-Identifier: Apache-2.0
"""The film of an episode: draws what happens; keeps video, strip and last picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ptp_cli.demo.pictures import Moment, Pixels, frame, strip
from ptp_nodes.video import EpisodeVideo

RATE = 12.0  # frames a second
EVERY = 2  # control steps a frame
OPENING = 1.0  # s that the plan's first moment stands
ENDING = 2.5  # s that the verdict stands


@dataclass
class _Seen:
    """The newest of everything in one episode."""

    camera: Pixels | None = None
    observation: Pixels | None = None
    goal: Pixels | None = None
    subgoals: tuple[Pixels, ...] = ()
    step: int = 0
    subgoal: int | None = None


class Film:
    """Writes ``task_A_episode_0.webm``, ``…_plan.png`` and ``…_last.png`` of each episode.

    Pictures are uint8 (H, W, 3) RGB. ``titles`` says what each task is, ``steps`` how many
    control steps an episode has, ``scale`` how large the film is, as drawn: 1.
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
        # Pictures stay: what belongs to this episode replaces them, and may be here already.
        self._seen = replace(self._seen, subgoals=(), step=0, subgoal=None)
        self._task = task
        self._name = episode_name(task, episode)
        self.running = task, episode
        self._video.begin_named(self._name)

    def camera(self, pixels: Pixels) -> None:
        """A large picture for people arrived."""
        self._seen.camera = pixels

    def observed(self, pixels: Pixels) -> None:
        """What the policy sees arrived; shown where there is no larger picture."""
        self._seen.observation = pixels

    def goal(self, pixels: Pixels) -> None:
        """The goal picture arrived."""
        self._seen.goal = pixels

    def planned(self, subgoals: list[Pixels]) -> None:
        """The plan is finished: keep its strip and show it."""
        if self._name is None:
            return
        seen = self._seen
        seen.subgoals = tuple(subgoals)
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
        """The episode has ended; one of `pictures.VERDICTS`."""
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
