# SPDX-License-Identifier: Apache-2.0
"""Data sets of demonstrations: arrays by column in memory, a folder of HDF5 files on disk.

The files have robomimic's layout. A kill while writing loses no stored trajectory.
"""

from __future__ import annotations

import copy
import fcntl
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptp_core.data.demo_file import (
    FORMAT,
    FORMAT_VERSION,
    check_version,
    demo_indices,
    demo_lengths,
    describe_file,
    file_description,
    open_file,
    read_attributes,
    read_demo,
    read_described,
    store_demo,
)
from ptp_core.data.file_limits import load_json
from ptp_core.data.files import write_atomically
from ptp_core.data.trajectory import CAMERA, Channel, Metadata, Trajectory
from ptp_core.errors import DatasetError


@dataclass
class DatasetArrays:
    """All frames concatenated; trajectory i has ``lengths[i]`` of them."""

    images: dict[str, np.ndarray]  # by camera: uint8 (frames, H, W, 3)
    actions: np.ndarray  # float32 (frames, A)
    lengths: np.ndarray  # int64 (trajectories,)
    metadata: list[Metadata]  # of each trajectory
    fingerprint: str  # hash of the whole data set; see `Dataset.fingerprint`
    proprioception: np.ndarray | None = None  # float32 (frames, P)
    expert_actions: np.ndarray | None = None  # float32 (frames, A); see `Trajectory`
    action_channels: tuple[Channel, ...] = ()
    proprioception_channels: tuple[Channel, ...] = ()

    def camera(self, name: str | None = None) -> np.ndarray:
        """Images of one camera; None: of ``main_camera``. Raises DatasetError without it."""
        name = self.main_camera if name is None else name
        if name not in self.images:
            raise DatasetError(
                f'there is no camera "{name}" in the data; they have {", ".join(self.images)}'
            )
        return self.images[name]

    @property
    def main_camera(self) -> str:
        """The camera of methods that use one: "camera", or the first one. DatasetError if none."""
        if not self.images:
            raise DatasetError(
                "the data have no images, only proprioception: name data with a camera, or learn "
                "from states with ptp pretrain-states"
            )
        return CAMERA if CAMERA in self.images else min(self.images)

    def split(self, fraction: float) -> tuple[DatasetArrays, DatasetArrays]:
        """Split into the first ``fraction`` of the trajectories and the rest (validation)."""
        cut = split_count(len(self.lengths), fraction)
        return self._part(slice(None, cut)), self._part(slice(cut, None))

    def _part(self, rows: slice) -> DatasetArrays:
        ends = np.concatenate([[0], np.cumsum(self.lengths)])
        first, last = (int(ends[i]) for i in rows.indices(len(self.lengths))[:2])
        frames = slice(first, last)
        part = f"{self.fingerprint} {rows.start} {rows.stop}"
        return DatasetArrays(
            images={camera: images[frames] for camera, images in self.images.items()},
            actions=self.actions[frames],
            lengths=self.lengths[rows],
            metadata=self.metadata[rows],
            fingerprint=hashlib.sha256(part.encode()).hexdigest(),
            proprioception=None if self.proprioception is None else self.proprioception[frames],
            expert_actions=None if self.expert_actions is None else self.expert_actions[frames],
            action_channels=self.action_channels,
            proprioception_channels=self.proprioception_channels,
        )


def split_count(trajectories: int, fraction: float) -> int:
    """Number of training trajectories: ``fraction`` of all, at least one on either side."""
    if trajectories < 2:
        raise DatasetError(f"{trajectories} trajectory is too few: one more is needed to validate")
    return min(max(round(fraction * trajectories), 1), trajectories - 1)


SHARD_TRAJECTORIES = 200
LEFTOVER = re.compile(r"(demo_\d+\.hdf5|shard_\d+\.hdf5|dataset\.json)\.\d+\.partial")


