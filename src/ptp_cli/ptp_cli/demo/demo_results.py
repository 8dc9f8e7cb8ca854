# SPDX-License-Identifier: Apache-2.0
"""Results of the demo: the summary of its episodes, and the HTML page that shows them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptp_cli.demo.demo_film import episode_name
from ptp_cli.machine import labelled_facts
from ptp_cli.pages import environment
from ptp_core.data.file_limits import load_json
from ptp_core.data.files import write_atomically

SUMMARY = "summary.json"
FILES = {"video": (".webm", ".mp4"), "strip": ("_plan.png",), "poster": ("_last.png",)}


def gather(folder: Path, tasks: Sequence[str], episodes: int) -> dict[str, Any]:
    """Summary of the run whose practice node wrote into ``folder``.

    It has the shape that `ptp evaluate` writes; each task also has its latencies, in ms, as flat
    figures, and each of its runs the names of its files. "shown" lists every episode that was
    asked for: "success", "no success", "failed", "not done".
    """
    path = folder / SUMMARY
    summary = load_json(path) if path.exists() else {}
    summary = {"mean_success_rate": None, "tasks": {}, "failures": [], **_finite(summary)}
    for figures in summary["tasks"].values():
        for name, value in figures["control_latency_ms"].items():
            figures[f"control_latency_{name}_ms"] = value
    summary["shown"] = [
        _shown(summary, folder, task, episode) for episode in range(episodes) for task in tasks
    ]
    return summary


def joined(summaries: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> dict[str, Any]:
    """One summary of several runs, which share no task, and what ``about`` says."""
    tasks = {name: figures for one in summaries for name, figures in one["tasks"].items()}
    rates = [figures["success_rate"] for figures in tasks.values()]
    return {
        **about,
        "mean_success_rate": sum(rates) / len(rates) if rates else None,
        "tasks": tasks,
        "failures": [failure for one in summaries for failure in one["failures"]],
        "shown": [shown for one in summaries for shown in one["shown"]],
    }


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write summary.json, in one piece."""
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    write_atomically(folder / SUMMARY, lambda partial: partial.write_text(text, encoding="utf-8"))


def outcome(summary: Mapping[str, Any], task: str, episode: int) -> str:
    """How an episode ended: "success", "no success", "failed" or "not done"."""
    run = _run(summary, task, episode)
    if run is not None:
        return "success" if run["success"] else "no success"
    return "not done" if _failure(summary, task, episode) is None else "failed"


def ending(summary: Mapping[str, Any], task: str, episode: int) -> str:
    """How the film of an episode ends; one that was not judged was broken off."""
    found = outcome(summary, task, episode)
    return "failed" if found == "not done" else found


def _shown(summary: Mapping[str, Any], folder: Path, task: str, episode: int) -> dict[str, Any]:
    name = episode_name(task, episode)
    failure = _failure(summary, task, episode)
    files = {}
    for kind, endings in FILES.items():
        names = [name + ending for ending in endings if (folder / (name + ending)).is_file()]
        files[kind] = names[0] if names else None
    return {
        "task": task,
        "episode": episode,
        "outcome": outcome(summary, task, episode),
        "error": None if failure is None else failure["error_msg"],
        **files,
    }


def _run(summary: Mapping[str, Any], task: str, episode: int) -> dict[str, Any] | None:
    runs = summary["tasks"].get(task, {}).get("runs", [])
    return next((run for run in runs if run["episode"] == episode), None)


def _failure(summary: Mapping[str, Any], task: str, episode: int) -> dict[str, Any] | None:
    found = (f for f in summary["failures"] if (f["task"], f["episode"]) == (task, episode))
    return next(found, None)


def _finite(value: Any) -> Any:
    """The same value with None for numbers that JSON does not know."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


PAGE = "index.html"


def render_page(
    summary: Mapping[str, Any], titles: Mapping[str, str], commands: Sequence[tuple[str, str]]
) -> str:
    """HTML of the page.

    ``summary`` is that of `results.gather`; ``titles`` says what each task is, ``commands`` lists
    (what it does, command line).
    """
    tasks = list(dict.fromkeys(shown["task"] for shown in summary["shown"]))
    return (
        environment(Path(__file__).parent)
        .get_template("page.html")
        .render(
            summary=summary,
            tasks=tasks,
            titles=titles,
            commands=commands,
            machine=labelled_facts(summary["machine"]),
            runs={
                (task, run["episode"]): run
                for task, figures in summary["tasks"].items()
                for run in figures["runs"]
            },
        )
    )


def write_page(folder: Path, text: str) -> Path:
    """Write the page into ``folder``; its path."""
    path = folder / PAGE
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
    return path
