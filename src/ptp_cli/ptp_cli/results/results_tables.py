# SPDX-License-Identifier: Apache-2.0
"""Tables of the results page, with the same cells in Markdown, HTML and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptp_cli.results.evaluation_files import Standing
from ptp_cli.results.results_config import EvaluationRow, ResultsConfig
from ptp_core.agents.registry import method_named
from ptp_core.rollout.episode_results import COST_TERMS, wilson_interval

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
    config: ResultsConfig, rows: Sequence[EvaluationRow], found: Mapping[str, Standing]
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
    config: ResultsConfig, rows: Sequence[EvaluationRow], found: Mapping[str, Standing]
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


def evaluation_csv(found: Sequence[Standing]) -> str:
    """A line an evaluation and task. Rates, limits and shares are in [0, 1]."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    figures_of = ("subgoals_reached", "subgoals_timed_out", "idle_fraction", "plan_seconds")
    header = ("protocol", "row", "method", "subgoals", "subgoal_steps", "task", "successes")
    header += ("episodes", "rate", "low_95", "high_95", *figures_of)
    writer.writerow((*header, *(f"{name}_share" for name in COST_TERMS)))
    for standing in found:
        if standing.values is None:
            continue
        row, values = standing.wanted.row, standing.values
        for task, figures in values["tasks"].items():
            low, high = wilson_interval(figures["successes"], figures["episodes"])
            rates = (f"{rate:.4f}" for rate in (figures["success_rate"], low, high))
            who = (standing.wanted.protocol, row.name, row.method, row.subgoals)
            counts = (values["follower"]["timeout"], task, figures["successes"])
            costs = figures.get("plan_cost_shares") or {}
            more = [figures.get(name) for name in figures_of] + [costs.get(n) for n in COST_TERMS]
            cells = ("" if value is None else f"{value:.4f}" for value in more)
            writer.writerow((*who, *counts, figures["episodes"], *rates, *cells))
    return text.getvalue()


def _absent(standing: Standing | None) -> str:
    return "other settings" if standing is not None and standing.differs else "not measured"


def _number(value: float | None, form: str) -> str:
    return NONE if value is None else f"{value:{form}}"


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.0f} %"
