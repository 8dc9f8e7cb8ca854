# SPDX-License-Identifier: Apache-2.0
"""Read plain bags, which other recorders wrote, for the import: image, twist, gripper, states.

The topics are read through a mapping, and their stamps are checked. Each decision gets the newest
image before it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader

from ptp_core.data.trajectory import CAMERA, CARTESIAN
from ptp_core.episodes.bag_mapping import BagMapping, look_up
from ptp_core.episodes.bag_reader import BACK, check_received, check_types, open_bag
from ptp_core.episodes.episode import nanoseconds
from ptp_core.episodes.import_filter import Candidate
from ptp_core.episodes.session_store import age_figures
from ptp_core.errors import ConfigError, EpisodeError, InputError, quoted

APART = 0.5  # s; clocks of two topics that differ by more make a bag unusable
PAUSE = 5.0  # s without image and command that separate two takes
LATCHED = 1.0  # s after the first message in which latched messages arrive
CURE = "set clock: receive in the mapping to take the times of arrival"

EXPECTED = {  # types of a topic's messages, by use
    "image": ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"),
    "twist": ("geometry_msgs/msg/TwistStamped", "geometry_msgs/msg/Twist"),
}
Picture = Callable[[Any], np.ndarray]
Convert = Callable[[Any], Any]


def read_plain(path: Path, mapping: BagMapping, picture: Picture) -> Candidate:
    """Read the candidate of one bag; ``picture`` makes uint8 (S, S, 3) of an image message.

    Each decision gets the newest image and the newest gripper and state values before it. Before
    the first value, it gets the mapping's ``before``, or is refused. Raises EpisodeError where a
    topic is missing or its stamps are impossible, ConfigError where the mapping does not fit the
    messages.
    """
    pictures = ImageTrack(picture)
    with open_bag(path) as reader:
        tracks, frame = read_tracks(reader, mapping, pictures, path)
        check_received(reader, mapping.topics, path)
    if mapping.clock == "header":
        check_stamps(tracks, path)
    image_times, images = tracks["image"].sorted()
    twist_times, twists = tracks["twist"].sorted()
    # A gap within which an image or a command is still valid is no pause.
    pause = max(PAUSE, 2 * mapping.image.max_age, 2 * mapping.twist.timeout)
    begin, gaps = take_starts(image_times, twist_times, pause)
    steps = _decide(twist_times, twists, begin, mapping)
    scale = np.array([mapping.translation] * 3 + [mapping.rotation])
    actions = np.empty((len(steps.times), len(CARTESIAN)))
    actions[:, :4] = steps.moved / scale
    chosen = newest_before(image_times, steps.times)
    ages = steps.times - image_times[np.maximum(chosen, 0)]
    refused: list[str | None] = [None] * len(actions)
    _refuse(refused, chosen < 0, "there is no picture yet")
    _refuse(
        refused,
        ages > mapping.image.max_age,
        f"the picture is older than {mapping.image.max_age:g} s",
    )
    actions[:, 4] = _gripper(tracks.get("gripper"), mapping, steps.times, refused)
    observations = {}
    for state in mapping.states:
        stamps, values = tracks[f"state {state.name}"].sorted()
        index = newest_before(stamps, steps.times)
        observations[state.name] = values[np.maximum(index, 0)]
        if state.before is None:
            _refuse(refused, index < 0, f"there is no {state.name} yet")
        else:
            observations[state.name][index < 0] = state.before
    return Candidate(
        name=path.name,
        images={CAMERA: images},
        shown=np.maximum(chosen, 0),
        starts=tuple(steps.starts),
        actions=actions,
        refused=refused,
        attributes={"primitive": "demonstration", "success": True, "label": "success"},
        observations=observations,
        figures={
            "label": "success",
            "seconds": round(steps.seconds, 3),
            "rate_hz": round(len(actions) / steps.seconds, 3) if steps.seconds else None,
            **_camera(image_times, begin),
            "image_age_s": age_figures(ages[chosen >= 0]),
            "bad_images": pictures.bad,
            "bad_image_reason": pictures.reason,
            "gaps_s": [round(gap, 3) for gap in gaps],
            "frame": frame,
        },
        translation=mapping.translation,
        rotation=mapping.rotation,
        frame=frame,
    )


@dataclass
class Track:
    """Messages of one topic in the order of arrival: stamps, times of receipt [s] and values."""

    stamps: list[float] = field(default_factory=list)
    received: list[float] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Stamps and values in the order of the stamps."""
        order = np.argsort(self.stamps, kind="stable")
        return np.asarray(self.stamps)[order], np.asarray(self.values)[order]


