# SPDX-License-Identifier: Apache-2.0
"""Write trajectories as a LeRobotDataset v3.0, with pyarrow and PyAV and without lerobot.

The folder appears whole or not at all: everything is written beside it and renamed at the end.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from ptp_core.data.files import check_new_folder, flush_folder, storage_error
from ptp_core.data.trajectory import Trajectory
from ptp_core.errors import DatasetError, InputError
from ptp_core.exchange import lerobot_layout as layout
from ptp_core.exchange.lerobot_card import card
from ptp_core.exchange.lerobot_statistics import RunningStatistics
from ptp_core.exchange.lerobot_video import CODECS, VideoWriter, video_info

ROWS_TOGETHER = 100  # episodes of one row group in meta/episodes
LOSSLESS = 96  # pixels a side up to which "auto" keeps images as PNG


@dataclass(frozen=True)
class LerobotOptions:
    """Settings of an export to LeRobot."""

    fps: int  # frames a second; timestamps are frame_index / fps
    images: Literal["auto", "png", "video"] = "auto"  # auto: video above LOSSLESS pixels a side
    codec: str = "h264"  # of videos, one of CODECS
    repo_id: str = "local/ptp"  # name on the hub, for the card
    license: str = ""  # identifier of the hub, for the card; "": none is named
    robot_type: str | None = None

    def __post_init__(self) -> None:
        if self.fps < 1:
            raise InputError(f"fps is {self.fps}: it must be a whole number from 1 on")
        if self.codec not in CODECS:
            raise InputError(f"codec {self.codec}: it must be one of {', '.join(CODECS)}")


@contextmanager
def lerobot_folder(
    folder: Path, options: LerobotOptions, description: dict[str, Any]
) -> Iterator[LerobotWriter]:
    """A writer whose data set becomes ``folder`` when the block ends without an error.

    ``description``: of the data's origin, kept for `ptp import lerobot`. Raises InputError where
    the folder exists and is not empty, or cannot be made; StorageError where the disk refuses it.
    """
    layout.need_libraries()
    if folder.exists() and (not folder.is_dir() or next(folder.iterdir(), None)):
        raise InputError(f"{folder} exists and is not empty: name another folder, or remove it")
    check_new_folder(folder)
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir()
        writer = LerobotWriter(partial, options, description)
        try:
            yield writer
            writer.finish()
        finally:
            writer.close()
        _flush(partial)
        os.replace(partial, folder)
        flush_folder(folder.parent)
    except OSError as error:
        raise storage_error(error, folder) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class LerobotWriter:
    """Writes one episode after the other into a folder; `finish` completes it."""

    def __init__(self, folder: Path, options: LerobotOptions, description: dict[str, Any]) -> None:
        self.folder, self.options, self.description = folder, options, description
        self.features: dict[str, dict[str, Any]] = {}
        self.frames = 0
        self.labels: list[str] = []  # of each episode
        self._tasks: dict[str, int] = {}
        self._own: list[dict[str, Any]] = []  # what the format has no place for, by episode
        self._first: Trajectory | None = None
        self._statistics = RunningStatistics()
        self._data = _Parquets(folder, layout.DATA_PATH)
        self._episodes = _Parquets(folder, layout.EPISODES_PATH)
        self._videos: dict[str, _Videos] = {}
        self._rows: list[dict[str, Any]] = []  # of episodes that are not in meta/episodes yet

    @property
    def episodes(self) -> int:
        """Number of episodes so far."""
        return len(self.labels)

    def add(self, trajectory: Trajectory) -> None:
        """Write one trajectory. Raises DatasetError where its columns are not the first one's."""
        import pyarrow as pa

        trajectory.check()
        label, task = layout.label_of(trajectory), layout.task_of(trajectory)
        columns = layout.columns_of(trajectory, label == "success")
        self._check_same(trajectory, columns)
        length = len(trajectory.actions)
        number, task_index = self.episodes, self._tasks.setdefault(task, len(self._tasks))
        steps = np.arange(length)
        columns |= {
            "timestamp": (steps / self.options.fps).astype(np.float32),
            "frame_index": steps,
            "episode_index": np.full(length, number),
            "index": steps + self.frames,
            "task_index": np.full(length, task_index),
        }
        row: dict[str, Any] = {
            "episode_index": number,
            "tasks": [task],
            "length": length,
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + length,
        }
        statistics: dict[str, dict[str, np.ndarray]] = {}
        arrays: dict[str, pa.Array] = {}
        for camera, images in sorted(trajectory.images.items()):
            name = f"{layout.IMAGES}{camera}"
            statistics[name] = self._statistics.add_images(name, images)
            if self.features[name]["dtype"] == "video":
                row |= self._video(name, images)
            else:
                arrays[name] = _pictures(images)
        for name, values in columns.items():
            statistics[name] = self._statistics.add_numbers(name, values)
            arrays[name] = _numbers(values)
        chunk, file = self._data.write(
            pa.table(arrays).replace_schema_metadata(_hub_types(self.features)),
            layout.DATA_MB,
        )
        row |= {"data/chunk_index": chunk, "data/file_index": file}
        for name, found in statistics.items():
            row |= {f"stats/{name}/{key}": values.tolist() for key, values in found.items()}
        row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0, "label": label}
        self._rows.append(row)
        if len(self._rows) == ROWS_TOGETHER:
            self._write_rows()
        self.labels.append(label)
        self._own.append(
            {
                "index": trajectory.index,
                "length": length,
                "attributes": trajectory.metadata.to_attributes(),
            }
        )
        self.frames += length

    def finish(self) -> None:
        """Close the files and write the metadata. Raises DatasetError without an episode."""
        if self._first is None:
            raise DatasetError("nothing to export: there is no episode")
        self._write_rows()
        self.close()
        for name, videos in self._videos.items():
            self.features[name]["info"] = video_info(videos.first)
        self._write_tasks()
        total = self.episodes
        info = {
            "codebase_version": layout.VERSION,
            "robot_type": self.options.robot_type,
            "total_episodes": total,
            "total_frames": self.frames,
            "total_tasks": len(self._tasks),
            "chunks_size": layout.CHUNK_FILES,
            "data_files_size_in_mb": layout.DATA_MB,
            "video_files_size_in_mb": layout.VIDEO_MB,
            "fps": self.options.fps,
            "splits": {"train": f"0:{total}"},
            "data_path": layout.DATA_PATH,
            "video_path": layout.VIDEO_PATH if self._videos else None,
            "features": self.features,
        }
        first = self._first
        own = {
            "format": layout.OWN_FORMAT,
            "format_version": layout.OWN_VERSION,
            "description": self.description,
            "action_channels": [asdict(channel) for channel in first.action_channels],
            "proprioception_channels": [
                asdict(channel) for channel in first.proprioception_channels
            ],
            # dimensions of each observation: (T,) and (T, 1) are one type of column
            "observations": {name: np.ndim(v) for name, v in first.observations.items()},
            "episodes": self._own,
        }
        self._write_json(layout.INFO_FILE, info)
        self._write_json(layout.STATS_FILE, self._statistics.totals())
        self._write_json(layout.OWN_FILE, own, indent=None)
        text = card(info, self.options.repo_id, self.options.license, self.labels, self._tasks)
        (self.folder / "README.md").write_text(text, encoding="utf-8")

    def close(self) -> None:
        """Close every file; a second call does nothing."""
        for part in (self._data, self._episodes, *self._videos.values()):
            part.close()

    def _check_same(self, trajectory: Trajectory, columns: dict[str, np.ndarray]) -> None:
        largest = {camera: max(i.shape[1:3]) for camera, i in trajectory.images.items()}
        videos = {
            camera
            for camera, side in largest.items()
            if self.options.images == "video"
            or (self.options.images == "auto" and side > LOSSLESS)
        }
        features = layout.features_of(trajectory, columns, videos)
        if self._first is None:
            self.features = features
            self._first = trajectory
            return
        first = self._first
        channels = (trajectory.action_channels, trajectory.proprioception_channels)
        if features != self.features or channels != (
            first.action_channels,
            first.proprioception_channels,
        ):
            other = sorted(
                name
                for name in features.keys() | self.features.keys()
                if features.get(name) != self.features.get(name)
            )
            raise DatasetError(
                f"episode {self.episodes} has other columns than episode 0 "
                f"({', '.join(other) or 'names or scale of actions'}): a data set has the same "
                "columns throughout; export them apart"
            )

    def _video(self, name: str, images: np.ndarray) -> dict[str, Any]:
        if name not in self._videos:
            self._videos[name] = _Videos(self.folder, name, images.shape[1:], self.options)
        return {f"videos/{name}/{k}": v for k, v in self._videos[name].write(images).items()}

    def _write_rows(self) -> None:
        """Add rows to meta/episodes, as one row group: each has some hundred small columns."""
        import pyarrow as pa

        if self._rows:
            self._episodes.write(pa.Table.from_pylist(self._rows), None)
        self._rows = []

    def _write_tasks(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # lerobot reads the sentences as the index of a pandas table.
        pandas = {
            "index_columns": ["task"],
            "column_indexes": [],
            "columns": [
                _pandas_column("task_index", "int64", "int64"),
                _pandas_column("task", "unicode", "object"),
            ],
            "pandas_version": "2.3.3",
        }
        table = pa.table(
            {
                "task_index": pa.array(list(self._tasks.values()), pa.int64()),
                "task": [*self._tasks],
            }
        ).replace_schema_metadata({"pandas": json.dumps(pandas)})
        pq.write_table(table, self.folder / layout.TASKS_FILE)

    def _write_json(self, name: str, content: Any, indent: int | None = 4) -> None:
        text = json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
        (self.folder / name).write_text(f"{text}\n", encoding="utf-8")


class _Parquets:
    """Numbered parquet files of tables with one schema; a table is one row group."""

    def __init__(self, folder: Path, pattern: str) -> None:
        self._folder, self._pattern = folder, pattern
        self._writer: Any = None
        self._path = folder
        self._number = -1

    def write(self, table: Any, megabytes: int | None) -> tuple[int, int]:
        """Append a table; returns the numbers of its chunk and file.

        A file that has more than ``megabytes`` is followed by a new one.
        """
        import pyarrow.parquet as pq

        most = float("inf") if megabytes is None else megabytes * 2**20
        if self._writer is not None and self._path.stat().st_size > most:
            self.close()
        if self._writer is None:
            self._number += 1
            chunk, file = divmod(self._number, layout.CHUNK_FILES)
            self._path = self._folder / self._pattern.format(chunk_index=chunk, file_index=file)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="snappy")
        self._writer.write_table(table)
        return divmod(self._number, layout.CHUNK_FILES)

    def close(self) -> None:
        """Close the open file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


class _Videos:
    """Numbered video files of one camera."""

    def __init__(
        self, folder: Path, name: str, shape: tuple[int, ...], options: LerobotOptions
    ) -> None:
        self._folder, self._name, self._shape, self._options = folder, name, shape, options
        self._writer: VideoWriter | None = None
        self._number = -1
        self.first = self._path(0)

    def write(self, images: np.ndarray) -> dict[str, Any]:
        """Append an episode; returns where it is: chunk, file, first and last time [s]."""
        if self._writer is not None and self._writer.size > layout.VIDEO_MB * 2**20:
            self.close()
        if self._writer is None:
            self._number += 1
            path, options = self._path(self._number), self._options
            self._writer = VideoWriter(path, self._shape, options.fps, options.codec)
        begin = self._writer.frames / self._options.fps
        self._writer.add(images)
        chunk, file = divmod(self._number, layout.CHUNK_FILES)
        return {
            "chunk_index": chunk,
            "file_index": file,
            "from_timestamp": begin,
            "to_timestamp": self._writer.frames / self._options.fps,
        }

    def close(self) -> None:
        """Close the open file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _path(self, number: int) -> Path:
        chunk, file = divmod(number, layout.CHUNK_FILES)
        return self._folder / layout.VIDEO_PATH.format(
            video_key=self._name, chunk_index=chunk, file_index=file
        )


