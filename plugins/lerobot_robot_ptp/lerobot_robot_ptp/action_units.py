# SPDX-License-Identifier: Apache-2.0
"""What the numbers of an action stand for. Neither LeRobot nor ROS is needed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ACTION = ("dx", "dy", "dz", "dyaw", "gripper")  # each in [-1, 1]
# The same as LeRobot's features: lerobot-rollout 0.6.1 gives an arm only .vel and .pos.
FEATURES = ("dx.vel", "dy.vel", "dz.vel", "dyaw.vel", "gripper.pos")
FRAME = "base"  # of the velocities: the arm's mount


@dataclass(frozen=True)
class ActionUnits:
    """What an action of 1 asks for in one step."""

    translation: float = 0.05  # m
    rotation: float = 0.0872664626  # rad
    rate: float = 10.0  # steps a second, Hz

    def check(self, action: Sequence[float]) -> np.ndarray:
        """The action (5,) cut to [-1, 1]. ValueError for another shape or a number not finite."""
        values = np.asarray(action, np.float64)
        if values.shape != (len(ACTION),) or not np.isfinite(values).all():
            raise ValueError(f"an action is 5 finite numbers, not {values.tolist()}: none is sent")
        return np.clip(values, -1.0, 1.0)

    def velocity(self, action: np.ndarray) -> np.ndarray:
        """(vx, vy, vz) [m/s] and yaw rate [rad/s] of an action (5,)."""
        return np.asarray(action[:4]) * self._scale

    def motion(self, velocity: Sequence[float]) -> np.ndarray:
        """Inverse of `velocity`: the first four numbers of an action, not cut."""
        return np.asarray(velocity, np.float64) / self._scale

    @property
    def _scale(self) -> np.ndarray:
        return np.array([*[self.translation] * 3, self.rotation]) * self.rate
