# SPDX-License-Identifier: Apache-2.0
"""The layout of a LeRobotDataset v3.0: paths, features and column types.

Source: lerobot 0.6.1, `lerobot/datasets/utils.py` (paths, `DatasetInfo`), `feature_utils.py`
(features) and `io_utils.py` (tables). Our own file `meta/ptp.json` holds what the format has no
place for; lerobot does not read it.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from ptp_core.data.trajectory import Trajectory, action_names
from ptp_core.errors import DatasetError, InputError

VERSION = "v3.0"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
INFO_FILE = "meta/info.json"
STATS_FILE = "meta/stats.json"
TASKS_FILE = "meta/tasks.parquet"
OWN_FILE = "meta/ptp.json"
OWN_FORMAT, OWN_VERSION = "ptp-lerobot", 1
CHUNK_FILES = 1000  # files of one chunk-000 folder
DATA_MB, VIDEO_MB = 100, 200  # size at which the next file begins

IMAGES = "observation.images."  # before the name of a camera
STATE, ACTION = "observation.state", "action"
EXPERT_ACTION = "expert_action"
REWARD, DONE, SUCCESS = "next.reward", "next.done", "next.success"
OBSERVATION = "observation."  # before the name of another observation
INTERVENTION, STAMP = "intervention", "stamp_ns"  # columns of recorded episodes
TOP_LEVEL = (INTERVENTION, STAMP)  # observations of ours that are none of LeRobot's

# Columns that every data set has: dtype.
FRAME_COLUMNS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
DTYPES = ("float32", "float64", "int64", "int32", "uint8", "bool")

LIBRARIES = {"pyarrow": "pyarrow.parquet", "PyAV": "av"}
INSTALL = (
    "run `make lerobot`, or, without a checkout, `pip install 'pyarrow>=21,<26' 'av>=15,<19'`"
)


def need_libraries() -> None:
    """Raise InputError, with cause and cure in one line, unless pyarrow and PyAV can be used."""
    for name, module in LIBRARIES.items():
        try:
            importlib.import_module(module)
        except ImportError as error:
            # pyarrow of another numpy is installed, and refuses to be imported.
            missing = isinstance(error, ModuleNotFoundError)
            fault = (str(error).splitlines() or [""])[0]
            reason = "is not installed" if missing else f"cannot be used ({fault})"
            raise InputError(
                f"LeRobot's data sets need pyarrow and PyAV (0.26 GB), and {name} {reason}: "
                f"{INSTALL}"
            ) from error


def columns_of(trajectory: Trajectory, success: bool) -> dict[str, np.ndarray]:
    """Columns of one trajectory's frames but images and FRAME_COLUMNS: name -> (T,) or (T, D).

    ``success`` is what the column next.success says at the last frame.
    """
    length = len(trajectory.actions)
    last = np.arange(length) == length - 1
    columns: dict[str, np.ndarray] = {}
    if trajectory.proprioception is not None:
        columns[STATE] = trajectory.proprioception.astype(np.float32)
    columns[ACTION] = trajectory.actions.astype(np.float32)
    if trajectory.expert_actions is not None:
        columns[EXPERT_ACTION] = trajectory.expert_actions.astype(np.float32)
    columns[REWARD] = trajectory.rewards.astype(np.float32)
    columns[DONE] = last
    columns[SUCCESS] = last & success
    for name, values in trajectory.observations.items():
        column = name if name in TOP_LEVEL else f"{OBSERVATION}{name}"
        if column in columns or column.startswith(IMAGES):
            raise DatasetError(f'the observation "{name}" has a name that LeRobot uses: rename it')
        columns[column] = np.asarray(values)
    return columns


def features_of(
    trajectory: Trajectory, columns: dict[str, np.ndarray], videos: set[str]
) -> dict[str, dict[str, Any]]:
    """The features of info.json for trajectories like this one.

    ``videos``: cameras that are stored as video. Raises DatasetError for a column that the
    format cannot hold.
    """
    features: dict[str, dict[str, Any]] = {}
    for camera, images in sorted(trajectory.images.items()):
        features[f"{IMAGES}{camera}"] = {
            "dtype": "video" if camera in videos else "image",
            "shape": list(images.shape[1:]),
            "names": ["height", "width", "channels"],
        }
    names = {
        STATE: [channel.name for channel in trajectory.proprioception_channels],
        ACTION: list(action_names(trajectory.action_channels, trajectory.actions.shape[1])),
    }
    names[EXPERT_ACTION] = names[ACTION]
    for name, values in columns.items():
        if str(values.dtype) not in DTYPES or values.ndim > 2:
            raise DatasetError(
                f"the column {name} is {values.dtype} {values.shape[1:]}; LeRobot's data sets get "
                f"numbers or vectors of {', '.join(DTYPES)}"
            )
        features[name] = {
            "dtype": str(values.dtype),
            "shape": [1] if values.ndim == 1 else [values.shape[1]],
            "names": names.get(name) or None,
        }
    for name, dtype in FRAME_COLUMNS.items():
        features[name] = {"dtype": dtype, "shape": [1], "names": None}
    return features


def task_of(trajectory: Trajectory) -> str:
    """The task as a sentence: the instruction, or the name of task or primitive."""
    known = trajectory.metadata
    return known.instruction or str(known.extra.get("task") or known.primitive) or "unknown"


def label_of(trajectory: Trajectory) -> str:
    """success, failure or unlabelled."""
    known = trajectory.metadata
    if known.extra.get("label") == "unlabelled" or known.success is None:
        return "unlabelled"
    return "success" if known.success else "failure"
