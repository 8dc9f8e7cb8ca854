# SPDX-License-Identifier: Apache-2.0
"""Success over epochs: means over seeds, 95 % intervals, curves, and the paper's numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ptp_cli.report.gather_runs import FoundRuns
from ptp_core.data.files import write_atomically
from ptp_core.practice.run_folder import PracticeRun
from ptp_core.rollout.episode_results import pooled_interval

# Success rate of PTP on each target task: after offline training, after 150 epochs online.
PAPER_OFFLINE = {"A": 0.533, "B": 0.221, "C": 0.355}
PAPER_ONLINE = {"A": 0.849, "B": 0.599, "C": 0.493}
PAPER_METHOD = "ptp"  # whose numbers these are
SMOOTHED = 10  # epochs: the authors' notebook plots the trailing mean of practice

METHOD_LABELS = {
    "ptp": "PTP",
    "ptp_single_subgoal": "PTP's generator, one subgoal",
    "ptp_no_buffer": "PTP without plan buffer",
    "ptp_no_hierarchy": "PTP without hierarchy",
    "ptp_no_buffer_no_hierarchy": "PTP without both",
    "gcbc": "GCBC",
    "model_free": "model-free",
    "leap": "LEAP",
    "gcp": "GCP",
}


def method_label(name: str) -> str:
    """How a method, or VARIANT/METHOD, is called for people."""
    variant, _, method = name.rpartition("/")
    label = METHOD_LABELS.get(method, method.replace("_", " "))
    return f"{label}, {variant}" if variant else label


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
"""By task and name of the method in its variant."""


@dataclass(frozen=True)
class PracticeRow:
    """A line of the table."""

    task: str
    method: str
    offline: Point | None
    online: Point | None
    state: str  # "" where all of its runs are finished, else how they stand
    paper_offline: float | None = None  # what the paper has, in [0, 1], where it is the same
    paper_online: float | None = None  # the same after 150 epochs


def evaluation_curves(found: FoundRuns) -> Curves:
    """Success with seeds that practice does not use; offline epochs are 0 and below."""
    counts: dict[tuple[str, str], dict[int, list[Counts]]] = {}
    for run in found.runs:
        for entry in run.evaluations:
            one = run.settings["seed"], entry["successes"], entry["episodes"]
            counts.setdefault(_key(found, run), {}).setdefault(entry["epoch"], []).append(one)
    for entry in found.offline:
        one = entry.seed, entry.successes, entry.episodes
        at_epoch = counts.setdefault((entry.task, entry.method), {})
        at_epoch.setdefault(entry.epoch, []).append(one)
    return _curves(counts)


def practice_curves(found: FoundRuns) -> Curves:
    """Success while practising, over the last ten epochs: what the authors plot."""
    counts: dict[tuple[str, str], dict[int, list[Counts]]] = {}
    for run in found.runs:
        each = [practised(run, number) for number in range(len(run.epochs))]
        for end in range(1, len(each) + 1):
            window = each[max(0, end - SMOOTHED) : end]
            wins, episodes = (sum(column) for column in zip(*window, strict=True))
            one = run.settings["seed"], wins, episodes
            counts.setdefault(_key(found, run), {}).setdefault(end, []).append(one)
    return _curves(counts)


def practised(run: PracticeRun, number: int) -> tuple[int, int]:
    """Successes and episodes of an epoch of practice, numbered from 0."""
    epoch = run.epochs[number]
    episodes = len(epoch.get("learned_from", ())) or run.settings.get("episodes", 1)
    return round(epoch["practice_success_rate"] * episodes), episodes


def table(found: FoundRuns, curves: Curves) -> list[PracticeRow]:
    """A row a task and method: the offline end, and the newest epoch that finished runs share."""
    rows = []
    for task in found.tasks:
        for method in found.methods:
            runs = [run for run in found.runs if _key(found, run) == (task, method)]
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
            rows.append(
                PracticeRow(task, method, points.get(offline), points.get(end), state, *papers)
            )
    return rows


def _papers(
    found: FoundRuns, runs: list[PracticeRun], task: str, method: str
) -> tuple[float | None, float | None]:
    """The paper's numbers, offline and online, beside a method that does what the paper does.

    That is its method in its scenes, and practice that learns and reuses no plans.
    """
    if method != PAPER_METHOD or found.protocol != "paper":
        return None, None
    learned = all(
        run.settings.get("utd_ratio", 1.0) > 0 and not run.settings.get("reuse_plans")
        for run in runs
    )
    return PAPER_OFFLINE.get(task), PAPER_ONLINE.get(task) if runs and learned else None


def _state(runs: list[PracticeRun], finished: list[PracticeRun], missing: int) -> str:
    total = len(runs) + missing
    if len(finished) == total:
        return ""
    text = f"{len(finished)} of {total} runs finished"
    going = [len(run.epochs) for run in runs if not run.finished]
    if going:
        text += f"; others at epoch {', '.join(map(str, sorted(going)))}"
    return text


def _key(found: FoundRuns, run: PracticeRun) -> tuple[str, str]:
    return run.settings["task"], found.name(run)


def _curves(counts: dict[tuple[str, str], dict[int, list[Counts]]]) -> Curves:
    return {
        key: [_point(epoch, of_seeds) for epoch, of_seeds in sorted(at_epoch.items())]
        for key, at_epoch in counts.items()
    }


def _point(epoch: int, counts: Iterable[Counts]) -> Point:
    seeds, wins, episodes = zip(*counts, strict=True)
    low, high = pooled_interval(wins, episodes)
    return Point(epoch, tuple(sorted(set(seeds))), sum(wins), sum(episodes), low, high)


# Okabe and Ito's colours, which colour-blind people tell apart, and a marker each.
STYLES = (
    *(("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D")),
    *(("#56B4E9", "v"), ("#E69F00", "P"), ("#555555", "X")),
)
PAPER_COLOR = "#444444"
PAPER_LABEL = "the paper's PTP: after offline training, after 150 epochs online"
MARKED = 40  # points above which a line has no markers


def draw(
    path: Path,
    curves: Curves,
    tasks: Sequence[str],
    methods: Sequence[str],
    title: str,
    papers: Mapping[str, tuple[float | None, float | None]],
) -> None:
    """Write a PNG. Epochs up to 0 are offline, later ones online.

    ``papers``: the paper's numbers to dash, offline and online, by task.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [point.epoch for points in curves.values() for point in points] or [0]
    last = max(max(epochs), 1)
    first = min(min(epochs), -round(0.12 * last) - 1)
    figure = Figure(figsize=(max(4.6 * len(tasks), 5.5), 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    figure.suptitle(title, fontsize=12, x=0.01, ha="left", weight="bold")
    for panel, task in zip(panels, tasks, strict=True):
        panel.set_title(f"Task {task}", fontsize=11)
        panel.axvspan(first, 0, color="#f1f3f6", zorder=0)
        panel.axvline(0, color="#c3c9d2", linewidth=0.8, zorder=1)
        offline, online = papers.get(task, (None, None))
        _dash(panel, offline, (first, 0))
        _dash(panel, online, (0, last))
        for number, method in enumerate(methods):
            points = curves.get((task, method), [])
            if not points:
                continue
            color, marker = STYLES[number % len(STYLES)]
            x = [point.epoch for point in points]
            panel.fill_between(
                x,
                [100 * point.low for point in points],
                [100 * point.high for point in points],
                color=color,
                alpha=0.13,
                linewidth=0,
                zorder=2,
            )
            panel.plot(
                x,
                [100 * point.rate for point in points],
                color=color,
                linewidth=1.8,
                marker=marker if len(points) <= MARKED else None,
                markersize=5,
                label=method_label(method),
                zorder=3 + len(methods) - number,
                clip_on=False,
            )
        panel.set_xlim(first, last)
        panel.set_ylim(0, 100)
        panel.set_xlabel("epoch", fontsize=9.5)
        panel.text(first / 2, 97, "offline", ha="center", va="top", fontsize=8, color=PAPER_COLOR)
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        panel.tick_params(labelsize=9)
        panel.grid(axis="y", color="#e4e7ec", linewidth=0.7, zorder=0)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("success, %", fontsize=9.5)
    named = {
        name: line
        for panel in panels
        for line, name in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    order = sorted(named, key=lambda name: name == PAPER_LABEL)
    figure.legend(
        [named[name] for name in order],
        order,
        loc="outside lower center",
        ncols=min(len(named), 4) or 1,
        frameon=False,
        fontsize=9.5,
    )
    write_atomically(path, lambda partial: figure.savefig(partial, format="png"))


def _dash(panel, rate: float | None, span: tuple[float, float]) -> None:
    if rate is None:
        return
    panel.plot(
        span, [100 * rate] * 2, color=PAPER_COLOR, linestyle=(0, (4, 3)), linewidth=1.3,
        label=PAPER_LABEL, zorder=2.5,
    )  # fmt: skip
    online = span[1] > 0
    panel.annotate(
        f"{100 * rate:.1f}",
        (span[online], 100 * rate),
        xytext=(4, 0) if online else (2, 3),
        textcoords="offset points",
        va="center" if online else "baseline",
        fontsize=8,
        color=PAPER_COLOR,
        annotation_clip=False,
        zorder=9,
    )
