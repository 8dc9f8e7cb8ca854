# SPDX-License-Identifier: Apache-2.0
"""Teleoperation devices: what all of them have, a keyboard, and twists of another program."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from ptp_core.errors import InputError, quoted
from ptp_robot.action import ActionScale

__all__ = ["EPISODE", "Button", "Keyboard", "Move", "TeleopDevice", "Twist"]


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


EARLY = 0.1  # s that a stamp may lie ahead of our clock


class Twist(TeleopDevice):
    """Turns velocities in the base frame into moves; see `TeleopDevice`.

    Fresh stamps are the dead-man switch. A velocity whose stamp is older than
    ``patience``, or that is not finite, counts as released.

    Args:
        period: time of one command [s]: the motion is velocity times period.
        frame: that velocities must be in.
        scale: largest motion of one command.
        patience: how old a velocity may become [s].

    """

    def __init__(
        self,
        period: float,
        frame: str,
        scale: ActionScale | None = None,
        patience: float = 0.3,
    ) -> None:
        super().__init__(patience)
        self._frame = frame
        scale = scale or ActionScale()
        self._to_action = period / np.array([*[scale.translation] * 3, scale.rotation])

    @staticmethod
    def describe() -> str:
        """One line for the person behind the other program."""
        return (
            "linear x, y, z: forward, left, up [m/s]; angular z: turn left [rad/s]; each needs a "
            "fresh stamp; nothing for a while: the arm holds"
        )

    def read(
        self, frame: str, linear: Sequence[float], yaw_rate: float, age: float, now: float
    ) -> None:
        """Take a velocity (3,) [m/s] and [rad/s] with a stamp ``age`` [s] old.

        Raises InputError for one in another frame, stale, from the future or not finite; it
        counts as released.
        """
        velocity = np.array([*linear, yaw_rate], dtype=np.float64)
        self._let_go()
        if frame != self._frame:
            raise InputError(
                f"the velocity is in frame {quoted(frame)}; {quoted(self._frame)} is expected"
            )
        if not np.isfinite(velocity).all():
            raise InputError("the velocity is not finite")
        if not -EARLY <= age <= self._patience:
            when = f"{age:.2f} s old" if age > 0 else f"{-age:.2f} s ahead"
            raise InputError(
                f"the velocity's stamp is {when}; at most {self._patience:g} s old is allowed: "
                "stamp each one when it is sent, and set both machines' clocks"
            )
        # Its time starts at the stamp, so that a delay does not extend the motion.
        self._take(velocity * self._to_action, now - max(age, 0.0))

    def read_gripper(self, gripper: float) -> None:
        """Take an opening, -1 open to +1 closed, for the moves from now on; InputError."""
        if not (np.isfinite(gripper) and -1.0 <= gripper <= 1.0):
            raise InputError(f"the gripper is {gripper:g}; it lies between -1 and 1")
        self._gripper = float(gripper)
