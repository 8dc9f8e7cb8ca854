# SPDX-License-Identifier: Apache-2.0
"""Variants of practice beside each other, and the paired differences from their controls.

A pair is two finished runs of one method, task and seed in two variants. Their last evaluations
have the same episodes, so what the scenes make easy or hard is in both and cancels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ptp_cli.report.gather_runs import FoundRuns
from ptp_cli.sweep.sweep_config import method_name
from ptp_core.practice.run_folder import PracticeRun

# 0.975 quantile of Student's t with 1, 2, ... 30 degrees of freedom, from the usual table.
T_975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
ROUNDING = 1e-12  # sum of squares that is 0 but for rounding
# Settings that evaluations with the same episodes share, beside method, task, seed and protocol.
EPISODES = ("env", "env_kwargs", "max_steps")


@dataclass(frozen=True)
class BeforeAfter:
    """Success rates in [0, 1] before and after practice; None: unknown."""

    before: float | None
    after: float | None


@dataclass(frozen=True)
class VariantRow:
    """A method in a variant: rates over its finished runs, by task."""

    method: str
    variant: str
    runs: int  # that the sweep wants
    finished: int
    tasks: dict[str, BeforeAfter]
    mean: BeforeAfter  # over tasks, which weigh the same; None where a task has no rate


@dataclass(frozen=True)
class Difference:
    """Mean difference of success rates over pairs, in [-1, 1], and its 95 % interval."""

    mean: float
    low: float | None  # None: no task has two pairs, or none has two that differ
    high: float | None
    pairs: int


@dataclass(frozen=True)
class DifferenceRow:
    """A variant minus its control after practice, by task."""

    method: str
    variant: str
    control: str
    tasks: dict[str, Difference | None]  # None: no pair
    mean: Difference | None  # over tasks, which weigh the same; None where a task has no pair
    incomplete: list[str]  # the pairs that there are not, and why


@dataclass(frozen=True)
class Controls:
    """What a report says about variants."""

    tasks: list[str]
    rows: list[VariantRow]
    differences: list[DifferenceRow]
    same_variants: dict[str, dict[str, str]]  # {method: {variant: the one that it equals}}


def paired_controls(found: FoundRuns) -> Controls | None:
    """Figures of all variants; None where no run is in one."""
    runs = [run for run in found.runs if found.variant(run)]
    if not runs:
        return None
    names = {(run.settings["method"], found.variant(run)): None for run in runs}
    for name, _, _ in found.missing:
        variant, _, method = name.rpartition("/")
        if variant:
            names[method, variant] = None
    methods = list(dict.fromkeys(method for method, _ in names))
    order = sorted(names, key=lambda entry: methods.index(entry[0]))
    keys = {run.settings["task"] for run in runs}
    tasks = sorted(keys | {task for name, task, _ in found.missing if "/" in name})
    differences = []
    for method in methods:
        same = found.same_variants.get(method, {})
        for variant, wanted in found.controls.items():
            control = same.get(wanted, wanted)
            if variant not in same and {(method, variant), (method, control)} <= names.keys():
                differences.append(_difference_row(found, method, variant, control, tasks))
    rows = [_variant_row(found, method, variant, tasks) for method, variant in order]
    return Controls(tasks, rows, differences, found.same_variants)


def paired_differences(
    differences: Mapping[str, Sequence[float]],
) -> tuple[dict[str, Difference | None], Difference | None]:
    """Means over pairs with 95 % intervals: of each task, and of the mean over tasks.

    ``differences``: of each pair, by task. The interval is the one of a paired t test, mean +-
    t s / sqrt(k) for k pairs. s^2 is the variance within tasks, pooled over all of them, with as
    many degrees of freedom as there are pairs less tasks. It takes the pairs as independent, and
    the variance as the same in all tasks. Where that variance is 0 it says
    nothing, and there is no interval.
    """
    known = {task: values for task, values in differences.items() if values}
    pairs = sum(map(len, known.values()))
    freedom = pairs - len(known)
    squares = sum((x - fmean(values)) ** 2 for values in known.values() for x in values)
    half = None  # of the interval of a mean over one pair
    # Few pairs that happen to be equal would make an interval without width.
    if freedom > 0 and squares > ROUNDING:
        half = T_975[min(freedom, len(T_975)) - 1] * math.sqrt(squares / freedom)

    def difference(mean: float, weight: float, count: int) -> Difference:
        if half is None:
            return Difference(mean, None, None, count)
        reach = half * math.sqrt(weight)
        return Difference(mean, max(-1.0, mean - reach), min(1.0, mean + reach), count)

    of_tasks = {
        task: difference(fmean(values), 1 / len(values), len(values)) if values else None
        for task, values in differences.items()
    }
    if not known or len(known) < len(differences):
        return of_tasks, None
    weight = sum(1 / len(values) for values in known.values()) / len(known) ** 2
    mean = fmean(fmean(values) for values in known.values())
    return of_tasks, difference(mean, weight, pairs)


def _variant_row(found: FoundRuns, method: str, variant: str, tasks: list[str]) -> VariantRow:
    name = method_name(method, variant)
    runs = [run for run in found.runs if found.name(run) == name]
    finished = [run for run in runs if _ended(run)]
    of_tasks = {}
    for task in tasks:
        mine = [run for run in finished if run.settings["task"] == task]
        first = [entry for run in mine for entry in run.evaluations if entry["epoch"] == 0]
        of_tasks[task] = BeforeAfter(_rate(first), _rate([run.evaluations[-1] for run in mine]))
    before, after = (
        None if any(rate is None for rate in rates) else fmean(rates)
        for rates in zip(*((e.before, e.after) for e in of_tasks.values()), strict=True)
    )
    total = len(runs) + sum(key[0] == name for key in found.missing)
    return VariantRow(method, variant, total, len(finished), of_tasks, BeforeAfter(before, after))


def _difference_row(
    found: FoundRuns, method: str, variant: str, control: str, tasks: list[str]
) -> DifferenceRow:
    names = [method_name(method, entry) for entry in (variant, control)]
    runs = {
        (found.name(run), run.settings["task"], run.settings["seed"]): run for run in found.runs
    }
    keys = {key[1:] for key in [*runs, *found.missing] if key[0] in names}
    differences: dict[str, list[float]] = {task: [] for task in tasks}
    incomplete = []
    for task, seed in sorted(keys):
        one, other = (runs.get((name, task, seed)) for name in names)
        if why := _unpaired({variant: one, control: other}):
            incomplete.append(f"{task}, seed {seed}: {why}")
        else:
            rates = [_rate([run.evaluations[-1]]) for run in (one, other)]
            differences[task].append(rates[0] - rates[1])
    return DifferenceRow(method, variant, control, *paired_differences(differences), incomplete)


def _unpaired(runs: Mapping[str, PracticeRun | None]) -> str:
    """Why the runs of these two variants are no pair; "": they are."""
    for variant, run in runs.items():
        if run is None:
            return f"{variant} has no run"
        if not _ended(run):
            return f"{variant} is not finished"
    one, other = runs.values()
    if len(one.epochs) != len(other.epochs):
        return f"{len(one.epochs)} and {len(other.epochs)} epochs"
    counts = [run.evaluations[-1]["episodes"] for run in (one, other)]
    differ = [key for key in EPISODES if one.settings.get(key) != other.settings.get(key)]
    if differ or counts[0] != counts[1]:
        return f"other episodes ({', '.join(differ) or f'{counts[0]} and {counts[1]}'})"
    return ""


def _ended(run: PracticeRun) -> bool:
    return run.finished and bool(run.evaluations)


def _rate(evaluations: Sequence[Mapping[str, int]]) -> float | None:
    episodes = sum(entry["episodes"] for entry in evaluations)
    return sum(entry["successes"] for entry in evaluations) / episodes if episodes else None
