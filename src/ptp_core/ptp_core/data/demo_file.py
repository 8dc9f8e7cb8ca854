# SPDX-License-Identifier: Apache-2.0
"""One HDF5 file of demonstrations in robomimic's layout; `store_demo` lists its contents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptp_core.data.file_limits import parse_json
from ptp_core.data.files import cannot_open, write_atomically
from ptp_core.data.hdf5_check import DAMAGED
from ptp_core.data.hdf5_guard import open_hdf5
from ptp_core.data.trajectory import CAMERA, Channel, Metadata, Trajectory, cartesian_channels
from ptp_core.errors import DatasetError

FORMAT = "ptp-demonstrations"
FORMAT_VERSION = 2
GYM_TYPE = 2  # robomimic's EnvType of environments with gym's interface
READABLE = (1, 2)  # version 1: one camera, no proprioception, no targets, no segments

# HDF5 attributes hold no lists and dicts: these are stored as JSON.
CHANNELS = ("cameras", "action_channels", "proprioception_channels")
AS_JSON = ("target", "segments", "scene", *CHANNELS)
OWN = {"num_samples", "content_sha256", *CHANNELS}  # attributes that are not metadata


def write_file(
    path: Path,
    description: dict[str, Any],
    demos: Iterable[Trajectory],
    then: Callable[[h5py.File], None] | None = None,
) -> None:
    """Write a whole data set into one file, atomically. Raises DatasetError for a bad demo.

    ``then`` may add to the file after the last demo.
    """

    def write(partial: Path) -> None:
        with h5py.File(partial, "w") as file:
            data = describe_file(file, description, 0)
            for demo in demos:
                demo.check()
                store_demo(data, demo)
                data.attrs["total"] += len(demo.actions)
            if then is not None:
                then(file)

    write_atomically(path, write)


def describe_file(file: h5py.File, description: dict[str, Any], total: int) -> h5py.Group:
    """Write the attributes of a new file; its group ``data`` for ``total`` steps."""
    file.attrs["format"] = FORMAT
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["description"] = json.dumps(description)
    data = file.create_group("data")
    data.attrs["total"] = total
    environment = {
        "env_name": description.get("env_id") or description.get("env", ""),
        "type": GYM_TYPE,
        "env_kwargs": description.get("env_kwargs", {}),
    }
    data.attrs["env_args"] = json.dumps(environment)
    return data


def file_description(path: Path) -> dict[str, Any]:
    """The description of the data's origin that a file stores."""
    with open_file(path) as file:
        try:
            return parse_json(file.attrs["description"])
        except DAMAGED as error:
            raise DatasetError(f"{path}: not a data set ({error})") from error


def store_demo(data: h5py.Group, trajectory: Trajectory) -> None:
    """Add ``demo_<index>`` to the group ``data``.

    Datasets: obs/<camera>_image uint8 (T, H, W, 3); obs/proprioception float32 (T, P) and
    obs/<name> where there are any; actions float32 (T, A), expert_actions likewise where they are
    known; rewards float32 (T,); dones uint8 (T,).
    Attributes: num_samples T, content_sha256, the names of cameras and channels, and what
    `Metadata` lists.
    """
    demo = data.create_group(f"demo_{trajectory.index}")
    attributes = {
        "num_samples": len(trajectory.actions),
        "content_sha256": trajectory.content_hash(),
        "cameras": sorted(trajectory.images),
        "action_channels": [asdict(channel) for channel in trajectory.action_channels],
        "proprioception_channels": [
            asdict(channel) for channel in trajectory.proprioception_channels
        ],
        **trajectory.metadata.to_attributes(),
    }
    for name, value in attributes.items():
        demo.attrs[name] = json.dumps(value) if name in AS_JSON else value
    for camera, images in trajectory.images.items():
        demo.create_dataset(
            f"obs/{camera}_image", data=images, chunks=images.shape, compression="lzf"
        )
    for name, values in trajectory.observations.items():
        demo[f"obs/{name}"] = values
    if trajectory.proprioception is not None:
        demo["obs/proprioception"] = trajectory.proprioception.astype(np.float32)
    demo["actions"] = trajectory.actions.astype(np.float32)
    if trajectory.expert_actions is not None:
        demo["expert_actions"] = trajectory.expert_actions.astype(np.float32)
    demo["rewards"] = trajectory.rewards.astype(np.float32)
    dones = np.zeros(len(trajectory.actions), dtype=np.uint8)
    dones[-1:] = 1  # robomimic marks the last step; the method itself has no terminal states
    demo["dones"] = dones