def _pictures(images: np.ndarray) -> Any:
    """Struct array (T,) of PNG bytes, as the hub's Image feature stores them."""
    import pyarrow as pa

    rows = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG", compress_level=3)
        rows.append({"bytes": buffer.getvalue(), "path": None})
    return pa.array(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()}))


def _numbers(values: np.ndarray) -> Any:
    """Array of numbers (T,) or of vectors (T, D); D of 1 is a number, as in lerobot."""
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    if values.ndim == 1 or values.shape[1] == 1:
        return flat
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _hub_types(features: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Schema metadata that types the columns for the hub's viewer."""
    types: dict[str, Any] = {}
    for name, feature in features.items():
        value = {"dtype": feature["dtype"], "_type": "Value"}
        if feature["dtype"] == "video":
            continue
        if feature["dtype"] == "image":
            types[name] = {"_type": "Image"}
        elif feature["shape"] == [1]:
            types[name] = value
        else:
            types[name] = {"feature": value, "length": feature["shape"][0], "_type": "List"}
    return {"huggingface": json.dumps({"info": {"features": types}})}


def _pandas_column(name: str, pandas_type: str, numpy_type: str) -> dict[str, Any]:
    return {
        "name": name,
        "field_name": name,
        "pandas_type": pandas_type,
        "numpy_type": numpy_type,
        "metadata": None,
    }


def _flush(folder: Path) -> None:
    """Make every file below ``folder`` survive a power cut."""
    for path in folder.rglob("*"):
        if path.is_dir():
            flush_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    flush_folder(folder)
