# SPDX-License-Identifier: Apache-2.0
"""Epochs of practice on the disk: each is whole or absent, the newest can be gone on from."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ptp_core.data.file_limits import DAMAGED, MOST, open_npz
from ptp_core.data.files import (
    check_folder,
    differences,
    flush_folder,
    said,
    storage_error,
    write_atomically,
)
from ptp_core.errors import CheckpointError, InputError
from ptp_core.learning.online_learner import PracticeEpisode
from ptp_core.practice.run_folder import (
    EPOCHS,
    METRICS,
    SETTINGS,
    STATE,
    count_epochs,
    epoch_folder,
    read_settings,
)

EPISODES = "episodes.npz"


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
            found = differences(read_settings(path), json.loads(text))
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
                        fields = (f"{index}/{name}" for name in ("codes", "actions", "targets"))
                        yield PracticeEpisode(
                            *(arrays[name] if name in arrays.files else None for name in fields)
                        )
            except DAMAGED as error:
                raise CheckpointError(f"{path}: damaged ({error}); practise anew") from error

    def metrics(self) -> list[dict[str, Any]]:
        """Figures of every epoch."""
        return [
            json.loads((self._path(number) / METRICS).read_text("utf-8"))
            for number in range(self.count)
        ]

    def _path(self, number: int) -> Path:
        return epoch_folder(self._run, number)


def _flush(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir():
            flush_folder(path)
        else:
            with open(path, "rb") as file:
                os.fsync(file.fileno())
