# SPDX-License-Identifier: Apache-2.0
"""The folder of a practice run: its epochs, and how far it is and its figures.

Loads nothing heavy, so that a report reads a run without the networks.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptp_core.data.array_limits import DAMAGED, open_npz
from ptp_core.data.file_limits import MOST, load_json
from ptp_core.data.files import (
    check_folder,
    differences,
    flush_folder,
    said,
    storage_error,
    write_atomically,
)
from ptp_core.data.trajectory import PracticeEpisode
from ptp_core.errors import CheckpointError, InputError

SETTINGS = "settings.json"
RESULT = "result.json"
CHECKPOINT = "checkpoint"
FINETUNED = "finetuned"  # folder with one file, named after the task
EPOCHS = "epochs"  # folder with one folder an epoch
STATE = "state"  # in an epoch: what the next one needs; the newest epoch alone has it
METRICS = "metrics.json"  # of an epoch
EPISODES = "episodes.npz"  # of an epoch

# Name in the file -> name today, where the file's planner has a single level. Today's methods of
# these names refuse such settings, so no file of today is renamed.
OF_ONE_LEVEL = {"ptp": "ptp_single_subgoal"}
OF_SETTINGS = {"updates_per_step": "utd_ratio"}  # name in the file -> name today


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


class Epochs:
    """Finished epochs in ``folder``, one folder each, numbered from 0 without gaps.

    An epoch's folder gets its name last, so a kill at any moment loses the running epoch alone.
    Raises InputError when the folder is of other settings.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._run = folder
        self._folder = folder / EPOCHS
        check_folder(self._folder)
        path = folder / SETTINGS
        text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
        if path.exists():
            found = differences(with_todays_name(read_settings(path)), json.loads(text))
            if found:
                raise InputError(
                    f"{folder}: practised with other settings: {said(found)}: name another folder"
                )
        else:
            write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))

    @property
    def count(self) -> int:
        """Finished epochs."""
        return count_epochs(self._run)

    @property
    def state(self) -> Path | None:
        """Folder with the state after the newest epoch; None before the first.

        Raises CheckpointError where it is missing.
        """
        if not (count := self.count):
            return None
        state = self._path(count - 1) / STATE
        if not state.is_dir():
            raise CheckpointError(f"{state} is missing: the folder was changed by hand")
        return state

    def add(
        self,
        episodes: list[PracticeEpisode],
        metrics: dict[str, Any],
        save_state: Callable[[Path], None],
    ) -> None:
        """Write the next epoch; ``save_state(folder)`` fills in what the one after it needs.

        Raises StorageError where the disk does not take it; the epoch is lost, nothing else.
        """
        number = self.count
        building = self._folder / f"{number:06d}.{os.getpid()}.partial"
        shutil.rmtree(building, ignore_errors=True)
        (building / STATE).mkdir(parents=True)
        try:
            arrays = {
                f"{index:04d}/{name}": value
                for index, episode in enumerate(episodes)
                for name, value in vars(episode).items()
                if value is not None
            }
            with open(building / EPISODES, "wb") as file:
                np.savez(file, **arrays)
            (building / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")
            save_state(building / STATE)
            _flush(building)
            os.rename(building, self._path(number))
            flush_folder(self._folder)
        except OSError as error:
            shutil.rmtree(building, ignore_errors=True)
            raise storage_error(error, self._path(number)) from error
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        if number:
            shutil.rmtree(self._path(number - 1) / STATE, ignore_errors=True)

    def episodes(self) -> Iterator[PracticeEpisode]:
        """Episodes of all epochs, in their order. Raises CheckpointError for a damaged file."""
        for number in range(self.count):
            path = self._path(number) / EPISODES
            try:
                with open_npz(path, MOST) as arrays:
                    for index in sorted({name.split("/")[0] for name in arrays.files}):
                        names = [entry.name for entry in dataclasses.fields(PracticeEpisode)]
                        stored = {name: f"{index}/{name}" for name in names}
                        found = {
                            name: arrays[place] if place in arrays.files else None
                            for name, place in stored.items()
                        }
                        for name in ("instruction", "succeeded"):  # one value each
                            if found[name] is not None:
                                found[name] = found[name].item()
                        yield PracticeEpisode(**found)
            except DAMAGED as error:
                raise CheckpointError(f"{path}: damaged ({error}); practise anew") from error

    def metrics(self) -> list[dict[str, Any]]:
        """Metrics of every epoch. Raises InputError when they are damaged."""
        return [read_metrics(self._run, number) for number in range(self.count)]

    def _path(self, number: int) -> Path:
        return epoch_folder(self._run, number)


def with_todays_name(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run or values of an evaluation, under the names of today.

    Until the method `ptp` meant three levels of generators, its name stood for whatever the
    planner's settings said: in the released settings for a search of one level. Files keep the
    name that they were written with; every reader uses this function.
    """
    settings = {OF_SETTINGS.get(key, key): value for key, value in settings.items()}
    planner = settings.get("planner")
    one_level = isinstance(planner, Mapping) and planner.get("levels") == 1
    name = settings.get("method")
    return {**settings, "method": OF_ONE_LEVEL.get(name, name) if one_level else name}


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
        values = load_json(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: damaged (no mapping)")
    return values


def _flush(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir():
            flush_folder(path)
        else:
            with open(path, "rb") as file:
                os.fsync(file.fileno())
