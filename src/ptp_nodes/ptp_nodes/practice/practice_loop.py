# SPDX-License-Identifier: Apache-2.0
"""Algorithm 1 of the paper but for its learning: reset, plan, act, judge, count, repeat."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ptp_interfaces.msg import EpisodeStatus, ErrorCode

from ptp_core.agents.registry import method_named
from ptp_core.data.files import write_atomically
from ptp_core.rollout.episode_results import (
    EpisodeResult,
    EpisodeSeeds,
    PartialResults,
    episode_seeds,
    summarise,
)
from ptp_ros.request_errors import RequestError

VERDICT = "success signal: the simulator's verdict on the scene, or a person's"
KEPT = "episodes.jsonl"  # finished episodes, for a run that goes on
STATES = {  # on the way to a verdict
    EpisodeStatus.RESETTING: "resetting the scene",
    EpisodeStatus.ENCODING: "encoding the goal",
    EpisodeStatus.PLANNING: "planning",
    EpisodeStatus.ACTING: "acting",
}


@dataclass(frozen=True)
class RunSettings:
    """What to practise."""

    tasks: tuple[str, ...]
    protocol: str
    method: str  # a name of the registry
    episodes: int  # of each task
    seed: int
    max_steps: tuple[int, ...]  # control steps an episode: of each task, or one for all
    max_failures: int  # in a row, before the run is given up
    success_signal: str = "none"  # what the plan library is told, one of SIGNALS
    goal_kind: str = "latent"  # or image, language: the agent plans for itself
    instruction: str = ""  # in place of the scene's own words
    resume: bool = False  # go on with the episodes that an earlier run in this folder left over

    def steps_of(self, task: str) -> int:
        """Control steps of an episode of this task."""
        return self.max_steps[self.tasks.index(task) if len(self.max_steps) > 1 else 0]


@dataclass(frozen=True)
class ScheduledEpisode:
    """One episode to do."""

    number: int  # over the whole run
    task: str
    index: int  # within its task
    seeds: EpisodeSeeds

    @property
    def name(self) -> str:
        """How its files are called."""
        return f"task_{self.task}_episode_{self.index}"


class SceneClient(Protocol):
    """What the run needs of the graph. Every method raises RequestError."""

    def reset(self, task: str, protocol: str, seed: int) -> None:
        """Set up the scene and show the goal."""

    def encode(self) -> None:
        """Encode goal and first observation, where the agent is told latents."""

    def plan(self, seed: int) -> tuple[float, float]:
        """Find subgoals; seconds and cost."""

    def record(self, episode: ScheduledEpisode) -> None:
        """Begin to record, where recording is asked for."""

    def act(self, seed: int, max_steps: int, planned: bool) -> Acted:
        """Follow the plan, or pursue the goal itself, to the last step."""

    def judge(self) -> EpisodeOutcome:
        """Judge the last observation."""

    def save(self, success: bool | None) -> None:
        """Save what was recorded; ``success`` None: it was broken off."""

    def tell(self, judged: bool) -> None:
        """Tell the planner how its plan ended, by the success signal."""

    def await_active(self, reason: str) -> None:
        """Wait until the nodes are active; ``reason``: which one is not."""


@dataclass(frozen=True)
class Acted:
    """What came of acting."""

    steps: int
    subgoals_reached: int
    subgoals_timed_out: int
    final_distance: float  # to the goal, L2 between latents, at the last step
    latencies: np.ndarray  # observation to command, s


@dataclass(frozen=True)
class EpisodeOutcome:
    """What the judge says of the last observation."""

    success: bool
    first_success: int | None  # step after which success first held


class PracticeLoop:
    """Does all episodes of all tasks and keeps the summary, written after each episode.

    ``report(state, episode, **fields)`` hears each change, as `EpisodeStatus` has it.
    """

    def __init__(
        self,
        settings: RunSettings,
        table: SceneClient,
        report: Callable[..., None],
        output: Path | None,
    ) -> None:
        self._settings = settings
        self._table = table
        self._report = report
        self._output = output
        self._results: dict[str, list[tuple[int, int, EpisodeResult]]] = {}
        self._kept: PartialResults | None = None
        self.failures: list[dict[str, Any]] = []
        self.done = 0
        self.successes = 0
        if settings.resume and output is not None:
            self._resume(output)

    @property
    def total(self) -> int:
        """Episodes asked for, all tasks together."""
        return len(self._settings.tasks) * self._settings.episodes

    def episodes(self) -> Iterator[ScheduledEpisode]:
        """All episodes, in turn over the tasks."""
        settings, number = self._settings, 0
        for index in range(settings.episodes):
            for task in settings.tasks:
                yield ScheduledEpisode(
                    number, task, index, episode_seeds(settings.seed, task, index)
                )
                number += 1

    def run(self) -> bool:
        """Do every episode; whether all went well.

        A run that can be resumed does episodes that failed for a technical reason again.
        Raises RequestError when the node stops. Gives up after too many failures in a row.
        """
        in_a_row = 0
        for episode in self._to_do():
            try:
                result = self._when_active(episode)
            except RequestError as error:
                if error.code == ErrorCode.SHUTTING_DOWN:
                    raise
                in_a_row += 1
                self._failed(episode, error)
                if in_a_row >= self._settings.max_failures:
                    break
                continue
            in_a_row = 0
            if self._kept is not None:
                self._kept.add((episode.task, episode.index), result)
            self._count(episode.task, episode.index, result)
            self._report(EpisodeStatus.JUDGED, episode, success=result.success, steps=result.steps)
            self._write()
        self._report(EpisodeStatus.FINISHED, None)
        self._write()
        return self.done == self.total

    def _when_active(self, episode: ScheduledEpisode) -> EpisodeResult:
        """Do an episode; anew, once all nodes are active, where one was not: that is no fault."""
        while True:
            try:
                return self._episode(episode)
            except RequestError as error:
                if error.code != ErrorCode.NOT_ACTIVE:
                    raise
                self._table.await_active(str(error))

    def _to_do(self) -> Iterator[ScheduledEpisode]:
        """Episodes in turn; with ``resume`` until all are done."""
        if self._kept is None:
            yield from self.episodes()
            return
        done = self._kept.results
        while left := [e for e in self.episodes() if (e.task, e.index) not in done]:
            yield from left

    def summary(self) -> dict[str, Any]:
        """Figures so far, in the shape that `ptp evaluate` writes."""
        settings = self._settings
        tasks = {task: summarise(rows) for task, rows in self._results.items()}
        rates = [figures["success_rate"] for figures in tasks.values()]
        return {
            "method": settings.method,
            "protocol": settings.protocol,
            "seed": settings.seed,
            **({"instruction": settings.instruction} if settings.instruction else {}),
            "max_steps": max(settings.max_steps),
            # What plans and learning depend on; the success rates are the scene's verdicts.
            "success_signal": settings.success_signal,
            "privileged": [VERDICT] if settings.success_signal == "simulator" else [],
            "episodes_asked": settings.episodes,
            "mean_success_rate": sum(rates) / len(rates) if rates else None,
            "tasks": tasks,
            "failures": self.failures,
        }

    def _episode(self, episode: ScheduledEpisode) -> EpisodeResult:
        settings, table, seeds = self._settings, self._table, episode.seeds
        self._report(EpisodeStatus.RESETTING, episode)
        table.reset(episode.task, settings.protocol, seeds.env)
        self._report(EpisodeStatus.ENCODING, episode)
        table.encode()
        seconds = cost = None
        if method_named(settings.method).plans and settings.goal_kind == "latent":
            self._report(EpisodeStatus.PLANNING, episode)
            seconds, cost = table.plan(seeds.plan)
        table.record(episode)
        self._report(EpisodeStatus.ACTING, episode)
        began = time.monotonic()
        try:
            steps = settings.steps_of(episode.task)
            acted = table.act(seeds.policy, steps, planned=seconds is not None)
            lasted = time.monotonic() - began
            verdict = table.judge()
            if acted.steps == 0:  # whatever the scene looks like, nobody did it
                verdict = EpisodeOutcome(False, None)
        except RequestError as error:
            if error.code != ErrorCode.SHUTTING_DOWN:
                self._save_what_there_is()
            raise
        table.save(verdict.success)
        if seconds is not None:
            table.tell(verdict.success)
        return EpisodeResult(
            success=verdict.success,
            steps=acted.steps,
            first_success=verdict.first_success,
            plan_seconds=seconds,
            plan_cost=cost,
            plan_costs=None,
            subgoals_reached=acted.subgoals_reached,
            subgoals_timed_out=acted.subgoals_timed_out,
            idle_fraction=None,
            final_distance=acted.final_distance,
            seconds=lasted,
            latencies=acted.latencies,
        )

    def _save_what_there_is(self) -> None:
        with contextlib.suppress(RequestError):  # the first error says more
            self._table.save(None)

    def _count(self, task: str, index: int, result: EpisodeResult) -> None:
        seed = episode_seeds(self._settings.seed, task, index).env
        self._results.setdefault(task, []).append((index, seed, result))
        self.done += 1
        self.successes += result.success

    def _resume(self, output: Path) -> None:
        """Take the episodes of an earlier run. Raises InputError when its settings differ."""
        settings = dataclasses.asdict(self._settings)
        for name in ("episodes", "max_failures", "resume"):
            del settings[name]
        if len(set(settings["max_steps"])) == 1:
            settings["max_steps"] = settings["max_steps"][0]  # as runs of earlier releases have it
        if settings["goal_kind"] == "latent":
            del settings["goal_kind"]  # as runs have it that began before there were others
        if not settings["instruction"]:
            del settings["instruction"]  # likewise
        self._kept = PartialResults(output / KEPT, settings)
        for (task, index), result in self._kept.results.items():
            self._count(task, index, result)

    def _failed(self, episode: ScheduledEpisode, error: RequestError) -> None:
        self.failures.append(
            {
                "task": episode.task,
                "episode": episode.index,
                "error_code": error.code,
                "error_msg": str(error),
            }
        )
        self._report(EpisodeStatus.FAILED, episode, error_code=error.code, error_msg=str(error))
        self._write()

    def _write(self) -> None:
        if self._output is None:
            return
        self._output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.summary(), indent=2) + "\n"
        write_atomically(self._output / "summary.json", lambda partial: partial.write_text(text))