class ImageTrack:
    """Converts image messages to arrays and counts unreadable ones."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self.bad = 0
        self.reason = ""  # of the first unreadable one

    def __call__(self, message: Any) -> np.ndarray | None:
        """Image uint8 (S, S, 3); None for a message that cannot be read."""
        try:
            pixels = self._picture(message)
            if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
                raise InputError(f"a picture became {pixels.dtype} {pixels.shape}")
        except Exception as error:  # decoders raise many types for damaged bytes
            return self.miss(error)
        return pixels

    def miss(self, error: Exception) -> None:
        """Count an image that cannot be read."""
        self.bad += 1
        self.reason = self.reason or " ".join(str(error).split()) or type(error).__name__


def read_tracks(
    reader: AnyReader, mapping: BagMapping, pictures: ImageTrack, path: Path
) -> tuple[dict[str, Track], str]:
    """Tracks by use ("image", "twist", "gripper", "state NAME"), and the frame of the commands.

    Unreadable images are left out. Raises EpisodeError where a topic is missing, of
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
            except Exception as error:  # damaged bytes raise many types
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
            track.stamps = list(track.received)  # without a header, or with an empty one
        if len({np.shape(value) for value in track.values}) > 1:
            raise EpisodeError(f"{path}: {topic}: the number of values changes within the bag")
        if use == "twist":
            frame = same.frame or ""
    wanted = mapping.twist.frame
    if wanted and frame != wanted:
        raise EpisodeError(
            f"{path}: {mapping.twist.topic} is in the frame {quoted(frame)}, "
            f"twist.frame is {quoted(wanted)}"
        )
    _check_before(mapping, tracks, path)
    return tracks, frame


def check_stamps(tracks: Mapping[str, Track], path: Path) -> None:
    """Raise EpisodeError, which names the topic, for impossible stamps.

    ``tracks`` by use; the clock of "twist" is the reference for the others.
    """
    for use, track in tracks.items():
        if len(track.stamps) > 1 and len(set(track.stamps)) == 1:
            raise EpisodeError(
                f"{path}: all {len(track.stamps)} stamps of {use} are the same; {CURE}"
            )
    for use, track in tracks.items():
        if use != "twist":
            _check_clock(use, track, tracks["twist"], path)
    for use, track in tracks.items():
        _check_forward(use, track, path)
    _check_together(tracks, path)


def take_starts(
    images: np.ndarray, twists: np.ndarray, pause: float = PAUSE
) -> tuple[np.ndarray, list[float]]:
    """Stamps (K,) at which takes begin, and the K - 1 gaps [s] between them.

    A take ends where neither an image nor a command is stamped for ``pause`` s: the recording
    was paused, or a clock was set forward.
    """
    stamps = np.sort(np.concatenate([images, twists]))
    gaps = np.diff(stamps)
    cuts = np.flatnonzero(gaps > pause)
    return np.concatenate([stamps[:1], stamps[cuts + 1]]), [float(gap) for gap in gaps[cuts]]


