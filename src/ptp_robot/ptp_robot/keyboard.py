# SPDX-License-Identifier: Apache-2.0
"""Keyboard teleoperation: a terminal's keys to motions of the tool."""

from __future__ import annotations

import re

import numpy as np

from ptp_robot.teleoperation import Button, TeleopDevice

__all__ = ["Keyboard"]

# Key -> dx, dy, dz, dyaw of a full push. The base frame has x forward and y left (REP 103).
MOTIONS = {
    "w": (1, 0, 0, 0),
    "s": (-1, 0, 0, 0),
    "a": (0, 1, 0, 0),
    "d": (0, -1, 0, 0),
    "r": (0, 0, 1, 0),
    "f": (0, 0, -1, 0),
    "q": (0, 0, 0, 1),
    "e": (0, 0, 0, -1),
}
ARROWS = {"\x1b[A": "w", "\x1b[B": "s", "\x1b[D": "a", "\x1b[C": "d"}
GRIPPER = {"c": 1.0, "o": -1.0}
REQUESTS = {
    "1": Button.START,
    "2": Button.SUCCESS,
    "3": Button.FAILURE,
    "4": Button.DISCARD,
    "5": Button.RERECORD,
    "6": Button.RESET,
    "0": Button.REARM,
}
# An escape sequence is one key.
KEYS = re.compile(r"\x1b[\[O][0-9;]*[A-Za-z~]|.", re.DOTALL)


class Keyboard(TeleopDevice):
    """Turns keys into moves; see `TeleopDevice`.

    A terminal reports pressed keys, but no releases. A held key repeats, and counts as held for
    ``patience`` after each repetition, which is the dead-man switch. Any other key stops at once.
    """

    def __init__(self, patience: float = 0.25) -> None:
        super().__init__(patience)
        self._last: dict[str, float] = {}  # motion key -> when it was seen

    @staticmethod
    def describe() -> str:
        """One line for the person who types."""
        asked = "; ".join(f"{key}: {what.value}" for key, what in REQUESTS.items())
        return (
            "hold a key to move: w s or arrows up down: forward back; a d or arrows left right: "
            "left right; r f: up down; q e: turn; c o: close, open; any other key: stop; "
            f"{asked}"
        )

    def read(self, text: str, now: float) -> None:
        """Take keys from the terminal; keys that were read together count as pressed now."""
        for key in KEYS.findall(text):
            key = ARROWS.get(key.replace("\x1bO", "\x1b["), key)
            if key in MOTIONS:
                self._last[key] = now
                self._take(np.zeros(4), now)
            elif key in GRIPPER:
                self._gripper = GRIPPER[key]
                self._take(np.zeros(4), now)
            else:
                self._last.clear()
                self._let_go()
                if key in REQUESTS:
                    self._press(REQUESTS[key])

    def move(self, now: float):
        """Return what to command now; see `TeleopDevice.move`. Keys held together add up."""
        fresh = [key for key, seen in self._last.items() if now - seen <= self._patience]
        self._motion = np.clip(np.sum([MOTIONS[key] for key in fresh] or [[0] * 4], 0), -1, 1)
        return super().move(now)
