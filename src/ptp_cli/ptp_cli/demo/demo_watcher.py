# SPDX-License-Identifier: Apache-2.0
"""Watcher of the demo: passes events of the graph to the film and the progress bars."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from ptp_cli.demo.demo_film import Film
from ptp_cli.demo.demo_progress import Progress
from ptp_nodes.operator.episode_watcher import EpisodeNews

PATIENCE = 4  # calls of `beat` until an episode's end no longer waits for lost steps
KEPT = 2  # episodes of which messages are kept before they begin
WORDS = {
    "resetting": "set the table",
    "encoding": "look at the goal picture",
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

    def camera(self, picture: np.ndarray) -> None:
        """The display image of the camera."""
        self._film.camera(picture)

    def observed(self, picture: np.ndarray) -> None:
        """The observation of the policy."""
        self._film.observed(picture)

    def goal(self, picture: np.ndarray) -> None:
        """The goal image."""
        self._film.goal(picture)

    def planning(self, done: int, total: int, cost: float) -> None:
        """Show the planner's iterations."""
        self._planning = True
        self._progress.stage(f"task {self._task}: plan", total, "iteration")
        self._progress.reached(done, f"cost {cost:.2f}")

    def planned(self, episode_id: str, subgoals: list[np.ndarray]) -> None:
        """Keep the plan's strip."""
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
