# SPDX-License-Identifier: Apache-2.0
"""Teleoperation devices: moves under a dead-man switch, and buttons."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

import numpy as np

__all__ = ["EPISODE", "Button", "Move", "TeleopDevice"]


class Button(Enum):
    """Requests of buttons; the value is their text for a person."""

    REARM = "give the arm back"
    START = "start an episode"
    SUCCESS = "save it as success"
    FAILURE = "save it as failure"
    DISCARD = "discard it"
    RERECORD = "discard it and record it again"
    RESET = "set up the next scene"
    NEXT = "start an episode, or save it as success"  # for devices with few buttons


EPISODE = (Button.START, Button.SUCCESS, Button.FAILURE, Button.DISCARD, Button.RERECORD)


@dataclass(frozen=True)
class Move:
    """The person's current command."""

    action: np.ndarray  # float32 (5,) in [-1, 1]: dx, dy, dz, dyaw, gripper (-1 open, +1 closed)
    dead_man: bool  # False once after the release: the arm holds position


class TeleopDevice:
    """Base of every device. Times are of one steady clock [s].

    A device that is silent for ``patience`` counts as released: it may be unplugged, or its
    battery empty. A subclass reads its device and calls ``_take``, ``_let_go`` and ``_press``.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._gripper = -1.0  # open
        self._motion = np.zeros(4)  # dx, dy, dz, dyaw in [-1, 1]
        self._held = self._moving = False
        self._time: float | None = None
        self._down: frozenset[Button] = frozenset()
        self._presses: list[Button] = []

    def move(self, now: float) -> Move | None:
        """Return the command now; None while the switch is not held."""
        if self.holds(now):
            self._moving = True
            return Move(np.append(self._motion, self._gripper).astype(np.float32), True)
        if self._moving:
            self._moving = False
            return Move(np.array([0, 0, 0, 0, self._gripper], dtype=np.float32), False)
        return None

    def take_presses(self) -> list[Button]:
        """Return the buttons that were pressed since the last call, in order."""
        presses, self._presses = self._presses, []
        return presses

    def _take(self, motion: np.ndarray, now: float) -> None:
        """Note the motion (4,) while the switch is held; it is clipped to [-1, 1]."""
        self._motion = np.clip(motion, -1.0, 1.0)
        self._held, self._time = True, now

    def holds(self, now: float) -> bool:
        """Whether the switch is held and the device is not silent."""
        return self._held and self._time is not None and now - self._time <= self._patience

    def _let_go(self) -> None:
        self._held = False

    def _press(self, button: Button) -> None:
        self._presses.append(button)

    def _now_down(self, buttons: Collection[Button]) -> None:
        """Note the buttons that are down now; those that were up before count as pressed."""
        self._presses += [button for button in buttons if button not in self._down]
        self._down = frozenset(buttons)
