# SPDX-License-Identifier: Apache-2.0
"""Force guard: contact forces at the tool, and the reaction to them, for robots with a wrench."""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np

from ptp_robot.limits import Limits

__all__ = ["ForceGuard", "Touch"]


class Touch(IntEnum):
    """Reactions to the contact force."""

    FREE = 0
    WARN = 1  # no motion further into the contact
    RETREAT = 2  # stop and go up
    STOP = 3  # the robot's hardest stop


class ForceGuard:
    """Evaluates raw wrenches; the wrench at rest in free space is the weight of the tool.

    The wrench is the one that acts on the tool, in the base frame: a tool pressed onto the table
    is pushed up. Estimates from joint torques are off by several newtons.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._offset: np.ndarray | None = None
        self._samples: list[np.ndarray] = []
        self._since: float | None = None  # when the first of them came
        self._wanted = False
        self._time: float | None = None
        self.wrench = np.zeros(6)  # N and N m, tared and low-passed
        self.valid = False

    @property
    def taring(self) -> bool:
        """Whether it is taring, for which the arm must hold position."""
        return self._since is not None

    def tare(self) -> None:
        """Take the next wrenches as the weight of the tool."""
        self._samples, self._since, self._wanted = [], None, True

    def update(self, raw: np.ndarray | None, now: float) -> Touch:
        """Update with the newest wrench (6,); None or not finite: none is measured."""
        if raw is None or not np.isfinite(raw).all():
            self.valid, self._time, self._since = False, None, None
            return Touch.FREE
        if self._wanted:
            if self._since is None:
                self._samples, self._since = [], now
            self._samples.append(np.array(raw, dtype=np.float64))
            if now - self._since < self._limits.tare_time:
                return Touch.FREE
            self._offset = np.mean(self._samples, axis=0)
            self._wanted, self._since, self._time = False, None, None
        if self._offset is None:
            return Touch.FREE
        felt = raw - self._offset
        if self._time is None:
            self.wrench = felt
        else:
            dt = max(now - self._time, 0.0)
            share = 1.0 - math.exp(-2.0 * math.pi * self._limits.force_cutoff * dt)
            self.wrench = self.wrench + share * (felt - self.wrench)
        self.valid, self._time = True, now
        return self._touch()

    @property
    def force(self) -> float:
        """Contact force [N]; 0 where none is measured."""
        return float(np.linalg.norm(self.wrench[:3])) if self.valid else 0.0

    def into_contact(self, motion: np.ndarray) -> np.ndarray:
        """The motion (3,) without its component against the contact force."""
        direction = self.wrench[:3] / max(self.force, 1e-9)
        against = min(float(motion @ direction), 0.0)
        return motion - against * direction

    def _touch(self) -> Touch:
        levels = (self._limits.force_warn, self._limits.force_retreat, self._limits.force_stop)
        return Touch(sum(self.force > level for level in levels))