def newest_before(stamps: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Index of the newest of ``stamps`` (M,) not later than each of ``times`` (T,); -1: none.

    A later one is never taken, as a policy could not have seen it.
    """
    return np.searchsorted(stamps, times, side="right") - 1


def decision_times(stamps: np.ndarray, rate: float) -> np.ndarray:
    """Times [s] of decisions, and the end of the last decision: (T + 1,).

    ``rate`` 0: one decision for each command; the last one lasts as long as the median of the
    others. Else one every 1/rate s from the first command to the last.
    """
    if len(stamps) < 2:
        return np.empty(0)
    if rate == 0.0:
        return np.append(stamps, stamps[-1] + np.median(np.diff(stamps)))
    count = int((stamps[-1] - stamps[0]) * rate + 1e-6)
    return stamps[0] + np.arange(count + 1) / rate


def displacements(
    stamps: np.ndarray, velocities: np.ndarray, times: np.ndarray, timeout: float
) -> np.ndarray:
    """Commanded motion between successive ``times`` (T + 1,): (T, D).

    A velocity (M, D) holds from its stamp until the next one, at most ``timeout`` s.
    """
    ends = np.minimum(np.append(stamps[1:], np.inf), stamps + timeout)
    # Integral up to a time: whole commands before it, and a part of the current one.
    whole = np.concatenate(
        [np.zeros((1, velocities.shape[1])), np.cumsum(velocities * (ends - stamps)[:, None], 0)]
    )
    index = newest_before(stamps, times)
    running = np.clip(index, 0, None)
    part = np.minimum(times, ends[running]) - stamps[running]
    inside = whole[running] + velocities[running] * part[:, None]
    return np.diff(np.where(index[:, None] < 0, 0.0, inside), axis=0)


@dataclass
class _Steps:
    """Decisions of all takes, concatenated: the time and the commanded motion of each."""

    times: np.ndarray  # (T,) s
    moved: np.ndarray  # (T, 4) m and rad
    starts: list[int] = field(default_factory=list)  # first steps of the takes
    seconds: float = 0.0  # of all takes, without the pauses between them


def _decide(
    stamps: np.ndarray, twists: np.ndarray, begin: np.ndarray, mapping: BagMapping
) -> _Steps:
    """Decisions within each take; the pause between two takes has none."""
    found = _Steps(np.empty(0), np.empty((0, 4)))
    edges = np.append(np.searchsorted(stamps, begin), len(stamps))
    for first, last in itertools.pairwise(edges):
        inside = slice(int(first), int(last))
        times = decision_times(stamps[inside], mapping.rate)
        if len(times) < 2:
            continue
        moved = displacements(stamps[inside], twists[inside], times, mapping.twist.timeout)
        found.starts.append(len(found.times))
        found.times = np.concatenate([found.times, times[:-1]])
        found.moved = np.concatenate([found.moved, moved])
        found.seconds += float(times[-1] - times[0])
    return found


def _refuse(refused: list[str | None], where: np.ndarray, reason: str) -> None:
    for step in np.flatnonzero(where):
        refused[step] = refused[step] or reason


def _gripper(
    track: Track | None, mapping: BagMapping, times: np.ndarray, refused: list[str | None]
) -> np.ndarray:
    """Command at each time, -1 open to +1 closed; the mapping's ``before`` until the first one."""
    if track is None:
        return np.full(len(times), -1.0)
    stamps, values = track.sorted()
    index = newest_before(stamps, times)
    reading = values[np.maximum(index, 0)]
    if mapping.gripper.before is None:
        _refuse(refused, index < 0, "the gripper was not told yet: gripper.before is not set")
        reading = np.where(index < 0, mapping.gripper.open, reading)
    else:
        reading = np.where(index < 0, mapping.gripper.before, reading)
    part = (reading - mapping.gripper.open) / (mapping.gripper.closed - mapping.gripper.open)
    return np.clip(2.0 * part - 1.0, -1.0, 1.0)  # NaN stays


def _camera(times: np.ndarray, begin: np.ndarray) -> dict[str, float | None]:
    """Images per second and the longest gap between two [s], within the takes."""
    edges = np.append(np.searchsorted(times, begin), len(times))
    gaps = [np.diff(times[a:b]) for a, b in itertools.pairwise(edges)]
    gaps = np.concatenate(gaps) if gaps else np.empty(0)
    seconds = float(gaps.sum())
    return {
        "image_rate_hz": round(len(gaps) / seconds, 3) if seconds > 0 else None,
        "longest_image_gap_s": round(float(gaps.max(initial=0.0)), 4),
    }


def _check_clock(use: str, track: Track, twist: Track, path: Path) -> None:
    """Raise EpisodeError for different clocks, by the median offset of simultaneous messages."""
    near = _nearest(np.asarray(twist.received), np.asarray(track.received))
    delays = np.subtract(track.received, track.stamps)
    apart = float(np.median(delays - np.subtract(twist.received, twist.stamps)[near]))
    if abs(apart) > APART and not (len(delays) == 1 and _latched(track, twist)):
        raise EpisodeError(
            f"{path}: the stamps of {use} and twist are of clocks {abs(apart):.1f} s apart: set "
            "clock: receive in the mapping"
        )


def _check_forward(use: str, track: Track, path: Path) -> None:
    stamps = np.asarray(track.stamps)
    backwards = np.maximum.accumulate(stamps) - stamps
    found = np.flatnonzero(backwards > BACK)
    if len(found):
        number = int(found[0])
        raise EpisodeError(
            f"{path}: the stamps of {use} go back by {backwards[number]:.6g} s at its message "
            f"{number}, {track.received[number] - track.received[0]:.1f} s after its first: the "
            f"clock was reset or set, or one stamp is wild; record it again, or {CURE}"
        )


def _check_together(tracks: Mapping[str, Track], path: Path) -> None:
    """Raise EpisodeError for a message much older than an earlier one of another topic."""
    uses = list(tracks)
    which = np.concatenate([np.full(len(tracks[use].stamps), i) for i, use in enumerate(uses)])
    number = np.concatenate([np.arange(len(tracks[use].stamps)) for use in uses])
    stamps = np.concatenate([tracks[use].stamps for use in uses])
    received = np.concatenate([tracks[use].received for use in uses])
    order = np.argsort(received, kind="stable")
    behind = np.maximum.accumulate(stamps[order]) - stamps[order]
    # A latched topic repeats its last message at the start of the recording.
    repeated = (number[order] == 0) & (received[order] - received.min() < LATCHED)
    found = np.flatnonzero((behind > APART) & ~repeated)
    if len(found):
        late = order[found[0]]
        ahead = order[: found[0]][np.argmax(stamps[order[: found[0]]])]
        raise EpisodeError(
            f"{path}: {received[late] - received.min():.1f} s after the first message the stamps "
            f"of {uses[which[late]]} fall {behind[found[0]]:.6g} s behind those of "
            f"{uses[which[ahead]]}: a clock jumped, or one stamp is wild; record it again, or "
            f"{CURE}"
        )


def _latched(track: Track, twist: Track) -> bool:
    return track.received[0] < twist.received[0] + LATCHED and track.stamps[0] < twist.stamps[0]


def _nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Index of the one of ``times`` (M,), ascending, that is nearest to each wanted (T,)."""
    after = np.clip(np.searchsorted(times, wanted), 1, max(len(times) - 1, 1))
    after = np.minimum(after, len(times) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(wanted - times[before] <= times[after] - wanted, before, after)


def _uses(mapping: BagMapping, pictures: ImageTrack) -> list[tuple[str, str, Convert]]:
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
    """Checks that frame and joint order of a topic never change."""

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
                f"{quoted(self.frame)} to {quoted(frame)} at message "
                f"{self._count}: all must be in one"
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
        raise ConfigError(f"gripper.value {quoted(path)} is a list: name one of it, {path}[0]")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ConfigError(f"gripper.value {quoted(path)} is {value!r}, no number") from None


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
