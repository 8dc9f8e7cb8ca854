# SPDX-License-Identifier: Apache-2.0
"""How a Sawyer's joints answer its joint commands; gravity, load and controller are ideal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["FakeArm"]


class FakeArm:
    """Seven joints. A velocity ends by the robot's own timeout; a position is gone to, on and on.

    Time is that of `advance`.
    """

    def __init__(
        self, q: Sequence[float], lower: np.ndarray, upper: np.ndarray, velocity: np.ndarray
    ) -> None:
        """Start at q (7,) [rad]; limits (7,) in rad, rad, rad/s."""
        self.q = np.array(q, dtype=np.float64)
        self.dq = np.zeros_like(self.q)
        self.lower, self.upper, self.velocity = lower, upper, velocity
        self.timeout = 0.2  # s, the robot's default
        self.speed_ratio = 0.3  # the robot's default; position mode alone
        self._target: np.ndarray | None = None
        self._wanted = np.zeros_like(self.q)
        self._left = 0.0  # s that the velocity still holds

    def move(self, dq: np.ndarray) -> None:
        """Follow dq (7,) [rad/s] until the timeout."""
        self._wanted = np.clip(dq, -self.velocity, self.velocity)
        self._target, self._left = None, self.timeout

    def go(self, q: np.ndarray) -> None:
        """Go to q (7,) [rad]."""
        self._target = np.clip(q, self.lower, self.upper)
        self._left = 0.0

    def halt(self) -> None:
        """Stand still, and forget what was commanded."""
        self._target, self._left = None, 0.0
        self.dq = np.zeros_like(self.q)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        if self._target is not None:
            reach = self.speed_ratio * self.velocity * seconds
            step = np.clip(self._target - self.q, -reach, reach)
        else:
            moving = min(self._left, seconds)
            self._left -= moving
            step = self._wanted * moving
        before = self.q
        self.q = np.clip(before + step, self.lower, self.upper)
        self.dq = (self.q - before) / seconds