def read_demo(file: h5py.File, path: Path, index: int) -> Trajectory:
    """One trajectory of an open file; DatasetError when it is missing, damaged or wrong."""
    return read_described(file, path, index)[0]


def read_described(file: h5py.File, path: Path, index: int) -> tuple[Trajectory, dict[str, Any]]:
    """As `read_demo`, with what `read_attributes` gives for the trajectory."""
    try:
        demo = file[f"data/demo_{index}"]
        attributes = read_attributes(demo)
        observations = dict(demo["obs"].items())
        if file.attrs["format_version"] == 1:
            images = {CAMERA: observations.pop("image")[()]}
            scale = parse_json(file.attrs["description"]).get("action_scale")
            actions = cartesian_channels(**scale) if scale else ()
            channels = {"action": actions, "proprioception": ()}
        else:
            images = {
                camera: observations.pop(f"{camera}_image")[()] for camera in attributes["cameras"]
            }
            channels = {
                kind: tuple(Channel(**channel) for channel in attributes[f"{kind}_channels"])
                for kind in ("action", "proprioception")
            }
        proprioception = observations.pop("proprioception", None)
        trajectory = Trajectory(
            index=index,
            images=images,
            actions=demo["actions"][()],
            rewards=demo["rewards"][()],
            metadata=metadata_of(attributes, file.attrs["format_version"]),
            proprioception=None if proprioception is None else proprioception[()],
            action_channels=channels["action"],
            proprioception_channels=channels["proprioception"],
            observations={name: values[()] for name, values in observations.items()},
            expert_actions=demo["expert_actions"][()] if "expert_actions" in demo else None,
        )
    except DAMAGED as error:
        raise DatasetError(
            f"{path}: trajectory {index} cannot be read ({error}); "
            "delete the file and make it again: ptp collect fills the gap"
        ) from error
    trajectory.check()
    stored = attributes.get("content_sha256")
    if stored is not None and stored != trajectory.content_hash():
        raise DatasetError(
            f"{path}: trajectory {index} is not what was stored: the file is damaged, or was "
            "changed by hand without removing the attribute content_sha256; collect it again"
        )
    return trajectory, attributes


def read_attributes(demo: h5py.Group) -> dict[str, Any]:
    """The attributes of one trajectory as plain values."""
    attributes = {}
    for name, value in demo.attrs.items():
        value = value.item() if isinstance(value, np.generic) else value
        attributes[name] = parse_json(value) if name in AS_JSON else value
    return attributes


def metadata_of(attributes: dict[str, Any], version: int) -> Metadata:
    """Metadata from the attributes of a trajectory. Raises DatasetError where they are wrong."""
    values = {name: value for name, value in attributes.items() if name not in OWN}
    if version == 1:
        # Only `ptp import-bag` wrote a source: the name of the bag.
        recording = values.pop("source", None)
        if recording is not None:
            values["recording"] = recording
        elif "seed" in values:
            values["source"] = "scripted"
    return Metadata.from_attributes(values)


def open_file(path: Path) -> h5py.File:
    """Open for reading; DatasetError for a truncated file or an unknown version."""
    try:
        file = open_hdf5(path)
    except OSError as error:
        raise cannot_open(path, error) from error
    except ValueError as error:
        raise DatasetError(f"{path}: refused as a data set ({error})") from error
    try:
        check_version(path, file.attrs.get("format"), file.attrs.get("format_version"))
    except DatasetError:
        file.close()
        raise
    except DAMAGED as error:
        file.close()
        raise DatasetError(f"{path}: refused as a data set ({error})") from error
    return file


def check_version(path: Path, name: Any, version: Any) -> None:
    """Raise DatasetError unless this program can read the format version."""
    if name != FORMAT or version not in READABLE:
        raise DatasetError(
            f"{path}: format {name} version {version}; this program reads {FORMAT} version "
            f"{' and '.join(map(str, READABLE))}: collect or import the data again"
        )


def demo_indices(path: Path) -> list[int]:
    """Indices of the trajectories in a file."""
    return list(demo_lengths(path))


def demo_lengths(path: Path) -> dict[int, int]:
    """Number of steps of each trajectory by its index, from the attributes."""
    with open_file(path) as file:
        try:
            return {
                int(name.removeprefix("demo_")): int(demo.attrs["num_samples"])
                for name, demo in file["data"].items()
            }
        except DAMAGED as error:
            raise DatasetError(f"{path}: not a data set ({error})") from error
