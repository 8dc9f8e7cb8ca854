# SPDX-License-Identifier: Apache-2.0
"""Results of practice, pooled over runs of the same kind with different seeds."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ptp_cli.results.results_tables import NO_SIGNAL, NONE, ResultsTable, success
from ptp_core.agents.registry import method_named
from ptp_core.errors import InputError
from ptp_core.practice.run_folder import SETTINGS, PracticeRun, read_run
from ptp_core.rollout.episode_results import pooled_interval

LIBRARY, LEARNING = "plan library", "learning"


@dataclass(frozen=True)
class Pooled:
    """Practice runs that differ only in their seeds."""

    protocol: str
    method: str
    task: str
    kind: str  # what changes while practising
    epochs: int
    runs: tuple[PracticeRun, ...]  # by seed

    def successes(self, last: bool) -> list[int]:
        """Of each run's first or last evaluation."""
        return [run.evaluations[-1 if last else 0]["successes"] for run in self.runs]

    def episodes(self, last: bool) -> list[int]:
        """Of each run's first or last evaluation."""
        return [run.evaluations[-1 if last else 0]["episodes"] for run in self.runs]

    def rate(self, last: bool) -> float:
        """Mean success over the runs, in [0, 1]."""
        return sum(self.successes(last)) / sum(self.episodes(last))

    def interval(self, last: bool) -> tuple[float, float]:
        """95 % interval of the rate; wider where seeds differ by more than chance."""
        return pooled_interval(self.successes(last), self.episodes(last))

    def rate_text(self, last: bool) -> str:
        """The rate with its interval."""
        wins, episodes = self.successes(last), self.episodes(last)
        return success(sum(wins), sum(episodes), self.interval(last))

    @property
    def updates(self) -> float:
        """Gradient steps of a run, the mean over runs."""
        return sum(run.updates for run in self.runs) / len(self.runs)

    @property
    def subgoal_steps(self) -> str:
        """Control steps after which the next subgoal is pursued; a dash without subgoals."""
        follower = self.runs[0].settings.get("follower") or {}
        return str(follower.get("timeout", NONE)) if method_named(self.method).plans else NONE

    @property
    def signal(self) -> str:
        """Uses of the simulator's success check in practice (privileged)."""
        settings = self.runs[0].settings
        if settings.get("success_signal", "simulator") != "simulator":
            return NO_SIGNAL
        used = ["success chooses plans"] if settings.get("reuse_plans") else []
        if settings.get("learn_from") == "successes" and LEARNING in self.kind:
            used.append("success chooses episodes")
        return ", ".join(used) or NO_SIGNAL


def read_practice(folder: Path) -> list[Pooled]:
    """Finished runs below ``folder``; those of ``varied`` first. Raises InputError."""
    runs = [read_run(path.parent) for path in sorted(folder.rglob(SETTINGS))]
    if unfinished := [run.folder for run in runs if not run.finished]:
        raise InputError(f"{unfinished[0]}: not finished")
    grouped: dict[tuple, list[PracticeRun]] = {}
    for run in runs:
        names = (run.settings[name] for name in ("protocol", "method", "task"))
        key = (*names, kind_of(run), len(run.epochs))
        grouped.setdefault(key, []).append(run)
    order = sorted(grouped, key=lambda key: (key[0] != "varied", key[3] != LIBRARY, *key[1:]))
    return [
        Pooled(*key, tuple(sorted(grouped[key], key=lambda run: run.settings["seed"])))
        for key in order
    ]


def kind_of(run: PracticeRun) -> str:
    """What practice changes in a run: the plan library, the weights, or both."""
    kinds = [LIBRARY] if run.settings.get("reuse_plans") else []
    kinds += [LEARNING] if run.updates else []
    return " and ".join(kinds) or "nothing"


def practice_table(pooled: Sequence[Pooled]) -> ResultsTable:
    """Success before and after practice."""
    header = ("protocol", "method", "what changes", "task", "epochs", "practice seeds")
    header += ("before", "after", "after, each seed", "updates a run", "steps a subgoal")
    header += ("privileged signal",)
    rows = []
    for group in pooled:
        each = zip(group.successes(True), group.episodes(True), strict=True)
        rows.append(
            (
                *(group.protocol, f"`{group.method}`", group.kind, group.task),
                *(str(group.epochs), str(len(group.runs))),
                *(group.rate_text(False), group.rate_text(True)),
                ", ".join(f"{100 * wins / episodes:.0f} %" for wins, episodes in each),
                f"{group.updates:.0f}",
                group.subgoal_steps,
                group.signal,
            )
        )
    return ResultsTable(header, rows)


def practice_csv(pooled: Sequence[Pooled]) -> str:
    """A line a run and evaluation."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ("protocol", "method", "changes", "task", "seed", "epoch", "successes", "episodes")
    writer.writerow((*header, "privileged"))
    for group in pooled:
        for run in group.runs:
            for entry in run.evaluations:
                who = (group.protocol, group.method, group.kind, group.task, run.settings["seed"])
                counts = (entry["epoch"], entry["successes"], entry["episodes"])
                writer.writerow((*who, *counts, group.signal))
    return text.getvalue()
