# SPDX-License-Identifier: Apache-2.0
"""Whether the stamps of a bag's topics can be put on one time line, message by message.

A world that is reset, a clock that is set, a driver that never fills the stamp: each would mix
what happened at different times. Nothing here depends on how fast simulated time runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ptp_core.data.episodes.bag_order import BACK
from ptp_core.errors import EpisodeError

APART = 0.5  # s between the clocks of two topics from which on a bag makes no sense
PAUSE = 5.0  # s without picture and command: what follows is another take
LATCHED = 1.0  # s after the first message within which a topic's last message is repeated
CURE = "set clock: receive in the mapping to take the times of arrival"


@dataclass
class Track:
    """What came on one topic, in the order of arrival: stamps and receipts [s], and values."""

    stamps: list[float] = field(default_factory=list)
    received: list[float] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Stamps and values in the order of the stamps."""
        order = np.argsort(self.stamps, kind="stable")
        return np.asarray(self.stamps)[order], np.asarray(self.values)[order]


def check_stamps(tracks: Mapping[str, Track], path: Path) -> None:
    """Raise EpisodeError that names the topic whose stamps cannot be.

    ``tracks`` by use; "twist" has the clock that the others are compared with.
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


def _check_clock(use: str, track: Track, twist: Track, path: Path) -> None:
    """Two clocks differ when messages that came together are stamped apart, half the time."""
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
    """No message may be much older than another topic's that came before it."""
    uses = list(tracks)
    which = np.concatenate([np.full(len(tracks[use].stamps), i) for i, use in enumerate(uses)])
    number = np.concatenate([np.arange(len(tracks[use].stamps)) for use in uses])
    stamps = np.concatenate([tracks[use].stamps for use in uses])
    received = np.concatenate([tracks[use].received for use in uses])
    order = np.argsort(received, kind="stable")
    behind = np.maximum.accumulate(stamps[order]) - stamps[order]
    # What a topic said last before the recording comes again at its start.
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


def take_starts(
    images: np.ndarray, twists: np.ndarray, pause: float = PAUSE
) -> tuple[np.ndarray, list[float]]:
    """Stamps (K,) at which takes begin, and the K - 1 gaps [s] between them.

    A take ends where neither a picture nor a command is stamped for ``pause`` s: the recording
    was paused, or a clock was set forward.
    """
    stamps = np.sort(np.concatenate([images, twists]))
    gaps = np.diff(stamps)
    cuts = np.flatnonzero(gaps > pause)
    return np.concatenate([stamps[:1], stamps[cuts + 1]]), [float(gap) for gap in gaps[cuts]]
