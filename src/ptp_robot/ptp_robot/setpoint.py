# SPDX-License-Identifier: Apache-2.0
"""Where the tool is told to be: commands add up to it, on a leash to where the tool is."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from ptp_robot.action import CartesianDelta
from ptp_robot.limits import Limits

__all__ = ["Setpoint", "yaw_of"]

# The solver may miss by its tolerance; the setpoint stays that much inside of the box.
INSET = 2e-4  # m


def yaw_of(rotation: np.ndarray) -> float:
    """Yaw [rad] of a tool that points down, from its rotation (3, 3) in the base frame."""
    return math.atan2(-rotation[1, 0], -rotation[0, 0])


class Setpoint:
    """The law by which commands move the arm.

    ``measured``: measured pose plus motion, the law of the simulator, the demonstrations and
    other stacks. ``setpoint``: the last setpoint plus motion, so that a lag of the arm neither
    shrinks motions nor lets the arm creep; the leash keeps it near the arm, and a setpoint beyond
    its end starts anew from the measured pose.
    """

    def __init__(self, reference: Literal["setpoint", "measured"], limits: Limits) -> None:
        low, high = limits.box
        self._low, self._high = low + INSET, high - INSET
        self._reference = reference
        self._leash, self._leash_turn = limits.leash, limits.leash_turn
        self.position = np.zeros(3)  # m, base frame
        self.yaw = 0.0  # rad

    def anchor(self, position: np.ndarray, yaw: float) -> None:
        """Be where the tool is; outside of the box, at its nearest point."""
        self.position, self.yaw = np.clip(position, self._low, self._high), yaw

    def add(self, delta: CartesianDelta, position: np.ndarray, yaw: float) -> bool:
        """Add a motion, with the tool measured at this pose; whether it was cut short."""
        away = self.position - position
        turned = math.remainder(self.yaw - yaw, 2 * math.pi)
        lost = np.linalg.norm(away) > self._leash or abs(turned) > self._leash_turn
        if lost or self._reference == "measured":
            away, turned = np.zeros(3), 0.0
        away = away + delta.translation
        length = float(np.linalg.norm(away))
        if length > self._leash:
            away *= self._leash / length
        turn = turned + delta.dyaw
        held = min(max(turn, -self._leash_turn), self._leash_turn)
        wanted = position + away
        self.position = np.clip(wanted, self._low, self._high)
        self.yaw = yaw + held
        cut = np.abs(self.position - wanted).max() > 2 * INSET
        return bool(length > self._leash or held != turn or cut)