class DatasetWriter:
    """Adds trajectories to a folder and lists those that it holds.

    ``description`` is stored in dataset.json; reopening a folder with another one is an error, so
    that a resumed collection never mixes two data sets.
    """

    def __init__(self, folder: str | Path, description: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.pending = self.folder / "pending"
        self.pending.mkdir(parents=True, exist_ok=True)
        self.description = json.loads(json.dumps(description))
        self._packed: dict[Path, list[int]] = {}  # indices in each shard, which never changes
        manifest = self.folder / "dataset.json"
        if manifest.exists():
            _check_same(manifest, self.description)
        else:
            content = {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "description": self.description,
            }
            write_atomically(manifest, lambda path: path.write_text(json.dumps(content, indent=2)))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for one collection; DatasetError when another one holds it.

        The lock ends with the process, even if it is killed. Removes leftovers of killed writers.
        """
        with (self.folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise DatasetError(
                    f"{self.folder}: another collection is writing here; wait for it or stop it"
                ) from error
            self._clean()
            yield

    def _clean(self) -> None:
        for folder in (self.folder, self.pending):
            for path in folder.glob("*.partial"):
                if LEFTOVER.fullmatch(path.name):  # others may keep files here, too
                    path.unlink()

    def indices(self) -> set[int]:
        """Return the indices of the trajectories that are stored."""
        return set(_locate(self.folder))

    def add(self, trajectory: Trajectory) -> None:
        """Store one trajectory; once this returns, a kill cannot lose it."""
        trajectory.check()
        path = self.pending / f"demo_{trajectory.index}.hdf5"

        def write(partial: Path) -> None:
            with h5py.File(partial, "w") as file:
                data = describe_file(file, self.description, len(trajectory.actions))
                store_demo(data, trajectory)

        write_atomically(path, write)

    def pack(self, minimum: int = SHARD_TRAJECTORIES) -> None:
        """Move pending trajectories into shards, once ``minimum`` of them are pending."""
        for path in self.folder.glob("shard_*.hdf5"):
            if path not in self._packed:
                self._packed[path] = demo_indices(path)
        stored = {index for indices in self._packed.values() for index in indices}
        waiting = sorted(_pending(self.folder).items())
        for index, path in waiting:
            if index in stored:  # killed between the shard's rename and this removal
                path.unlink()
        waiting = [(index, path) for index, path in waiting if index not in stored]
        while waiting and len(waiting) >= minimum:
            group, waiting = waiting[:SHARD_TRAJECTORIES], waiting[SHARD_TRAJECTORIES:]
            self._pack(group)

    def _pack(self, group: list[tuple[int, Path]]) -> None:
        def write(partial: Path) -> None:
            with h5py.File(partial, "w") as file:
                data = describe_file(file, self.description, 0)
                for index, path in group:
                    with open_file(path) as source:
                        source.copy(f"data/demo_{index}", data, name=f"demo_{index}")
                    data.attrs["total"] += data[f"demo_{index}"].attrs["num_samples"]

        write_atomically(self.folder / f"shard_{group[0][0]:06d}.hdf5", write)
        for _, path in group:
            path.unlink()


class Dataset:
    """Read-only view of a data set: a folder, or a single file of the same layout.

    Raises DatasetError where it is missing, truncated, not HDF5, of another format version, or has
    contents of a wrong shape.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if self.folder.is_file():
            self.description = file_description(self.folder)
            self._paths = dict.fromkeys(demo_indices(self.folder), self.folder)
            return
        if not self.folder.is_dir():
            raise DatasetError(
                f"{self.folder}: no such folder or file; run ptp collect or ptp import-bag first"
            )
        self.description = _manifest(self.folder / "dataset.json")["description"]
        self._paths = _locate(self.folder)
        if not self._paths:
            raise DatasetError(f"{self.folder}: holds no trajectory; run ptp collect first")

    def __len__(self) -> int:
        """Number of trajectories."""
        return len(self._paths)

    @property
    def indices(self) -> list[int]:
        """Indices of the stored trajectories, ascending."""
        return sorted(self._paths)

    def part(self, indices: Iterable[int]) -> Dataset:
        """The trajectories of these indices alone."""
        other = copy.copy(self)
        other._paths = {index: self._paths[index] for index in indices}
        return other

    def __iter__(self) -> Iterator[Trajectory]:
        """Yield every trajectory, by ascending index, opening each file once where possible."""
        return (trajectory for trajectory, _ in self._described())

    def _described(self) -> Iterator[tuple[Trajectory, dict[str, Any]]]:
        file, opened = None, None
        try:
            for index in self.indices:
                path = self._paths[index]
                if path != opened:
                    if file is not None:
                        file.close()
                    file, opened = open_file(path), path
                yield read_described(file, path, index)
        finally:
            if file is not None:
                file.close()

    def scenes(self) -> list[dict[str, float]]:
        """The numbers of each trajectory's first scene; {} where they are unknown."""
        found = {}
        for path in sorted(set(self._paths.values())):
            with open_file(path) as file:
                for index in (i for i, where in self._paths.items() if where == path):
                    found[index] = dict(
                        read_attributes(file[f"data/demo_{index}"]).get("scene", {})
                    )
        return [found[index] for index in self.indices]

    def load(
        self,
        progress: Callable[[int], None] | None = None,
        cameras: Sequence[str] | None = None,
    ) -> DatasetArrays:
        """Read everything into memory: about 7 kB a frame for a camera of 48 x 48.

        ``cameras`` (None: all) are read; a data set without one of them, or whose trajectories
        have different columns, is a DatasetError.
        """
        lengths = np.array(self._lengths(), dtype=np.int64)
        columns: dict[str, np.ndarray] = {}
        metadata: list[Metadata] = []
        first: Trajectory | None = None
        frame = 0
        rows = []
        for (trajectory, attributes), length in zip(self._described(), lengths, strict=True):
            if len(trajectory.actions) != length:
                raise DatasetError(
                    f"{self._paths[trajectory.index]}: trajectory {trajectory.index} has "
                    f"{len(trajectory.actions)} steps, its attributes say {length}"
                )
            found = self._columns(trajectory, cameras)
            if first is None:
                first = trajectory
                columns = {
                    name: np.empty((lengths.sum(), *values.shape[1:]), values.dtype)
                    for name, values in found.items()
                }
            self._check_columns(first, trajectory, columns, found)
            for name, values in found.items():
                columns[name][frame : frame + length] = values
            metadata.append(trajectory.metadata)
            rows.append(_row(trajectory.index, attributes, lambda read=trajectory: read))
            frame += length
            if progress is not None:
                progress(1)
        return DatasetArrays(
            images={
                name.removeprefix("images/"): values
                for name, values in columns.items()
                if name.startswith("images/")
            },
            actions=columns["actions"],
            lengths=lengths,
            metadata=metadata,
            fingerprint=_hash(rows),
            proprioception=columns.get("proprioception"),
            expert_actions=columns.get("expert_actions"),
            action_channels=first.action_channels,
            proprioception_channels=first.proprioception_channels,
        )

    def _columns(
        self, trajectory: Trajectory, cameras: Sequence[str] | None
    ) -> dict[str, np.ndarray]:
        columns = {}
        for camera in sorted(trajectory.images) if cameras is None else cameras:
            if camera not in trajectory.images:
                raise DatasetError(
                    f'{self.folder}: trajectory {trajectory.index} has no camera "{camera}"; it '
                    f"has {', '.join(sorted(trajectory.images))}"
                )
            columns[f"images/{camera}"] = trajectory.images[camera]
        columns["actions"] = trajectory.actions
        if trajectory.proprioception is not None:
            columns["proprioception"] = trajectory.proprioception
        if trajectory.expert_actions is not None:
            columns["expert_actions"] = trajectory.expert_actions
        return columns

    def _check_columns(
        self,
        first: Trajectory,
        trajectory: Trajectory,
        columns: dict[str, np.ndarray],
        found: dict[str, np.ndarray],
    ) -> None:
        wanted = {name: values.shape[1:] for name, values in columns.items()}
        shapes = {name: values.shape[1:] for name, values in found.items()}
        names = (trajectory.action_channels, trajectory.proprioception_channels)
        if shapes == wanted and names == (first.action_channels, first.proprioception_channels):
            return
        raise DatasetError(
            f"{self.folder}: trajectory {trajectory.index} has columns {shapes}, trajectory "
            f"{first.index} has {wanted}, or their numbers have other names: a data set has the "
            "same columns throughout; collect or import them apart"
        )

    def fingerprint(self) -> str:
        """Hash of the trajectories: their indices, contents and metadata.

        Files of version 1 are read whole for it; later versions store hashes of their contents.
        """
        rows = {}
        for path in sorted(set(self._paths.values())):
            with open_file(path) as file:
                for index in (i for i, where in self._paths.items() if where == path):
                    attributes = read_attributes(file[f"data/demo_{index}"])
                    demo = partial(read_demo, file, path, index)
                    rows[index] = _row(index, attributes, demo)
        return _hash([rows[index] for index in self.indices])

    def _lengths(self) -> list[int]:
        lengths = {}
        for path in set(self._paths.values()):
            lengths.update(demo_lengths(path))
        return [lengths[index] for index in self.indices]


def _row(index: int, attributes: dict[str, Any], demo: Callable[[], Trajectory]) -> list[Any]:
    """What the fingerprint of a data set has of one trajectory."""
    others = dict(attributes)
    content = others.pop("content_sha256", None)
    if content is None:
        content = demo().content_hash()
    return [index, content, sorted(others.items())]


def _hash(rows: list[list[Any]]) -> str:
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _pending(folder: Path) -> dict[int, Path]:
    return {
        int(path.stem.removeprefix("demo_")): path
        for path in (folder / "pending").glob("demo_*.hdf5")
    }


def _locate(folder: Path) -> dict[int, Path]:
    paths = _pending(folder)
    for path in sorted(folder.glob("shard_*.hdf5")):
        paths.update(dict.fromkeys(demo_indices(path), path))
    return paths


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = load_json(path)
        check_version(path, manifest["format"], manifest["format_version"])
        manifest["description"]
    except FileNotFoundError:
        raise DatasetError(f"{path.parent}: no data set (dataset.json is missing)") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: not a data set description ({error})") from error
    return manifest


def _check_same(path: Path, description: dict[str, Any]) -> None:
    manifest = _manifest(path)
    if manifest["format_version"] != FORMAT_VERSION:
        raise DatasetError(
            f"{path.parent} holds data of format version {manifest['format_version']}, new data "
            f"have version {FORMAT_VERSION}; choose another folder"
        )
    stored = manifest["description"]
    for key in sorted(stored.keys() | description.keys()):
        if stored.get(key) != description.get(key):
            raise DatasetError(
                f"{path.parent} holds data with {key} = {stored.get(key)!r}, asked for is "
                f"{description.get(key)!r}; choose another folder"
            )
