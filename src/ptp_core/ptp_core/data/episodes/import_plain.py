# SPDX-License-Identifier: Apache-2.0
"""Somebody else's bag as a candidate for a data set: image, twist, gripper, states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader

from ptp_core.data.episodes.align import decision_times, displacements, newest_before
from ptp_core.data.episodes.audit import age_figures
from ptp_core.data.episodes.bag_reader import open_bag
from ptp_core.data.episodes.candidate import Candidate
from ptp_core.data.episodes.episode import nanoseconds
from ptp_core.data.episodes.mapping import BagMapping, look_up
from ptp_core.errors import ConfigError, EpisodeError, InputError
from ptp_core.shapes import ACTION_DIM

EXPECTED = {  # types
    "image": ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"),
    "twist": ("geometry_msgs/msg/TwistStamped", "geometry_msgs/msg/Twist"),
}
CLOCKS_APART = 0.5  # s between the clocks of two topics from which on a bag makes no sense
Picture = Callable[[Any], np.ndarray]


@dataclass
class _Track:
    """What came on one topic: times [s], values, and how long each was under way [s]."""

    times: list[float] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)

    def sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Times and values in the order of the times."""
        order = np.argsort(self.times, kind="stable")
        return np.asarray(self.times)[order], np.asarray(self.values)[order]


def read_plain(path: Path, mapping: BagMapping, picture: Picture) -> Candidate:
    """Candidate of one bag; ``picture`` makes uint8 (48, 48, 3) of an image message.

    Each decision gets the newest picture that was there by then, never a later one. Raises
    EpisodeError where a topic is missing or the clocks of two topics differ, ConfigError where
    the mapping does not fit the messages.
    """
    with open_bag(path) as reader:
        tracks = _read(reader, mapping, picture, path)
    if mapping.clock == "header":
        _check_clocks(tracks, path)
    image_times, images = tracks["image"].sorted()
    twist_times, twists = tracks["twist"].sorted()
    times = decision_times(twist_times, mapping.rate)
    steps = max(len(times) - 1, 0)
    moved = displacements(twist_times, twists, times, mapping.twist.timeout)
    scale = np.array([mapping.translation] * 3 + [mapping.rotation])
    actions = np.empty((steps, ACTION_DIM))
    actions[:, :4] = moved[:steps] / scale
    refused: list[str | None] = [None] * steps
    actions[:, 4] = _gripper(tracks, mapping, times[:steps])
    chosen = newest_before(image_times, times[:steps])
    ages = times[:steps] - image_times[np.maximum(chosen, 0)]
    for step in range(steps):
        if chosen[step] < 0:
            refused[step] = "there is no picture yet"
        elif ages[step] > mapping.image.max_age:
            refused[step] = f"the picture is older than {mapping.image.max_age:g} s"
    observations = {}
    for state in mapping.states:
        stamps, values = tracks[f"state {state.name}"].sorted()
        index = newest_before(stamps, times[:steps])
        observations[state.name] = values[np.maximum(index, 0)]
        for step in np.flatnonzero(index < 0):
            refused[step] = refused[step] or f"there is no {state.name} yet"
    seconds = float(times[-1] - times[0]) if steps else 0.0
    return Candidate(
        name=path.name,
        images=images[np.maximum(chosen, 0)],
        actions=actions,
        refused=refused,
        attributes={"primitive": "demonstration", "success": True, "label": "success"},
        observations=observations,
        figures={
            "label": "success",
            "seconds": round(seconds, 3),
            "rate_hz": round(steps / seconds, 3) if seconds else None,
            "image_rate_hz": _rate(image_times),
            "longest_image_gap_s": round(float(np.diff(image_times).max(initial=0.0)), 4),
            "image_age_s": age_figures(ages[chosen >= 0]),
        },
        translation=mapping.translation,
        rotation=mapping.rotation,
    )


def _read(
    reader: AnyReader, mapping: BagMapping, picture: Picture, path: Path
) -> dict[str, _Track]:
    uses: list[tuple[str, str, Callable[[Any], Any]]] = [
        ("image", mapping.image.topic, picture),
        ("twist", mapping.twist.topic, lambda m: _twist(m, mapping)),
    ]
    if mapping.gripper.topic:
        uses.append(
            ("gripper", mapping.gripper.topic, lambda m: _number(m, mapping.gripper.value))
        )
    for state in mapping.states:
        name, value = f"state {state.name}", state.value
        uses.append((name, state.topic, lambda m, value=value: _numbers(m, value)))
    tracks: dict[str, _Track] = {}
    for use, topic, convert in uses:
        connections = [c for c in reader.connections if c.topic == topic and c.msgcount]
        if not connections:
            there = ", ".join(sorted(c.topic for c in reader.connections)) or "nothing"
            raise EpisodeError(f"{path}: no message on {topic} ({use}); the bag has {there}")
        kind = connections[0].msgtype
        expected = EXPECTED.get(use, (kind,))
        if kind not in expected:
            raise EpisodeError(f"{path}: {topic} is {kind}, not {' or '.join(expected)}")
        track = tracks[use] = _Track()
        for connection, received, data in reader.messages(connections):
            message = reader.deserialize(data, connection.msgtype)
            stamp = received
            if mapping.clock == "header" and hasattr(message, "header"):
                stamp = nanoseconds(message.header.stamp) or received
            try:
                track.values.append(convert(message))
            except InputError as error:
                raise EpisodeError(f"{path}: {topic}: {error}") from None
            track.times.append(stamp * 1e-9)
            track.delays.append((received - stamp) * 1e-9)
        shapes = {np.shape(value) for value in track.values}
        if len(shapes) > 1:
            raise EpisodeError(f"{path}: {topic}: the number of values changes within the bag")
    return tracks


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
    return float(value)


def _numbers(message: Any, path: str) -> np.ndarray:
    return np.atleast_1d(np.asarray(look_up(message, path), np.float64))


def _gripper(tracks: dict[str, _Track], mapping: BagMapping, times: np.ndarray) -> np.ndarray:
    """Command at each time, -1 open to +1 closed; before the first one, that one."""
    track = tracks.get("gripper")
    if track is None:
        return np.full(len(times), -1.0)
    stamps, values = track.sorted()
    reading = values[np.maximum(newest_before(stamps, times), 0)]
    part = (reading - mapping.gripper.open) / (mapping.gripper.closed - mapping.gripper.open)
    return np.clip(2.0 * part - 1.0, -1.0, 1.0)  # NaN stays


def _check_clocks(tracks: dict[str, _Track], path: Path) -> None:
    delays = {use: float(np.median(track.delays)) for use, track in tracks.items()}
    first, last = min(delays, key=delays.get), max(delays, key=delays.get)
    if delays[last] - delays[first] > CLOCKS_APART:
        raise EpisodeError(
            f"{path}: the stamps of {first} and {last} are of clocks "
            f"{delays[last] - delays[first]:.1f} s apart: set clock: receive in the mapping"
        )


def _rate(times: np.ndarray) -> float | None:
    span = float(times[-1] - times[0])
    return round((len(times) - 1) / span, 3) if span > 0 else None
