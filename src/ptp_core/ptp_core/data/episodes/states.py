# SPDX-License-Identifier: Apache-2.0
"""What a recorder may be doing, be told, and answer."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from ptp_core.data.episodes.store import Entry
from ptp_core.errors import EpisodeError

MEGABYTE = 1_000_000


class State(IntEnum):
    """Numbered as in RecorderStatus."""

    IDLE = 0
    RECORDING = 1
    WAITING = 2
    FAULT = 3


class Verdict(IntEnum):
    """Numbered as in FinishEpisode."""

    SAVE_SUCCESS = 0
    SAVE_FAILURE = 1
    SAVE_UNLABELLED = 2
    DISCARD = 3
    STOP = 4
    RERECORD = 5


LABEL_OF = {
    Verdict.SAVE_SUCCESS: "success",
    Verdict.SAVE_FAILURE: "failure",
    Verdict.SAVE_UNLABELLED: "unlabelled",
}


@dataclass(frozen=True)
class Limits:
    """Room that a recorder may use."""

    min_free: int = 500  # MB that must stay free on the disk
    queue: int = 64  # MB that may wait for the disk

    def check(self, folder: Path) -> None:
        """Raise EpisodeError when the disk of ``folder`` has too little room left."""
        free = shutil.disk_usage(folder).free // MEGABYTE
        if free < self.min_free:
            raise EpisodeError(
                f"{folder}: {free} MB are free, {self.min_free} MB must stay: free some space"
            )


@dataclass(frozen=True)
class Status:
    """What the recorder does; fields as in RecorderStatus."""

    state: State
    episode_id: str
    steps: int
    episodes: int
    dropped: int
    bytes_free: int
    seconds: float
    error: str


@dataclass(frozen=True)
class Outcome:
    """How a recording ended: confirmed as ``entry``, or not, with the ``error`` or without."""

    entry: Entry | None = None
    path: Path | None = None
    steps: int = 0
    error: str = ""
