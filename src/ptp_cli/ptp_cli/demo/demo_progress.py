# SPDX-License-Identifier: Apache-2.0
"""Progress of the demo: events of the graph, shown by the film and by bars on the terminal."""

from __future__ import annotations

import io
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np

from ptp_cli.demo.demo_film import Film
from ptp_core.progress import Bar
from ptp_nodes.operator.episode_watcher import EpisodeNews

TROUBLE = ("[ERROR]", "[FATAL]", " died (", "keeps dying", "could not be started", "not stopped")


class NodeLog(io.TextIOBase):
    """A text file that several threads print lines to; ``echo`` gets the error lines."""

    def __init__(self, path: Path, echo: Callable[[str], None]) -> None:
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115, closed by close()
        self._echo = echo
        self._lock = threading.Lock()
        # print() writes a text and its line end in two calls, so each thread has its own buffer.
        self._begun = threading.local()

    def write(self, text: str) -> int:
        """Keep ``text``; whole lines reach the file."""
        *lines, rest = (getattr(self._begun, "text", "") + text).split("\n")
        self._begun.text = rest
        for line in lines:
            with self._lock:
                if not self._file.closed:
                    self._file.write(line + "\n")
                    self._file.flush()
            if any(word in line for word in TROUBLE):
                self._echo(line)
        return len(text)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()
        super().close()


_ALL = "{desc} {percentage:3.0f}% |{bar:20}| {elapsed}, time left {remaining}{postfix}"
_ONE = (
    "{desc} {n_fmt}/{total_fmt} |{bar:20}| {elapsed}, time left {remaining}, {rate_fmt}{postfix}"
)
_OPEN = "{desc} {elapsed}{postfix}"


class Progress:
    """Two bars on a terminal, counted in control steps. Only `say` is thread-safe.

    ``episodes`` of each stack, in the order in which they run, and the ``steps`` of each of them.
    """

    def __init__(
        self,
        episodes: Sequence[int],
        steps: Sequence[int],
        out: TextIO = sys.stderr,
        pause: float | None = None,
    ) -> None:
        self._out = out
        self._ahead = [most for count, most in zip(episodes, steps) for _ in range(count)]
        # s between refreshes. On a terminal bars move often; in a log each is text that stays.
        self._pause = (0.2 if out.isatty() else 5.0) if pause is None else pause
        self._done = 0  # steps of the episodes that have ended, as if none had ended early
        self._results: dict[str, list[str]] = {}
        self._stage: str | None = None
        self._bar: Bar | None = None
        self._all = self._new("demo", sum(self._ahead), "step", _ALL, position=0)

    def stage(self, name: str, total: int | None = None, unit: str = "it") -> None:
        """Start a new stage; without ``total`` only its time is shown."""
        if self._stage == name:
            return
        if self._bar is not None:
            self._bar.close()
        self._stage = name
        self._bar = self._new(name, total, unit, _OPEN if total is None else _ONE, position=1)

    def reached(self, count: int, note: str = "") -> None:
        """Set the progress of the stage."""
        self.note(note)
        if self._bar is not None:
            self._bar.update(count - self._bar.n)

    def note(self, text: str) -> None:
        """Show a text beside the stage."""
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def stepped(self, count: int, note: str) -> None:
        """Set the number of control steps of this episode."""
        self.reached(count, note)
        self._all.update(self._done + count - self._all.n)

    def beat(self) -> None:
        """Update the times of the bars."""
        for bar in (self._all, self._bar):
            if bar is not None:
                bar.update(0)

    def episode_done(self, task: str, word: str) -> None:
        """An episode of ``task`` has ended with "success", "no success" or "failed"."""
        self._done += self._ahead.pop(0) if self._ahead else 0
        self._results.setdefault(task, []).append(word)
        notes = (f"{name} {', '.join(words)}" for name, words in self._results.items())
        self._all.set_postfix_str("; ".join(notes), refresh=False)
        self._all.update(self._done - self._all.n)
        self._all.refresh()

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        Bar.write(text, file=self._out)

    def close(self) -> None:
        """Close the bars; the terminal keeps its content."""
        for bar in (self._bar, self._all):
            if bar is not None:
                bar.close()
        self._bar = None

    def _new(self, name: str, total: int | None, unit: str, form: str, position: int) -> Bar:
        return Bar(
            total=total,
            desc=name,
            unit=f" {unit}",
            bar_format=form,
            position=position,
            leave=position == 0,
            mininterval=self._pause,
            miniters=0,
            smoothing=0.0 if position == 0 else 0.1,
            file=self._out,
            dynamic_ncols=True,
        )


PATIENCE = 4  # calls of `beat` until an episode's end no longer waits for lost steps
KEPT = 2  # episodes of which messages are kept before they begin
WORDS = {
    "resetting": "set the table",
    "encoding": "look at the goal image",
}


@dataclass
class _EarlyMessages:
    """Messages of an episode that came before its begin."""

    subgoals: list[np.ndarray] = field(default_factory=list)
    steps: list[tuple[int, int]] = field(default_factory=list)


