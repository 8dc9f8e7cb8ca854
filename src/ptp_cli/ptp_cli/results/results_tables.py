# SPDX-License-Identifier: Apache-2.0
"""Tables of the results page: evaluations, and practice runs pooled over seeds."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptp_cli.results.results_evaluations import EvaluationFile, EvaluationRow, ResultsConfig
from ptp_core.agents.registry import method_named
from ptp_core.errors import InputError
from ptp_core.practice.run_folder import SETTINGS, PracticeRun, read_run
from ptp_core.rollout.episode_results import COST_TERMS, pooled_interval, wilson_interval

NONE = "\N{EN DASH}"
NO_SIGNAL = "none"


@dataclass(frozen=True)
class ResultsTable:
    """Cells as text, a row a line."""

    header: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def markdown(self) -> str:
        """A table in Markdown."""
        lines = [self.header, tuple("---" for _ in self.header), *self.rows]
        return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def success(successes: float, episodes: float, interval: Sequence[float] | None = None) -> str:
    """A rate with its 95 % interval, "46 % (33 to 60)"; Wilson's, unless another is given."""
    low, high = wilson_interval(successes, episodes) if interval is None else interval
    return f"{100 * successes / episodes:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def success_table(
    config: ResultsConfig, rows: Sequence[EvaluationRow], found: Mapping[str, EvaluationFile]
) -> ResultsTable:
    """Success of each row on each task, and what it rests on. ``found``: by the row's name."""
    header = ("row", "method", "subgoals", "steps a subgoal", *config.tasks, "mean")
    header += ("episodes a task", "training / practice seeds", "privileged signal")
    lines = []
    for row in rows:
        steps = config.subgoal_steps if row.subgoal_steps is None else row.subgoal_steps
        values = found[row.name].values if row.name in found else None
        plans = method_named(row.method).plans
        cells = [f"`{row.name}`", f"`{row.method}`"]
        cells += [row.subgoals, str(steps)] if plans else ["none", NONE]
        if row.same_as is not None:
            cells += [f"as `{row.same_as}`"] * len(config.tasks) + [NONE, NONE]
        elif values is None:
            cells += [_absent(found.get(row.name))] * len(config.tasks) + [NONE, NONE]
        else:
            of_tasks = [values["tasks"][task] for task in config.tasks]
            cells += [success(task["successes"], task["episodes"]) for task in of_tasks]
            cells += [f"{100 * values['mean_success_rate']:.1f} %"]
            cells += [" / ".join(sorted({str(task["episodes"]) for task in of_tasks}))]
        cells += [f"{row.training_seeds} / {row.practice_seeds or NONE}"]
        cells += [NONE if values is None else signals(values)]
        lines.append(tuple(cells))
    return ResultsTable(header, lines)


def episode_table(
    config: ResultsConfig, rows: Sequence[EvaluationRow], found: Mapping[str, EvaluationFile]
) -> ResultsTable:
    """What happened in the episodes of each row and task that was measured."""
    header = ("row", "task", "subgoals reached", "timed out", "cost: distance", "value", "prior")
    header += ("idle steps", "plan, s", "distance to goal at the end")
    lines = []
    for row in rows:
        values = found[row.name].values if row.name in found else None
        for task in config.tasks if values is not None else ():
            figures = values["tasks"][task]
            lines.append(
                (
                    *(f"`{row.name}`", task),
                    _number(figures.get("subgoals_reached"), ".1f"),
                    _number(figures.get("subgoals_timed_out"), ".1f"),
                    *cost_shares(figures.get("plan_cost_shares")),
                    _percent(figures.get("idle_fraction")),
                    _number(figures.get("plan_seconds"), ".2f"),
                    _number(figures.get("final_distance"), ".2f"),
                )
            )
    return ResultsTable(header, lines)


def cost_shares(shares: Mapping[str, float] | None) -> list[str]:
    """Parts of distance, value and prior in a plan's cost, in the order of the header."""
    return [_percent((shares or {}).get(name)) for name in COST_TERMS]


def signals(values: Mapping[str, Any]) -> str:
    """What a method was told that no camera shows, as its JSON says."""
    named = values.get("privileged")
    if named is None:
        return "not told"
    return ", ".join(name.partition(":")[0] for name in named) or NO_SIGNAL


def evaluation_csv(found: Sequence[EvaluationFile]) -> str:
    """A line an evaluation and task. Rates, limits and shares are in [0, 1]."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    figures_of = ("subgoals_reached", "subgoals_timed_out", "idle_fraction", "plan_seconds")
    header = ("protocol", "row", "method", "subgoals", "subgoal_steps", "task", "successes")
    header += ("episodes", "rate", "low_95", "high_95", *figures_of)
    writer.writerow((*header, *(f"{name}_share" for name in COST_TERMS)))
    for file in found:
        if file.values is None:
            continue
        row, values = file.wanted.row, file.values
        for task, figures in values["tasks"].items():
            low, high = wilson_interval(figures["successes"], figures["episodes"])
            rates = (f"{rate:.4f}" for rate in (figures["success_rate"], low, high))
            who = (file.wanted.protocol, row.name, row.method, row.subgoals)
            counts = (values["follower"]["timeout"], task, figures["successes"])
            costs = figures.get("plan_cost_shares") or {}
            more = [figures.get(name) for name in figures_of] + [costs.get(n) for n in COST_TERMS]
            cells = ("" if value is None else f"{value:.4f}" for value in more)
            writer.writerow((*who, *counts, figures["episodes"], *rates, *cells))
    return text.getvalue()


def _absent(file: EvaluationFile | None) -> str:
    return "other settings" if file is not None and file.differs else "not measured"


def _number(value: float | None, form: str) -> str:
    return NONE if value is None else f"{value:{form}}"


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.0f} %"


LIBRARY, LEARNING = "plan library", "learning"


@dataclass(frozen=True)
class PooledRuns:
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


def read_practice(folder: Path) -> list[PooledRuns]:
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
        PooledRuns(*key, tuple(sorted(grouped[key], key=lambda run: run.settings["seed"])))
        for key in order
    ]


def kind_of(run: PracticeRun) -> str:
    """What practice changes in a run: the plan library, the weights, or both."""
    kinds = [LIBRARY] if run.settings.get("reuse_plans") else []
    kinds += [LEARNING] if run.updates else []
    return " and ".join(kinds) or "nothing"


def practice_table(pooled: Sequence[PooledRuns]) -> ResultsTable:
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


def practice_csv(pooled: Sequence[PooledRuns]) -> str:
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
