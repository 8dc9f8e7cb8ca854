# SPDX-License-Identifier: Apache-2.0
"""Make steps of ours of another program's episode, through the mapping that bags have, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ptp_core.data.trajectory import CAMERA, CARTESIAN
from ptp_core.episodes.bag_mapping import BagMapping, ColumnMapping
from ptp_core.episodes.import_filter import Candidate
from ptp_core.errors import ConfigError, DatasetError, quoted
from ptp_core.exchange.column_episode import ColumnEpisode

Picture = Callable[[np.ndarray], np.ndarray]
ALL = "all"  # value of a state that takes every dimension of its column
ONE = "data"  # the only dimension of a column: the default of gripper.value


def read_columns(episode: ColumnEpisode, mapping: BagMapping, picture: Picture) -> Candidate:
    """The candidate of one episode; ``picture`` makes uint8 (S, S, 3) of an image.

    Decisions are ``mapping.rate`` a second: every k-th row, whose motion is that of k rows. Raises
    ConfigError where the mapping names what the episode lacks, or its rate does not divide the
    episode's.
    """
    columns = mapping.check_for_columns(", ".join(sorted(episode.columns)))
    stride = _stride(episode, mapping)
    count = episode.length // stride
    rows = np.arange(count) * stride
    moved = _moved(episode, columns, rows, stride)
    actions = np.full((count, len(CARTESIAN)), -1.0)  # without a gripper, it stays open
    actions[:, :4] = moved / ([mapping.translation] * 3 + [mapping.rotation])
    if mapping.gripper.topic:
        reading = _dimension(episode, mapping.gripper.topic, mapping.gripper.value)[rows]
        span = mapping.gripper.closed - mapping.gripper.open
        actions[:, 4] = np.clip(2 * (reading - mapping.gripper.open) / span - 1, -1, 1)
    own = columns.proprioception
    proprioception = _wide(_column(episode, own))[rows].astype(np.float32) if own else None
    attributes = {"primitive": "demonstration", "instruction": episode.task}
    if episode.success is not None:
        attributes["success"] = episode.success
    return Candidate(
        name=episode.name,
        images={CAMERA: _images(episode, mapping.image.topic, stride, count, picture)},
        actions=actions,
        refused=[None] * count,
        attributes=attributes,
        observations={
            state.name: _state(episode, state.topic, state.value)[rows] for state in mapping.states
        },
        figures={"image_rate_hz": None if episode.fps is None else episode.fps / stride},
        translation=mapping.translation,
        rotation=mapping.rotation,
        proprioception=proprioception,
        proprioception_names=_names(episode, own, proprioception) if own else (),
    )


def _stride(episode: ColumnEpisode, mapping: BagMapping) -> int:
    """Rows of a decision."""
    if mapping.rate == 0.0:
        return 1
    if episode.fps is None:
        raise ConfigError(
            "the data set does not say how many rows a second it has: set rate: 0 in the mapping "
            "for a decision at each row"
        )
    stride = round(episode.fps / mapping.rate)
    if stride < 1 or abs(episode.fps / stride - mapping.rate) > 1e-3 * mapping.rate:
        raise ConfigError(
            f"rate is {mapping.rate:g}, the data set has {episode.fps:g} rows a second: choose "
            f"{episode.fps:g} divided by a whole number, or 0 for a decision at each row"
        )
    return stride


def _moved(
    episode: ColumnEpisode, columns: ColumnMapping, rows: np.ndarray, stride: int
) -> np.ndarray:
    """Motion (T, 4) of each decision: m along x, y and z, rad about z."""
    scale = np.array([columns.scale] * 3 + [columns.turn_scale])
    value = _motion(episode, columns.action, columns.motion) * scale
    if columns.means == "velocity":
        if episode.fps is None:
            raise ConfigError("columns.means is velocity, and the data set has no rate: use delta")
        value = value / episode.fps
    if columns.means != "pose":
        ends = np.concatenate([np.zeros((1, 4)), np.cumsum(value, 0)])
        return ends[rows + stride] - ends[rows]
    if columns.measured:
        dimensions = columns.measured_motion or columns.motion
        before = _motion(episode, columns.measured, dimensions)[rows] * scale
    else:
        before = value[np.maximum(rows - 1, 0)]
    moved = value[rows + stride - 1] - before
    moved[:, 3] = (moved[:, 3] + np.pi) % (2 * np.pi) - np.pi  # the shorter way round
    return moved


def _motion(episode: ColumnEpisode, name: str, dimensions: Sequence[int | str]) -> np.ndarray:
    values = np.zeros((episode.length, 4))
    for number, dimension in enumerate(dimensions):
        if dimension != "":
            values[:, number] = _dimension(episode, name, dimension)
    return values


def _column(episode: ColumnEpisode, name: str) -> np.ndarray:
    if name not in episode.columns:
        raise ConfigError(
            f"there is no column {quoted(name)}; the data set has "
            f"{', '.join(sorted(episode.columns))}"
        )
    return episode.columns[name]


def _dimension(episode: ColumnEpisode, name: str, dimension: int | str) -> np.ndarray:
    """One dimension (T,) of a column, by its name or number."""
    values = _wide(_column(episode, name))
    names = episode.names.get(name, ())
    if dimension in names:
        return values[:, names.index(dimension)]
    if dimension == ONE and values.shape[1] == 1:
        return values[:, 0]
    numbered = isinstance(dimension, int) or str(dimension).isdecimal()
    if numbered and 0 <= int(dimension) < values.shape[1]:
        return values[:, int(dimension)]
    said = f": {', '.join(names)}" if names else ", without names"
    raise ConfigError(
        f"column {quoted(name)} has no dimension {quoted(dimension)}; it has "
        f"{values.shape[1]}{said}"
    )


def _state(episode: ColumnEpisode, name: str, value: str) -> np.ndarray:
    if value == ALL:
        return _wide(_column(episode, name))
    return _dimension(episode, name, value)[:, None]


def _wide(values: np.ndarray) -> np.ndarray:
    return values if values.ndim == 2 else values[:, None]


def _names(episode: ColumnEpisode, name: str, values: np.ndarray) -> tuple[str, ...]:
    names = episode.names.get(name, ())
    if len(names) == values.shape[1]:
        return names
    return tuple(f"{name.rpartition('/')[2]}_{number}" for number in range(values.shape[1]))


def _images(
    episode: ColumnEpisode, camera: str, stride: int, count: int, picture: Picture
) -> np.ndarray:
    """The image of each decision, uint8 (T, S, S, 3)."""
    if camera not in episode.frames:
        raise ConfigError(
            f"there is no camera {quoted(camera)}; the data set has "
            f"{', '.join(sorted(episode.frames)) or 'none'}: name it in image.topic"
        )
    found = [
        picture(pixels)
        for number, pixels in enumerate(episode.frames[camera]())
        if number % stride == 0 and number // stride < count
    ]
    if len(found) != count:
        raise DatasetError(f"{len(found)} images of {camera} for {count} decisions")
    return np.stack(found) if found else np.zeros((0, 1, 1, 3), np.uint8)
