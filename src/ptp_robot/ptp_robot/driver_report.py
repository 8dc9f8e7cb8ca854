# SPDX-License-Identifier: Apache-2.0
"""What an arm driver says of itself: its states, its counts, what happened since it was asked."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

import numpy as np

from ptp_robot.backends.base import Reading
from ptp_robot.command import Command

__all__ = ["Counts", "Interval", "LoopMeter", "News", "State"]

KEEPS = 0.9  # share of its cycles below which a loop misses its rate


class State(IntEnum):
    """What the driver does; the numbers are those of the DriverState message."""

    DISCONNECTED = 0
    DISABLED = 1
    READY = 2
    ACTIVE = 3
    INTERVENTION = 4
    HOLD = 5
    RESETTING = 6
    FAULT = 7


@dataclass
class Counts:
    """Commands since the start."""

    accepted: int = 0
    refused: int = 0
    clamped: int = 0
    late: int = 0  # answers to pictures that are answered, too old or unknown
    held_off: int = 0  # of a source that had to wait for another


@dataclass
class News:
    """What commands did since the last picture."""

    command: Command | None = None  # the last that was carried out
    latency: float = 0.0  # s, of that one
    clamped: bool = False
    error: str = ""  # why another was refused


@dataclass(frozen=True)
class Interval:
    """What happened since the picture before: see the ArmState message."""

    reading: Reading | None  # newest measured joints; None: none yet
    position: np.ndarray  # tool point (3,), m
    yaw: float  # rad
    setpoint: tuple[np.ndarray, float]
    command: Command | None  # the last that was carried out; None: none was
    latency: float  # s
    holding: bool
    taken_over: bool
    clamped: bool
    error: str  # of the last command or input that was refused; empty: none


class LoopMeter:
    """Rate and worst period of the last second."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self._began: float | None = None  # of what `missed` looks at
        self._cycles, self._longest, self._last = 0, 0.0, 0.0

    def tick(self, now: float) -> None:
        """A cycle begins."""
        self._times.append(now)
        while self._times[0] < now - 1.0:
            self._times.popleft()
        if self._began is None:
            self._began = now
        else:
            self._cycles += 1
            self._longest = max(self._longest, now - self._last)
        self._last = now

    def missed(self, period: float) -> str:
        """Once a second, or once in two slow cycles: what a loop of this period [s] has missed.

        Empty while it keeps its rate.
        """
        if self._began is None or self._last - self._began < max(1.0, 2.0 * period):
            return ""
        seconds, cycles, longest = self._last - self._began, self._cycles, self._longest
        self._began, self._cycles, self._longest = self._last, 0, 0.0
        if cycles >= KEEPS * seconds / period:
            return ""
        return (
            f"{cycles / seconds:.1f} cycles a second instead of {1.0 / period:.1f}, the longest "
            f"took {longest * 1e3:.0f} ms: the machine is too busy, see ptp doctor"
        )

    @property
    def rate(self) -> float:
        """Hz; 0 before the second cycle."""
        if len(self._times) < 2:
            return 0.0
        return (len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-9)

    @property
    def worst(self) -> float:
        """Longest period [s]; 0 before the second cycle."""
        times = list(self._times)
        return max((b - a for a, b in pairwise(times)), default=0.0)
