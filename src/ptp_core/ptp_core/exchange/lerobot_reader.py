# SPDX-License-Identifier: Apache-2.0
"""Read a LeRobotDataset v3.0 with pyarrow and PyAV, one episode at a time.

The files may come from strangers: sizes that they declare are compared with those of the files,
names of features become no paths but by rule, and images are decoded one by one.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ptp_core.data.file_limits import (
    GIB,
    OverBudget,
    check_declared,
    check_picture_size,
    load_json,
)
from ptp_core.errors import DatasetError, quoted
from ptp_core.exchange import lerobot_layout as layout
from ptp_core.exchange.column_episode import ColumnEpisode, Frames
from ptp_core.exchange.lerobot_video import read_frames

FEATURE = re.compile(r"[A-Za-z0-9_][\w.\-]*")  # names that may stand in a path
BATCH = 64  # rows that are read at once: each may have an image
MOST_EPISODE = 4 * GIB  # bytes of the stored images of one episode
MOST_ROWS = 2**31
CONVERTER = "python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id=USER/NAME"
EPISODE_COLUMNS = ("episode_index", "tasks", "length", "data/chunk_index", "data/file_index")


class LerobotFolder:
    """Read-only view of the data set in a folder.

    Raises InputError without the libraries, DatasetError where the folder is no data set, is of
    another version, or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        layout.need_libraries()
        self.folder = folder
        self.info = self._read_info()
        try:
            self.fps = float(self.info["fps"])
            self.features: dict[str, dict[str, Any]] = {
                str(name): {
                    "dtype": str(feature["dtype"]),
                    "shape": [int(side) for side in feature["shape"]],
                    "names": _flat_names(feature.get("names")),
                }
                for name, feature in self.info["features"].items()
            }
            paths = (self.info["data_path"], self.info.get("video_path") or layout.VIDEO_PATH)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DatasetError(
                f"{folder / layout.INFO_FILE}: damaged ({type(error).__name__} {error})"
            ) from error
        if not 0 < self.fps < 10_000:
            raise DatasetError(f"{folder / layout.INFO_FILE}: fps is {self.fps}")
        if paths != (layout.DATA_PATH, layout.VIDEO_PATH):
            raise DatasetError(
                f"{folder / layout.INFO_FILE}: data_path and video_path are not those of "
                f"{layout.VERSION}: write the data set again with lerobot"
            )
        for name in self.features:
            if not FEATURE.fullmatch(name):
                raise DatasetError(
                    f"{folder / layout.INFO_FILE}: {quoted(name)} is no name of a feature"
                )

    def cameras(self) -> list[str]:
        """Names of the features that are images."""
        return [n for n, f in self.features.items() if f["dtype"] in ("image", "video")]

    def described(self) -> str:
        """The features but LeRobot's own, with their dimensions, in one line."""
        said = []
        for name, feature in self.features.items():
            if name not in layout.FRAME_COLUMNS:
                names = ", ".join(feature["names"]) or "x".join(map(str, feature["shape"]))
                said.append(f"{name} ({names})")
        return "; ".join(said)

    def own(self) -> dict[str, Any] | None:
        """What `ptp export lerobot` wrote beside the format; None for others' data sets."""
        path = self.folder / layout.OWN_FILE
        if not path.exists():
            return None
        try:
            content = load_json(path)
            version = (content["format"], content["format_version"])
            if version != (layout.OWN_FORMAT, layout.OWN_VERSION):
                raise ValueError(f"format {version[0]} version {version[1]}")
            lengths = [int(episode["length"]) for episode in content["episodes"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                f"{path}: cannot be read ({error}): remove it, and import with --mapping"
            ) from error
        if lengths != [int(row["length"]) for row in self._rows]:
            raise DatasetError(
                f"{path}: it is not of these episodes; the data set was changed after its export: "
                "remove the file, and import with --mapping"
            )
        return content

    def episodes(self) -> Iterator[ColumnEpisode]:
        """Yield the episodes in their order."""
        tables = _Tables(self.folder, self._stored())
        for row in self._rows:
            name = f"episode_{int(row['episode_index']):06d}"
            with _guarded(self.folder, name):
                episode = self._episode(name, row, tables.take(row))
            yield episode

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self._rows)

    def _read_info(self) -> dict[str, Any]:
        path = self.folder / layout.INFO_FILE
        try:
            info = load_json(path)
            version = str(info["codebase_version"])
        except FileNotFoundError:
            raise DatasetError(
                f"{self.folder}: no LeRobot data set ({layout.INFO_FILE} is missing)"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{path}: cannot be read ({error})") from error
        if version.startswith("v2"):
            raise DatasetError(
                f"{self.folder}: a data set of version {quoted(version)}; this program reads "
                f"{layout.VERSION}: convert it with lerobot: {CONVERTER}"
            )
        if version != layout.VERSION:
            raise DatasetError(
                f"{self.folder}: a data set of version {quoted(version)}; this program reads "
                f"{layout.VERSION}"
            )
        return info

    def _stored(self) -> list[str]:
        """Features that are columns of the tables; videos are files of their own."""
        return [name for name, feature in self.features.items() if feature["dtype"] != "video"]

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        videos = [n for n, f in self.features.items() if f["dtype"] == "video"]
        wanted = [*EPISODE_COLUMNS]
        for name in videos:
            wanted += [
                f"videos/{name}/{key}" for key in ("chunk_index", "file_index", "from_timestamp")
            ]
        paths = sorted((self.folder / "meta/episodes").glob("chunk-*/file-*.parquet"))
        if not paths:
            raise DatasetError(f"{self.folder}: no episodes (meta/episodes has no file)")
        for path in paths:
            with _guarded(path):
                file = _open_parquet(path)
                if missing := [name for name in wanted if name not in file.schema_arrow.names]:
                    raise ValueError(f"no column {missing[0]}")
                for batch in file.iter_batches(BATCH, columns=wanted, use_threads=False):
                    rows += batch.to_pylist()
        rows.sort(key=lambda row: row["episode_index"])
        return rows

    def _episode(self, name: str, row: dict[str, Any], stored: dict[str, Any]) -> ColumnEpisode:
        length = int(row["length"])
        columns, frames = {}, {}
        for feature, content in self.features.items():
            if content["dtype"] == "image":
                frames[feature] = _decoder(stored[feature], self.folder, name)
            elif content["dtype"] == "video":
                frames[feature] = self._video(feature, row)
            elif content["dtype"] in layout.DTYPES and len(content["shape"]) == 1:
                columns[feature] = _column(stored[feature], length, content)
        tasks = row["tasks"] or [""]
        success = columns.get(layout.SUCCESS)
        return ColumnEpisode(
            name=name,
            length=length,
            columns=columns,
            frames=frames,
            names={n: tuple(f["names"]) for n, f in self.features.items()},
            task=str(tasks[0]),
            success=None if success is None else bool(success.any()),
            fps=self.fps,
        )

    def _video(self, feature: str, row: dict[str, Any]) -> Frames:
        path = self.folder / layout.VIDEO_PATH.format(
            video_key=feature,
            chunk_index=int(row[f"videos/{feature}/chunk_index"]),
            file_index=int(row[f"videos/{feature}/file_index"]),
        )
        start = float(row[f"videos/{feature}/from_timestamp"])
        return lambda: read_frames(path, start, int(row["length"]), self.fps)


class _Tables:
    """Rows of the data files, taken episode by episode in their order."""

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        self._folder, self._columns = folder, list(columns)
        self._path: Path | None = None
        self._batches: Iterator[Any] = iter(())
        self._rest: Any = None  # rows of the newest batch that no episode has taken

    def take(self, row: dict[str, Any]) -> dict[str, Any]:
        """Chunks of each column of the next episode, by name."""
        path = self._folder / layout.DATA_PATH.format(
            chunk_index=int(row["data/chunk_index"]), file_index=int(row["data/file_index"])
        )
        if path != self._path:
            file = _open_parquet(path)
            if missing := [n for n in self._columns if n not in file.schema_arrow.names]:
                raise ValueError(f"{path}: no column {missing[0]}")
            self._path, self._rest = path, None
            self._batches = file.iter_batches(BATCH, columns=self._columns, use_threads=False)
        parts, need, stored = [], int(row["length"]), 0
        while need:
            if self._rest is None or not self._rest.num_rows:
                self._rest = next(self._batches, None)
                if self._rest is None:
                    raise ValueError(f"{path}: it ends {need} rows before the episode")
            part = self._rest.slice(0, need)
            self._rest = self._rest.slice(part.num_rows)
            need -= part.num_rows
            stored += part.nbytes
            if stored > MOST_EPISODE:
                raise OverBudget(f"one episode has more than {MOST_EPISODE // GIB} GiB of images")
            parts.append(part)
        taken = {name: [part.column(name) for part in parts] for name in self._columns}
        numbers = np.concatenate([part.to_numpy() for part in taken["episode_index"]])
        if (numbers != row["episode_index"]).any():
            raise ValueError(f"{path}: the rows of the episodes are not in their order")
        return taken


# pyarrow's errors are among these, as ValueError, OSError, KeyError, TypeError and others.
_FAULTS = (ValueError, OSError, LookupError, TypeError, RuntimeError, ArithmeticError, MemoryError)


@contextmanager
def _guarded(path: Path, part: str = "") -> Iterator[None]:
    """Turn what pyarrow and damaged values raise into a DatasetError that names ``path``."""
    try:
        yield
    except _FAULTS as error:
        where = f"{path}: {part}" if part else f"{path}"
        words = " ".join(str(error).split())[:300] or type(error).__name__
        raise DatasetError(f"{where}: cannot be read ({words})") from error


def _open_parquet(path: Path) -> Any:
    """Open a parquet file whose declared sizes fit its own."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path, pre_buffer=False)
    about = file.metadata
    groups = [about.row_group(number) for number in range(about.num_row_groups)]
    if not 0 <= about.num_rows < MOST_ROWS or any(group.num_rows < 0 for group in groups):
        raise OverBudget(f"it declares {about.num_rows} rows")
    declared = sum(max(group.total_byte_size, 0) for group in groups)
    check_declared(max(declared, 8 * about.num_rows), path.stat().st_size)
    return file


def _column(parts: list[Any], length: int, feature: dict[str, Any]) -> np.ndarray:
    """(T,) or (T, D) of the feature's dtype."""
    import pyarrow as pa

    array = pa.concat_arrays(parts)
    if array.null_count:
        raise ValueError("a value is missing")
    if pa.types.is_nested(array.type):
        array = array.flatten()
    values = array.to_numpy(zero_copy_only=False).astype(feature["dtype"])
    if feature["shape"] == [1]:
        return values.reshape(length)
    return values.reshape(length, feature["shape"][0])


def _decoder(parts: list[Any], folder: Path, name: str) -> Frames:
    def frames() -> Iterator[np.ndarray]:
        with _guarded(folder, name):
            for part in parts:
                for number in range(len(part)):
                    yield decode_picture(part[number].as_py())

    return frames


def decode_picture(stored: Any) -> np.ndarray:
    """RGB uint8 (H, W, 3) of the hub's {bytes, path}. Raises ValueError for what is no image."""
    data = stored.get("bytes") if isinstance(stored, dict) else None
    if not data:
        raise ValueError("an image is kept in a file of its own: embed it (lerobot does)")
    check_picture_size(data)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"an image cannot be decoded ({error})") from error


def _flat_names(names: Any) -> list[str]:
    """Names of a feature's dimensions: a list, or a dict of groups or of positions."""
    if isinstance(names, dict):
        if all(isinstance(position, int) for position in names.values()):
            return sorted(map(str, names), key=lambda name: names[name])
        return [str(name) for group in names.values() for name in _flat_names(group)]
    if isinstance(names, (list, tuple)):
        return [str(name) for name in names]
    return []
