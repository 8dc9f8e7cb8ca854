# SPDX-License-Identifier: Apache-2.0
"""Joint gate: the last limiter, which every joint position sent to a robot passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from ptp_robot.kinematics import SawyerKinematics
from ptp_robot.limits import Limits

__all__ = ["JointBox", "JointGate"]

SHRINKS = 4  # times that a step is halved to keep the box before it is given up
SLACK = 1e-9  # m


class JointBox:
    """Where the tool point may be: the box, less the no-go boxes."""

    def __init__(self, limits: Limits) -> None:
        self.low, self.high = limits.box
        self._no_go = [(np.array(b[:3], float), np.array(b[3:], float)) for b in limits.no_go]

    def violation(self, position: np.ndarray) -> float:
        """How far a point (3,) is outside [m]; 0 inside."""
        outside = max(np.max(self.low - position), np.max(position - self.high), 0.0)
        for low, high in self._no_go:
            depth = min(np.min(position - low), np.min(high - position))
            outside = max(outside, depth)
        return float(outside)

    def room(self, position: np.ndarray, direction: np.ndarray) -> float:
        """Distance [m] to the nearest of the faces that a motion (3,) comes closer to."""
        gaps = np.where(direction > 0, self.high - position, position - self.low)
        gaps = gaps[np.abs(direction) > 1e-3]  # along a face is not towards it
        return float(max(gaps.min(), 0.0)) if gaps.size else math.inf


def remembered(kinematics: SawyerKinematics) -> Callable[[np.ndarray], tuple]:
    """`forward` with a cache of recent results, as each cycle needs the same ones repeatedly."""

    @lru_cache(maxsize=8)
    def look(key: bytes) -> tuple[np.ndarray, np.ndarray]:
        position, rotation = kinematics.forward(np.frombuffer(key))
        position.flags.writeable = rotation.flags.writeable = False  # others share them
        return position, rotation

    return lambda q: look(np.asarray(q, dtype=np.float64).tobytes())


class JointGate:
    """Shortens each step until it keeps every limit, and keeps its direction.

    A step goes straight towards its goal in joint space, by so much of the way that no joint is
    faster than its limit, faster by more than its acceleration, or nearer to its end than the
    margin; that the tool is not faster than its limits; and that the tool does not leave the box.
    A tool that starts outside of it comes no further out. Slowing down is not limited: an arm may
    always stop.
    """

    def __init__(self, kinematics: SawyerKinematics, limits: Limits) -> None:
        self.box = JointBox(limits)
        self.forward = remembered(kinematics)
        self._limits = limits
        self._low = kinematics.lower + limits.joint_margin
        self._high = kinematics.upper - limits.joint_margin
        self.top_speed = kinematics.velocity * limits.joint_speed_ratio  # (n,) rad/s
        self.acceleration = np.array(limits.joint_acceleration, dtype=np.float64)

    def step(
        self, q: np.ndarray, dq: np.ndarray, goal: np.ndarray, dt: float, ratio: float = 1.0
    ) -> np.ndarray:
        """Joints (n,) [rad] after ``dt`` [s] on the way from ``q``, moving with ``dq``, to goal.

        ``ratio``: part of the joints' speed limits.
        """
        way = goal - q
        if not np.isfinite(way).all() or dt <= 0.0:
            return q.copy()
        part = self._part(q, dq, way, dt, ratio)
        if part <= 0.0:
            return q.copy()
        position, rotation = self.forward(q)
        outside = self.box.violation(position)
        for _ in range(SHRINKS):
            reached = q + part * way
            there, turned = self.forward(reached)
            excess = self._excess(position, rotation, there, turned, dt)
            if excess > 1.0:
                part *= 0.999 / excess
                continue
            if self.box.violation(there) <= outside + (SLACK if outside else 0.0):
                return reached
            part *= 0.5
        return q.copy()

    def _part(
        self, q: np.ndarray, dq: np.ndarray, way: np.ndarray, dt: float, ratio: float
    ) -> float:
        """Largest part of the way that keeps the joints' limits."""
        away = np.abs(way)
        speed = np.minimum(self.top_speed * ratio, self._limits.joint_step / dt)
        along = np.maximum(dq * np.sign(way), 0.0)  # a joint that turns back starts from rest
        speed = np.minimum(speed, along + self.acceleration * dt)
        room = np.where(way > 0, self._high - q, q - self._low)
        most = np.minimum(speed * dt, np.maximum(room, 0.0))
        moving = away > 1e-12
        return min(1.0, float((most[moving] / away[moving]).min())) if moving.any() else 0.0

    def _excess(self, position, rotation, there, turned, dt: float) -> float:
        """How many times faster than allowed the tool would be."""
        fast = float(np.linalg.norm(there - position)) / (self._limits.speed * dt)
        cosine = 0.5 * (float(np.sum(rotation * turned)) - 1.0)
        angle = math.acos(min(max(cosine, -1.0), 1.0))
        return max(fast, angle / (self._limits.turn_speed * dt))
