# SPDX-License-Identifier: Apache-2.0
"""What the topics of somebody else's bag say, read through a mapping and checked as it comes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader

from ptp_core.data.episodes.bag_reader import check_types
from ptp_core.data.episodes.episode import nanoseconds
from ptp_core.data.episodes.mapping import BagMapping, look_up
from ptp_core.data.episodes.stamps import Track
from ptp_core.errors import ConfigError, EpisodeError, InputError

EXPECTED = {  # types
    "image": ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"),
    "twist": ("geometry_msgs/msg/TwistStamped", "geometry_msgs/msg/Twist"),
}
Picture = Callable[[Any], np.ndarray]
Convert = Callable[[Any], Any]


class Pictures:
    """Makes pictures of image messages and counts those that are none."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self.bad = 0
        self.reason = ""  # of the first bad one

    def __call__(self, message: Any) -> np.ndarray | None:
        """Picture uint8 (S, S, 3); None for a message that cannot be read."""
        try:
            pixels = self._picture(message)
            if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
                raise InputError(f"a picture became {pixels.dtype} {pixels.shape}")
        except Exception as error:  # decoders raise many things for odd bytes
            return self.miss(error)
        return pixels

    def miss(self, error: Exception) -> None:
        """Count a picture that cannot be read."""
        self.bad += 1
        self.reason = self.reason or " ".join(str(error).split()) or type(error).__name__


def read_tracks(
    reader: AnyReader, mapping: BagMapping, pictures: Pictures, path: Path
) -> tuple[dict[str, Track], str]:
    """Tracks by use ("image", "twist", "gripper", "state NAME"), and the frame of the commands.

    A picture that cannot be read is left out. Raises EpisodeError where a topic is missing, of
    another or of an unknown type, or where its frame, its joints or the number of its values
    change, ConfigError where the mapping does not fit the messages.
    """
    tracks: dict[str, Track] = {}
    frame = ""
    for use, topic, convert in _uses(mapping, pictures):
        connections = [c for c in reader.connections if c.topic == topic and c.msgcount]
        if not connections:
            there = ", ".join(sorted({c.topic for c in reader.connections})) or "nothing"
            raise EpisodeError(f"{path}: no message on {topic} ({use}); the bag has {there}")
        kinds = sorted({c.msgtype for c in connections})
        if len(kinds) > 1:
            raise EpisodeError(f"{path}: {topic} is of several types: {', '.join(kinds)}")
        expected = EXPECTED.get(use, kinds)
        if kinds[0] not in expected:
            raise EpisodeError(f"{path}: {topic} is {kinds[0]}, not {' or '.join(expected)}")
        check_types(reader, connections, path)
        same = _Same(use, topic, path)
        track = tracks[use] = Track()
        for connection, received, data in reader.messages(connections):
            try:
                message = reader.deserialize(data, connection.msgtype)
            except Exception as error:  # odd bytes raise many things
                if use == "image":
                    pictures.miss(error)
                    continue
                raise EpisodeError(
                    f"{path}: {topic}: message {len(track.values)} cannot be decoded ({error})"
                ) from None
            same.check(message)
            try:
                value = convert(message)
            except InputError as error:
                raise EpisodeError(f"{path}: {topic}: {error}") from None
            if value is not None:
                track.values.append(value)
                track.received.append(received * 1e-9)
                track.stamps.append(_stamp(message) * 1e-9)
        if not track.values:
            raise EpisodeError(
                f"{path}: {topic}: none of {pictures.bad} pictures can be read: {pictures.reason}"
            )
        if mapping.clock == "receive" or not any(track.stamps):
            track.stamps = list(track.received)  # without a header, or a driver that fills none
        if len({np.shape(value) for value in track.values}) > 1:
            raise EpisodeError(f"{path}: {topic}: the number of values changes within the bag")
        if use == "twist":
            frame = same.frame or ""
    wanted = mapping.twist.frame
    if wanted and frame != wanted:
        raise EpisodeError(
            f'{path}: {mapping.twist.topic} is in the frame "{frame}", twist.frame is "{wanted}"'
        )
    _check_before(mapping, tracks, path)
    return tracks, frame


def _uses(mapping: BagMapping, pictures: Pictures) -> list[tuple[str, str, Convert]]:
    uses: list[tuple[str, str, Convert]] = [
        ("image", mapping.image.topic, pictures),
        ("twist", mapping.twist.topic, lambda m: _twist(m, mapping)),
    ]
    if mapping.gripper.topic:
        uses.append(
            ("gripper", mapping.gripper.topic, lambda m: _number(m, mapping.gripper.value))
        )
    for state in mapping.states:
        name, value = f"state {state.name}", state.value
        uses.append((name, state.topic, lambda m, value=value: _numbers(m, value)))
    return uses


class _Same:
    """What must stay as it is within one topic: the frame, and which joint is where."""

    def __init__(self, use: str, topic: str, path: Path) -> None:
        self._use, self._topic, self._path = use, topic, path
        self._joints: tuple[str, ...] | None = None
        self.frame: str | None = None
        self._count = 0

    def check(self, message: Any) -> None:
        header = getattr(message, "header", None)
        frame = None if header is None else header.frame_id
        names = getattr(message, "name", None)
        joints = tuple(names) if isinstance(names, (list, tuple)) else None
        if self._count == 0:
            self.frame, self._joints = frame, joints
        if frame != self.frame:
            raise EpisodeError(
                f"{self._path}: the frame of {self._topic} ({self._use}) changes from "
                f'"{self.frame}" to "{frame}" at message {self._count}: all must be in one'
            )
        if joints != self._joints:
            raise EpisodeError(
                f"{self._path}: the joints of {self._topic} ({self._use}) change from "
                f"{', '.join(self._joints or ())} to {', '.join(joints or ())} at message "
                f"{self._count}: give each publisher a topic of its own"
            )
        self._count += 1


def _stamp(message: Any) -> int:
    """Header stamp [ns]; 0 where there is none."""
    return nanoseconds(message.header.stamp) if hasattr(message, "header") else 0


def _twist(message: Any, mapping: BagMapping) -> np.ndarray:
    """Velocity (4,): m/s along x, y, z and rad/s about z."""
    twist = getattr(message, "twist", message)
    linear, angular = twist.linear, twist.angular
    speeds = np.array([linear.x, linear.y, linear.z, angular.z])
    return speeds * ([mapping.twist.scale] * 3 + [mapping.twist.turn_scale])


def _number(message: Any, path: str) -> float:
    value = look_up(message, path)
    if np.ndim(value):
        raise ConfigError(f'gripper.value "{path}" is a list: name one of it, {path}[0]')
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ConfigError(f'gripper.value "{path}" is {value!r}, no number') from None


def _numbers(message: Any, path: str) -> np.ndarray:
    value = look_up(message, path)
    try:
        return np.atleast_1d(np.asarray(value, np.float64))
    except (TypeError, ValueError):
        raise ConfigError(f'a state\'s value "{path}" is no number and no list of them') from None


def _check_before(mapping: BagMapping, tracks: dict[str, Track], path: Path) -> None:
    for state in mapping.states:
        size = tracks[f"state {state.name}"].values[0].size
        if state.before is not None and len(state.before) not in (1, size):
            raise ConfigError(
                f"{path}: {state.name} has {size} values, its before {len(state.before)}"
            )
