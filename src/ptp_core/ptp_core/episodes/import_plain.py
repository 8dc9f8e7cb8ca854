# SPDX-License-Identifier: Apache-2.0
"""Read plain bags, which other recorders wrote, for the import: image, twist, gripper, states."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ptp_core.data.trajectory import CAMERA, CARTESIAN
from ptp_core.episodes.action_alignment import decision_times, displacements, newest_before
from ptp_core.episodes.bag_mapping import BagMapping
from ptp_core.episodes.bag_reader import check_received, open_bag
from ptp_core.episodes.import_filter import Candidate
from ptp_core.episodes.plain_topics import (
    PAUSE,
    ImageTrack,
    Picture,
    Track,
    check_stamps,
    read_tracks,
    take_starts,
)
from ptp_core.episodes.recording_audit import age_figures


@dataclass
class _Steps:
    """Decisions of all takes, concatenated: the time and the commanded motion of each."""

    times: np.ndarray  # (T,) s
    moved: np.ndarray  # (T, 4) m and rad
    starts: list[int] = field(default_factory=list)  # first steps of the takes
    seconds: float = 0.0  # of all takes, without the pauses between them


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
