# SPDX-License-Identifier: Apache-2.0
"""Files of robomimic: read theirs as columns, and write ours as their scripts expect them.

Source of the layout: robomimic 0.5.0, `robomimic/utils/dataset.py` and
`robomimic/scripts/split_train_val.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptp_core.data.demo_file import FORMAT, write_file
from ptp_core.data.file_limits import parse_json
from ptp_core.data.files import reserved_file
from ptp_core.data.hdf5_check import DAMAGED
from ptp_core.data.hdf5_guard import open_hdf5
from ptp_core.data.trajectory import Trajectory
from ptp_core.errors import DatasetError, InputError, quoted
from ptp_core.exchange.column_episode import ColumnEpisode, Frames
from ptp_core.exchange.export_sources import ExportSources

DEMO = "demo_"


class RobomimicFile:
    """Read-only view of a robomimic data set.

    Every method raises DatasetError where it is no such file or is damaged, InputError for one of
    ours, which needs no import.
    """

    def __init__(self, path: Path, mask: str = "") -> None:
        """``mask``: the filter key whose episodes are read, such as "train"; "": all."""
        self.path, self._mask = path, mask

    def episodes(self) -> Iterator[ColumnEpisode]:
        """Yield the episodes by number."""
        with self._open() as file:
            fps = _fps(file)
            for name in self._names(file):
                try:
                    yield self._episode(file["data"][name], name, fps)
                except DAMAGED as error:
                    raise self._damaged(error, name) from error

    def described(self) -> str:
        """The columns of the first episode, in one line."""
        with self._open() as file:
            for name in self._names(file)[:1]:
                demo = self._episode(file["data"][name], name, None)
                numbers = [f"{key} {values.shape[1:]}" for key, values in demo.columns.items()]
                return "; ".join([*(f"{key} (image)" for key in demo.frames), *numbers])
        return "none"

    def __len__(self) -> int:
        """Number of episodes."""
        with self._open() as file:
            return len(self._names(file))

    @contextmanager
    def _open(self) -> Iterator[h5py.File]:
        try:
            file = open_hdf5(self.path)
        except FileNotFoundError:
            raise InputError(f"{self.path}: no such file") from None
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else "truncated or not HDF5"
            raise DatasetError(f"{self.path}: cannot be opened ({reason})") from error
        except ValueError as error:
            raise self._damaged(error) from error
        with file:
            try:
                own = file.attrs.get("format") == FORMAT
                known = isinstance(file.get("data"), h5py.Group)
            except DAMAGED as error:
                raise self._damaged(error) from error
            if own:
                raise InputError(
                    f"{self.path} is a data set of ours: give it to `ptp pretrain --data` as it is"
                )
            if not known:
                raise DatasetError(f"{self.path}: no data set of robomimic (no group data)")
            yield file

    def _names(self, file: h5py.File) -> list[str]:
        try:
            names = [name for name in file["data"] if name.startswith(DEMO)]
            if self._mask:
                masks = file.get("mask", {})
                if self._mask not in masks:
                    raise InputError(
                        f"{self.path} has no mask {quoted(self._mask)}; it has "
                        f"{', '.join(masks) or 'none'}"
                    )
                chosen = {bytes(name).decode() for name in masks[self._mask][()]}
                names = [name for name in names if name in chosen]
            return sorted(names, key=lambda name: int(name.removeprefix(DEMO)))
        except DAMAGED as error:
            raise self._damaged(error) from error

    def _episode(self, demo: h5py.Group, name: str, fps: float | None) -> ColumnEpisode:
        length = int(demo["actions"].shape[0])
        columns: dict[str, np.ndarray] = {}
        frames: dict[str, Frames] = {}
        flat = {key: demo[key] for key in demo if isinstance(demo[key], h5py.Dataset)}
        flat |= {f"obs/{key}": demo["obs"][key] for key in demo.get("obs", ())}
        for key, values in flat.items():
            if not isinstance(values, h5py.Dataset) or values.shape[:1] != (length,):
                continue
            if values.ndim == 4 and values.dtype == np.uint8 and values.shape[3] == 3:
                frames[key] = _frames(values, self.path)
            elif values.ndim <= 2 and values.dtype.kind in "fiub":
                columns[key] = values[()]
        rewards = columns.get("rewards")
        return ColumnEpisode(
            name=name,
            length=length,
            columns=columns,
            frames=frames,
            task=_sentence(demo),
            # Their rewards are 1 where the task is done, else 0; demonstrations may have none.
            success=True if rewards is not None and (rewards > 0).any() else None,
            fps=fps,
        )

    def _damaged(self, error: Exception, where: str = "") -> DatasetError:
        words = " ".join(str(error).split())[:300]
        place = f"{self.path}: {where}" if where else f"{self.path}"
        return DatasetError(f"{place}: cannot be read as a data set of robomimic ({words})")


def export_robomimic(
    sources: ExportSources, out: Path, valid: float = 0.1
) -> tuple[int, int, int]:
    """Write the trajectories of ``sources`` into the new HDF5 file ``out``, for robomimic.

    The file is one of our data sets, too. Its filter keys "train" and "valid" hold out the last
    share ``valid`` of the trajectories. Returns the counts of trajectories, steps and held-out
    trajectories. Raises DatasetError where nothing is usable, InputError where ``out`` exists.
    """
    lengths: dict[str, int] = {}

    def trajectories() -> Iterator[Trajectory]:
        for trajectory in sources:
            lengths[f"{DEMO}{trajectory.index}"] = len(trajectory.actions)
            yield trajectory
        if not lengths:
            raise DatasetError("nothing to export: no episode is usable")

    def masks(file: h5py.File) -> None:
        names = list(lengths)
        for key, chosen in (("train", names[: cut()]), ("valid", names[cut() :])):
            file[f"mask/{key}"] = np.array(chosen, dtype="S")

    def cut() -> int:
        return len(lengths) - round(valid * len(lengths))

    with reserved_file(out):
        write_file(out, sources.description, trajectories(), masks)
    return len(lengths), sum(lengths.values()), len(lengths) - cut()


def _frames(values: h5py.Dataset, path: Path) -> Frames:
    def frames() -> Iterator[np.ndarray]:
        try:
            for number in range(len(values)):
                yield values[number]
        except DAMAGED as error:
            raise DatasetError(f"{path}: {values.name}: an image is damaged ({error})") from error

    return frames


def _sentence(demo: h5py.Group) -> str:
    """The instruction, where the file has one: attribute ep_meta of robosuite, "lang"."""
    text: Any = demo.attrs.get("ep_meta")
    if not isinstance(text, (str, bytes)):
        return ""
    try:
        meta = parse_json(text)
    except ValueError:
        return ""
    return str(meta.get("lang", "")) if isinstance(meta, dict) else ""


def _fps(file: h5py.File) -> float | None:
    """Rows a second: the control frequency of robosuite's environments."""
    try:
        settings = parse_json(file["data"].attrs["env_args"])["env_kwargs"]
        frequency = float(settings["control_freq"])
    except DAMAGED:
        return None
    return frequency if 0 < frequency < 10_000 else None
