# SPDX-License-Identifier: Apache-2.0
"""Success over epochs, and before and after practice: means over seeds with 95 % intervals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ptp_cli.report import paper
from ptp_cli.report.gather import Found
from ptp_core.practice.run_folder import PracticeRun
from ptp_core.practice.summary import pooled_interval

Counts = tuple[int, int, int]
"""Seed, successes, episodes."""


@dataclass(frozen=True)
class Point:
    """A success rate over all seeds that have one at this epoch."""

    epoch: int
    seeds: tuple[int, ...]
    successes: int
    episodes: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """Mean over seeds, in [0, 1]; each weighs as many episodes as it has."""
        return self.successes / self.episodes


Curves = dict[tuple[str, str], list[Point]]
"""By task and method."""


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    task: str
    method: str
    offline: Point | None
    online: Point | None
    state: str  # "" where all of its runs are finished, else how they stand
    paper_offline: float | None = None  # what the paper has, in [0, 1], where it is the same
    paper_online: float | None = None  # the same after 150 epochs


def evaluation_curves(found: Found) -> Curves:
    """Success with seeds that practice does not use; offline epochs are 0 and below."""
    counts: dict[tuple[str, str], dict[int, list[Counts]]] = {}
    for run in found.runs:
        for entry in run.evaluations:
            one = run.settings["seed"], entry["successes"], entry["episodes"]
            counts.setdefault(_key(run), {}).setdefault(entry["epoch"], []).append(one)
    for entry in found.offline:
        one = entry.seed, entry.successes, entry.episodes
        at_epoch = counts.setdefault((entry.task, entry.method), {})
        at_epoch.setdefault(entry.epoch, []).append(one)
    return _curves(counts)


def practice_curves(found: Found) -> Curves:
    """Success while practising, over the last ten epochs: what the authors plot."""
    counts: dict[tuple[str, str], dict[int, list[Counts]]] = {}
    for run in found.runs:
        each = [practised(run, number) for number in range(len(run.epochs))]
        for end in range(1, len(each) + 1):
            window = each[max(0, end - paper.SMOOTHED) : end]
            wins, episodes = (sum(column) for column in zip(*window, strict=True))
            one = run.settings["seed"], wins, episodes
            counts.setdefault(_key(run), {}).setdefault(end, []).append(one)
    return _curves(counts)


def practised(run: PracticeRun, number: int) -> tuple[int, int]:
    """Successes and episodes of an epoch of practice, numbered from 0."""
    epoch = run.epochs[number]
    episodes = len(epoch.get("learned_from", ())) or run.settings.get("episodes", 1)
    return round(epoch["practice_success_rate"] * episodes), episodes


def table(found: Found, curves: Curves) -> list[Row]:
    """A row a task and method: the offline end, and the newest epoch that finished runs share."""
    rows = []
    for task in found.tasks:
        for method in found.methods:
            runs = [run for run in found.runs if _key(run) == (task, method)]
            missing = sum(key[:2] == (method, task) for key in found.missing)
            points = {point.epoch: point for point in curves.get((task, method), [])}
            if not points and not runs and not missing:
                continue
            online = [epoch for epoch in points if epoch > 0]
            finished = [run for run in runs if run.finished]
            ends = [len(run.epochs) for run in finished if len(run.epochs) in points]
            end = max(ends or online, default=None)
            offline = max((epoch for epoch in points if epoch <= 0), default=None)
            state = _state(runs, finished, missing)
            papers = _papers(found, runs, task, method)
            rows.append(Row(task, method, points.get(offline), points.get(end), state, *papers))
    return rows


def _papers(
    found: Found, runs: list[PracticeRun], task: str, method: str
) -> tuple[float | None, float | None]:
    """The paper's numbers, offline and online, beside a method that does what the paper does.

    That is its method in its scenes, and practice that learns and reuses no plans.
    """
    if method != paper.METHOD or found.protocol != "paper":
        return None, None
    learned = all(
        run.settings.get("updates_per_step", 1.0) > 0 and not run.settings.get("reuse_plans")
        for run in runs
    )
    return paper.OFFLINE.get(task), paper.ONLINE.get(task) if runs and learned else None


def _state(runs: list[PracticeRun], finished: list[PracticeRun], missing: int) -> str:
    total = len(runs) + missing
    if len(finished) == total:
        return ""
    text = f"{len(finished)} of {total} runs finished"
    going = [len(run.epochs) for run in runs if not run.finished]
    if going:
        text += f"; others at epoch {', '.join(map(str, sorted(going)))}"
    return text


def _key(run: PracticeRun) -> tuple[str, str]:
    return run.settings["task"], run.settings["method"]


def _curves(counts: dict[tuple[str, str], dict[int, list[Counts]]]) -> Curves:
    return {
        key: [_point(epoch, of_seeds) for epoch, of_seeds in sorted(at_epoch.items())]
        for key, at_epoch in counts.items()
    }


def _point(epoch: int, counts: Iterable[Counts]) -> Point:
    seeds, wins, episodes = zip(*counts, strict=True)
    low, high = pooled_interval(wins, episodes)
    return Point(epoch, tuple(sorted(set(seeds))), sum(wins), sum(episodes), low, high)