class DemoWatcher:
    """Follows one run of several episodes; see `ptp_nodes.operator.episode_watcher.Watcher`.

    ``tasks`` run in turn, ``steps`` control steps each; ``nodes``: the expected nodes.
    """

    def __init__(
        self, film: Film, progress: Progress, tasks: list[str], steps: int, nodes: set[str]
    ) -> None:
        self._film = film
        self._progress = progress
        self._tasks = tasks
        self._steps = steps
        self._nodes = nodes
        self._task: str | None = None
        self._episode_id = ""  # of the episode that is filmed
        self._ended: set[str] = set()
        self._early: dict[str, _EarlyMessages] = {}
        self._subgoals: list[np.ndarray] = []
        self._taken = 0  # control steps of this episode
        self._news: deque[EpisodeNews] = deque()  # what waits for steps to arrive
        self._waited = 0
        self._planning = False  # the first plan has begun: all nodes are here
        progress.stage("start the nodes", len(nodes), "node")

    def beat(self, nodes: set[str]) -> None:
        """Show the nodes that are running, until the first plan begins."""
        missing = sorted(self._nodes - nodes)
        waiting = f"waiting for {', '.join(missing)}" if missing else "loading networks"
        if self._task is None:
            self._progress.reached(len(self._nodes & nodes), waiting)
        elif not self._planning:
            self._progress.note(waiting)
        self._waited = self._waited + 1 if self._news else 0
        if self._waited > PATIENCE:
            self._waited = 0
            self._handle(self._news.popleft())
            self._catch_up()
        self._progress.beat()

    def camera(self, image: np.ndarray) -> None:
        """The display image of the camera."""
        self._film.camera(image)

    def observed(self, image: np.ndarray) -> None:
        """The observation of the policy."""
        self._film.observed(image)

    def goal(self, image: np.ndarray) -> None:
        """The goal image."""
        self._film.goal(image)

    def planning(self, done: int, total: int, cost: float) -> None:
        """Show the planner's iterations."""
        self._planning = True
        self._progress.stage(f"task {self._task}: plan", total, "iteration")
        self._progress.reached(done, f"cost {cost:.2f}")

    def planned(
        self, episode_id: str, subgoals: list[np.ndarray], goal: np.ndarray | None = None
    ) -> None:
        """Keep the plan's strip, and the goal of a plan that was made backwards from one."""
        if goal is not None:
            self._film.goal(goal, predicted=True)
        if self._of_now(episode_id):
            self._subgoals = subgoals
            self._film.planned(subgoals)
        else:
            self._early_of(episode_id).subgoals = subgoals

    def stepped(self, episode_id: str, step: int, subgoal: int) -> None:
        """Film the step."""
        if self._of_now(episode_id):
            self._step(step, subgoal)
        elif episode_id not in self._ended:
            self._early_of(episode_id).steps.append((step, subgoal))
            # Steps arrive in order: no more steps of the episode before will come.
            while self._news and self._news[0].episode_id != episode_id:
                self._handle(self._news.popleft())
        self._catch_up()

    def episode(self, news: EpisodeNews) -> None:
        """Begin and end films. Order across topics is not kept: an end waits for the last step."""
        self._news.append(news)
        self._catch_up()

    def _of_now(self, episode_id: str) -> bool:
        return episode_id == self._episode_id and episode_id not in self._ended

    def _early_of(self, episode_id: str) -> _EarlyMessages:
        if episode_id not in self._early:
            while len(self._early) >= KEPT:
                del self._early[next(iter(self._early))]
            self._early[episode_id] = _EarlyMessages()
        return self._early[episode_id]

    def _step(self, step: int, subgoal: int) -> None:
        count = len(self._subgoals)
        if not count:
            return  # its plan was lost
        self._taken, self._planning = step + 1, True
        self._film.stepped(step, subgoal)
        target = "goal" if subgoal >= count else f"subgoal {subgoal + 1} of {count}"
        self._progress.stage(f"task {self._task}: act", self._steps, "step")
        self._progress.stepped(self._taken, target)

    def _catch_up(self) -> None:
        while self._news:
            news = self._news[0]
            if news.state == "judged" and self._taken < news.steps:
                return
            self._handle(self._news.popleft())

    def _handle(self, news: EpisodeNews) -> None:
        if news.task and news.episode_id != self._episode_id:
            self._begin(news)
        if news.state in WORDS:
            self._progress.stage(f"task {news.task}: {WORDS[news.state]}")
        elif news.state in ("judged", "failed"):
            verdict = "success" if news.success else "no success"
            verdict = "failed" if news.state == "failed" else verdict
            self._ended.add(news.episode_id)
            self._film.end(verdict)
            self._progress.episode_done(news.task, verdict)
        elif news.state == "finished":
            self._progress.stage("finish")

    def _begin(self, news: EpisodeNews) -> None:
        """Begin a film, with the episode's early messages."""
        early = self._early.pop(news.episode_id, _EarlyMessages())
        self._task, self._episode_id = news.task, news.episode_id
        self._subgoals, self._taken = early.subgoals, 0
        self._film.begin(news.task, news.episode // len(self._tasks))
        if early.subgoals:
            self._film.planned(early.subgoals)
        for step, subgoal in early.steps:
            self._step(step, subgoal)
