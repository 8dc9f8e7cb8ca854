# SPDX-License-Identifier: Apache-2.0
"""One HDF5 file of demonstrations: data/demo_<i>/{obs/image, actions, rewards, dones}."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptp_core.data.files import write_atomically
from ptp_core.data.trajectory import Trajectory
from ptp_core.errors import DatasetError

FORMAT = "ptp-demonstrations"
FORMAT_VERSION = 1


def write_file(path: Path, description: dict[str, Any], demos: Iterable[Trajectory]) -> None:
    """Write a whole data set into one file, atomically. Raises DatasetError for a bad demo."""

    def write(partial: Path) -> None:
        with h5py.File(partial, "w") as file:
            data = describe_file(file, description, 0)
            for demo in demos:
                demo.check()
                store_demo(data, demo)
                data.attrs["total"] += len(demo.actions)

    write_atomically(path, write)


def describe_file(file: h5py.File, description: dict[str, Any], total: int) -> h5py.Group:
    """Write the attributes of a new file; its group ``data`` for ``total`` steps."""
    file.attrs["format"] = FORMAT
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["description"] = json.dumps(description)
    data = file.create_group("data")
    data.attrs["total"] = total
    environment = {
        "env_name": description.get("env", ""),
        "type": "gymnasium",
        "env_kwargs": description.get("env_kwargs", {}),
    }
    data.attrs["env_args"] = json.dumps(environment)
    return data


def file_description(path: Path) -> dict[str, Any]:
    """What a file says of the origin of its data."""
    with open_file(path) as file:
        try:
            return json.loads(file.attrs["description"])
        except (KeyError, ValueError, TypeError) as error:
            raise DatasetError(f"{path}: not a data set ({error})") from error


def store_demo(data: h5py.Group, trajectory: Trajectory) -> None:
    """Add ``demo_<index>`` to the group ``data``."""
    demo = data.create_group(f"demo_{trajectory.index}")
    demo.attrs["num_samples"] = len(trajectory.actions)
    for name, value in trajectory.attributes.items():
        demo.attrs[name] = value
    images = trajectory.images
    demo.create_dataset("obs/image", data=images, chunks=images.shape, compression="lzf")
    for name, values in trajectory.observations.items():
        demo[f"obs/{name}"] = values
    demo["actions"] = trajectory.actions.astype(np.float32)
    demo["rewards"] = trajectory.rewards.astype(np.float32)
    dones = np.zeros(len(images), dtype=np.uint8)
    dones[-1:] = 1  # robomimic marks the last step; the method itself has no terminal states
    demo["dones"] = dones


def read_demo(file: h5py.File, path: Path, index: int) -> Trajectory:
    """One trajectory of an open file; DatasetError when it is missing, damaged or wrong."""
    try:
        demo = file[f"data/demo_{index}"]
        trajectory = Trajectory(
            index=index,
            images=demo["obs/image"][()],
            actions=demo["actions"][()],
            rewards=demo["rewards"][()],
            attributes={
                name: value.item() if isinstance(value, np.generic) else value
                for name, value in demo.attrs.items()
            },
        )
    except (OSError, KeyError, RuntimeError) as error:
        raise DatasetError(
            f"{path}: trajectory {index} cannot be read ({error}); "
            "delete the file and make it again: ptp collect fills the gap"
        ) from error
    trajectory.check()
    return trajectory


def open_file(path: Path) -> h5py.File:
    """Open for reading; DatasetError for a truncated file or another format version."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DatasetError(
            f"{path}: truncated or not HDF5; delete it and run ptp collect again, "
            "which fills the gap, or ptp import-bag"
        ) from error
    version = file.attrs.get("format_version")
    if file.attrs.get("format") != FORMAT or version != FORMAT_VERSION:
        file.close()
        raise DatasetError(
            f"{path}: format version {version} instead of {FORMAT} {FORMAT_VERSION}; "
            "collect or import the data again"
        )
    return file


def demo_indices(path: Path) -> list[int]:
    """Indices of the trajectories in a file."""
    with open_file(path) as file:
        return [int(name.removeprefix("demo_")) for name in file["data"]]
