# SPDX-License-Identifier: Apache-2.0
"""The folder of a practice run, read without the networks: how far it is, and its figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptp_core.data import json_text
from ptp_core.errors import InputError
from ptp_core.practice.old_names import with_todays_name

SETTINGS = "settings.json"
RESULT = "result.json"
CHECKPOINT = "checkpoint"
FINETUNED = "finetuned"  # folder with one file, named after the task
EPOCHS = "epochs"  # folder with one folder an epoch
STATE = "state"  # in an epoch: what the next one needs; the newest epoch alone has it
METRICS = "metrics.json"  # of an epoch


@dataclass(frozen=True)
class PracticeRun:
    """What stands in the folder of a run."""

    folder: Path
    settings: dict[str, Any]  # what its result depends on: method, task, seed, protocol, ...
    epochs: list[dict[str, Any]]  # metrics of each finished epoch
    evaluations: list[dict[str, Any]]  # "epoch", "episodes", "successes" of each
    finished: bool  # it has done all epochs that it was asked for
    updates: int = 0  # gradient steps of a finished run


def epoch_folder(folder: Path, number: int) -> Path:
    """Where the epoch with this number, from 0, of the run in ``folder`` is kept."""
    return folder / EPOCHS / f"{number:06d}"


def count_epochs(folder: Path, known: int = 0) -> int:
    """Finished epochs of the run in ``folder``; ``known`` of them need not be looked for."""
    while epoch_folder(folder, known).is_dir():
        known += 1
    return known


def read_metrics(folder: Path, number: int) -> dict[str, Any]:
    """Metrics of one epoch. Raises InputError when they are damaged."""
    path = epoch_folder(folder, number) / METRICS
    metrics = _read(path)
    try:
        _check_epoch(metrics, number)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error!r})") from error
    return metrics


def is_run(folder: Path) -> bool:
    """Whether a practice run was begun in this folder."""
    return (folder / SETTINGS).is_file() or (folder / EPOCHS).is_dir()


def read_settings(path: Path) -> dict[str, Any]:
    """What a run was begun with. Raises InputError when it is damaged."""
    return _read(path)


def read_run(folder: Path) -> PracticeRun:
    """Read a run, finished or not. Raises InputError when it is damaged.

    Of a run that is kept for its figures settings and result are enough.
    """
    settings = _read(folder / SETTINGS)
    for name in ("method", "task", "seed", "protocol"):
        if name not in settings:
            raise InputError(f'{folder / SETTINGS}: damaged (no "{name}")')
    result = _read_result(folder / RESULT)
    epochs = result["epochs"]
    if (folder / EPOCHS).is_dir() or not epochs:
        epochs = [read_metrics(folder, number) for number in range(count_epochs(folder))]
    found = [epoch["evaluation"] for epoch in epochs if "evaluation" in epoch]
    known = {entry["epoch"] for entry in found}
    found += [entry for entry in result["evaluations"] if entry["epoch"] not in known]
    found.sort(key=lambda entry: entry["epoch"])
    finished = bool(epochs) and len(result["epochs"]) == len(epochs)
    updates = int(result.get("updates", 0))
    return PracticeRun(folder, with_todays_name(settings), epochs, found, finished, updates)


def _read_result(path: Path) -> dict[str, Any]:
    """What a run wrote at its end; it may have gone on since."""
    if not path.exists():
        return {"epochs": [], "evaluations": []}
    result = _read(path)
    try:
        for entry in result["evaluations"]:
            _check(entry)
        for number, metrics in enumerate(result["epochs"]):
            _check_epoch(metrics, number)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error!r})") from error
    return result


def _check_epoch(metrics: dict[str, Any], number: int) -> None:
    """Raise KeyError, TypeError or ValueError for figures that cannot be those of this epoch."""
    if metrics["epoch"] != number + 1 or not 0.0 <= metrics["practice_success_rate"] <= 1.0:
        raise ValueError("epoch or success rate cannot be")
    if "evaluation" in metrics:
        _check(metrics["evaluation"])


def _check(evaluation: dict[str, Any]) -> None:
    """Raise KeyError, TypeError or ValueError for figures that cannot be."""
    epoch, wins, episodes = (evaluation[name] for name in ("epoch", "successes", "episodes"))
    if epoch < 0 or not 0 <= wins <= episodes or not episodes:
        raise ValueError(f"{wins} of {episodes} successes after epoch {epoch}")


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json_text.read(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: damaged (no mapping)")
    return values
