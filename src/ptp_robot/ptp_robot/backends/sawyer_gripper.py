# SPDX-License-Identifier: Apache-2.0
"""Rethink's electric gripper, an I/O device of the robot: its commands and its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ptp_robot.backends.backend import BackendError
from ptp_robot.backends.handshake import Handshakes
from ptp_robot.backends.sawyer_config import STROKE
from ptp_robot.backends.sawyer_messages import (
    acknowledged,
    gripper_command,
    ros_time,
    signals_of,
)
from ptp_robot.backends.sawyer_topics import GRIPPER_COMMAND

__all__ = ["Gripper"]

UNIT = 1e-6  # s; two commands never share a stamp, which is their number


class Gripper:
    """State and requests of the gripper on one connection.

    A command is repeated until its stamp is among those that the gripper acknowledged.
    """

    def __init__(self, handshakes: Handshakes, patience: float, stroke: float = STROKE) -> None:
        """``patience`` [s] until a command counts as lost; ``stroke`` [m] between the fingers."""
        self._handshakes = handshakes
        self._patience = patience
        self._stroke = stroke
        self._message: Mapping[str, Any] = {}
        self._signals: dict[str, Any] = {}
        self._number = 0.0  # stamp of the last command

    def hear(self, message: Mapping[str, Any]) -> None:
        """Update with the gripper's state, perhaps only sent on changes. Raises BadMessage."""
        self._signals = signals_of(message)
        self._message = message

    def opening(self) -> float | None:
        """Measured opening, -1 open .. +1 closed; None: unknown."""
        position = self._signals.get("position_response_m")
        if isinstance(position, bool) or not isinstance(position, (int, float)):
            return None
        if not np.isfinite(position):
            return None
        return float(np.clip(1.0 - 2.0 * position / self._stroke, -1.0, 1.0))

    @property
    def calibrated(self) -> bool:
        """Whether it knows its end stops; without them it does not reach commanded openings."""
        return bool(self._signals.get("is_calibrated", True))

    def grip(self, opening: float, now: float, seconds: float) -> None:
        """Request an opening, -1 open .. +1 closed. ``seconds`` since the epoch.

        Raises BackendError: not a number, no gripper, or not ready.
        """
        if not np.isfinite(opening):
            raise BackendError(f"the gripper cannot be sent to {opening}")
        if not self._message:
            raise BackendError(
                "the gripper says nothing: check that it is mounted and powered, or set "
                '`gripper: "none"`'
            )
        if self._signals.get("has_error"):
            raise BackendError("the gripper reports an error: reboot it from the robot's menu")
        if not self.calibrated:
            raise BackendError(
                "the gripper is not calibrated: take away what it holds, then calibrate it, "
                "from the robot's menu or with `calibrate_gripper: true`"
            )
        position = self._stroke * (1.0 - float(np.clip(opening, -1.0, 1.0))) / 2.0
        self._set("position_m", "float", position, now, seconds)

    def calibrate(self, now: float, seconds: float) -> None:
        """Let it find its end stops, which takes seconds; nothing may be between the fingers."""
        self._set("calibrate", "bool", True, now, seconds)

    def _set(self, signal: str, kind: str, value: Any, now: float, seconds: float) -> None:
        self._number = max(seconds, self._number + UNIT)
        stamp = ros_time(self._number)
        self._handshakes.ask(
            "gripper",
            GRIPPER_COMMAND,
            gripper_command(stamp, signal, kind, value),
            lambda: acknowledged(self._message, stamp),
            now,
            self._patience,
            "gripper commands that were not acknowledged",
        )
