# SPDX-License-Identifier: Apache-2.0
"""Teleoperation devices: keyboard, gamepad, SpaceMouse, and twists of another program."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from enum import Enum

import numpy as np

from ptp_core.errors import InputError, quoted
from ptp_robot.action import ActionScale

__all__ = [
    "EPISODE",
    "Button",
    "Gamepad",
    "GamepadMapping",
    "Keyboard",
    "Move",
    "SpaceMouse",
    "SpaceMouseMapping",
    "TeleopDevice",
    "Twist",
]


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


@dataclass(frozen=True)
class GamepadMapping:
    """Functions of axes and buttons; defaults: Xbox layout of ROS's joy node.

    An axis reads +1 with the stick up or left. The base frame has x forward and y left (REP 103).
    Buttons below ``button_rearm`` only work while the dead-man switch is released, so that they
    can also move the gripper while it is held.
    """

    axis_x: int = 1  # left stick, up: forward
    axis_y: int = 0  # left stick, left: left
    axis_z: int = 4  # right stick, up: up
    axis_yaw: int = 3  # right stick, left: turn left
    button_dead_man: int = 4  # LB, held while moving
    button_close: int = 0  # A
    button_open: int = 1  # B
    button_rearm: int = 7  # Start: give the arm back to the policy
    button_start: int = 3  # Y: start an episode
    button_success: int = 0  # A
    button_failure: int = 1  # B
    button_discard: int = 2  # X
    button_rerecord: int = 5  # RB
    button_reset: int = 6  # Back: set up the next scene
    dead_zone: float = 0.1  # of an axis; sticks never rest at 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.dead_zone < 1.0:
            raise InputError(f"dead_zone is {self.dead_zone}; it lies between 0 and 1")
        for field in fields(self):
            if field.name != "dead_zone" and getattr(self, field.name) < 0:
                raise InputError(f"{field.name} is {getattr(self, field.name)}; axes start at 0")
        for number, count in Counter([self.button_dead_man, *self.requests().values()]).items():
            if count > 1:
                raise InputError(f"button {number} has two meanings: give each one of its own")

    def axes(self) -> tuple[int, ...]:
        """Axes of dx, dy, dz, dyaw."""
        return (self.axis_x, self.axis_y, self.axis_z, self.axis_yaw)

    def requests(self) -> dict[Button, int]:
        """Number of the button for each request."""
        return {
            Button.REARM: self.button_rearm,
            Button.START: self.button_start,
            Button.SUCCESS: self.button_success,
            Button.FAILURE: self.button_failure,
            Button.DISCARD: self.button_discard,
            Button.RERECORD: self.button_rerecord,
            Button.RESET: self.button_reset,
        }

    def describe(self) -> str:
        """One line for the person who holds it."""
        asked = "; ".join(f"{number}: {what.value}" for what, number in self.requests().items())
        return (
            f"hold button {self.button_dead_man} to move; axes {self.axis_x}, {self.axis_y}, "
            f"{self.axis_z}: forward, left, up; axis {self.axis_yaw}: turn; buttons "
            f"{self.button_close}, {self.button_open}: close, open; with button "
            f"{self.button_dead_man} let go, buttons {asked}"
        )


class Gamepad(TeleopDevice):
    """Turns readings of a gamepad into moves; see `TeleopDevice`."""

    def __init__(self, mapping: GamepadMapping | None = None, patience: float = 0.2) -> None:
        super().__init__(patience)
        self.mapping = mapping or GamepadMapping()

    def read(self, axes: Sequence[float], buttons: Sequence[int], now: float) -> None:
        """Take a reading.

        Raises InputError for one that the mapping does not fit or that is not finite; it counts
        as released.
        """
        mapping = self.mapping
        chosen, requests = mapping.axes(), mapping.requests()
        hand = (mapping.button_dead_man, mapping.button_close, mapping.button_open)
        highest = max(*hand, *requests.values())
        self._let_go()
        if max(chosen) >= len(axes) or highest >= len(buttons):
            raise InputError(
                f"the gamepad has {len(axes)} axes and {len(buttons)} buttons, the mapping names "
                f"axis {max(chosen)} and button {highest}: set the parameters for this one"
            )
        sticks = np.array([axes[index] for index in chosen], dtype=np.float64)
        if not np.isfinite(sticks).all():
            raise InputError("the gamepad sent an axis that is not finite")
        dead_man, close, open_ = (bool(buttons[index]) for index in hand)
        down = {what for what, number in requests.items() if buttons[number]}
        if dead_man:
            if close != open_:
                self._gripper = 1.0 if close else -1.0
            self._down |= down  # still held when the switch is released: not a press
            size = np.abs(sticks.clip(-1, 1))
            beyond = np.maximum(size - mapping.dead_zone, 0) / (1 - mapping.dead_zone)
            self._take(np.sign(sticks) * beyond, now)
        else:
            self._now_down([what for what in requests if what in down])


SHORT = {(True, False): None, (False, True): Button.NEXT, (True, True): Button.DISCARD}
LONG = {
    (True, False): Button.RESET,
    (False, True): Button.FAILURE,
    (True, True): Button.RERECORD,
}


@dataclass(frozen=True)
class SpaceMouseMapping:
    """Functions of cap and buttons; every SpaceMouse has at least two buttons.

    The cap springs back when it is released, so that pushing it is the dead-man switch.
    """

    full: float = 0.68  # reading of the cap pushed all the way: 350 of spacenav's full_scale 512
    dead_zone: float = 0.1  # part of the way around rest: a hand that only rests there
    left: int = 0
    right: int = 1
    rearm: int = 2  # third button, where there is one
    long_press: float = 0.6  # s

    def __post_init__(self) -> None:
        if not (np.isfinite(self.full) and self.full > 0.0):
            raise InputError(f"full is {self.full}; the cap's largest reading is positive")
        if not 0.0 <= self.dead_zone < 1.0:
            raise InputError(f"dead_zone is {self.dead_zone}; it lies between 0 and 1")
        if not self.long_press > 0.0:
            raise InputError(f"long_press is {self.long_press}; it takes some time")
        buttons = (self.left, self.right, self.rearm)
        if min(buttons) < 0 or len(set(buttons)) < len(buttons):
            raise InputError(f"buttons {buttons} are no three buttons: they count from 0")

    def describe(self) -> str:
        """One line for the person who holds it."""
        return (
            "push the cap to move, let it spring back to stop; left button: close or open the "
            f"gripper; right: {Button.NEXT.value}; both: {Button.DISCARD.value}; held for "
            f"{self.long_press:g} s, left: {Button.RESET.value}; right: {Button.FAILURE.value}; "
            f"both: {Button.RERECORD.value}; button {self.rearm}, if there is one: "
            f"{Button.REARM.value}"
        )


class SpaceMouse(TeleopDevice):
    """Turns readings of a SpaceMouse into moves; see `TeleopDevice`.

    Readings are those of ROS's spacenav node: x forward, y left, z up, yaw to the left. A gripper
    that was told to move counts as held for ``patience``, so that it moves while the cap rests.
    """

    def __init__(self, mapping: SpaceMouseMapping | None = None, patience: float = 0.2) -> None:
        super().__init__(patience)
        self.mapping = mapping or SpaceMouseMapping()
        self._pressed: tuple[bool, bool] = (False, False)  # since the first one went down
        self._since: float | None = None
        self._done = False  # this press has had its effect
        self._gripping = -np.inf  # the gripper moves until then

    def read(self, linear: Sequence[float], yaw: float, now: float) -> None:
        """Take a reading of the cap: (3,) and one, as fractions of ``mapping.full``.

        Raises InputError for one that is not finite; it counts as released.
        """
        cap = np.array([*linear, yaw], dtype=np.float64) / self.mapping.full
        if not np.isfinite(cap).all():
            self._let_go()
            raise InputError("the SpaceMouse sent a reading that is not finite")
        size = np.abs(cap.clip(-1, 1))
        beyond = np.maximum(size - self.mapping.dead_zone, 0) / (1 - self.mapping.dead_zone)
        if beyond.any():
            self._take(np.sign(cap) * beyond, now)
        elif now < self._gripping:
            self._motion = np.zeros(4)
        else:
            self._let_go()

    def read_buttons(self, buttons: Sequence[int], now: float) -> None:
        """Take a reading of the buttons; InputError where there are fewer than two."""
        mapping = self.mapping
        if max(mapping.left, mapping.right) >= len(buttons):
            raise InputError(
                f"the SpaceMouse has {len(buttons)} buttons, the mapping names button "
                f"{max(mapping.left, mapping.right)}: set the parameters for this one"
            )
        left, right = bool(buttons[mapping.left]), bool(buttons[mapping.right])
        if left or right:
            if self._since is None:
                self._since, self._pressed, self._done = now, (False, False), False
            self._pressed = (self._pressed[0] or left, self._pressed[1] or right)
        elif self._since is not None:
            if not self._done:
                self._short(now)
            self._since = None
        third = mapping.rearm < len(buttons) and buttons[mapping.rearm]
        self._now_down([Button.REARM] if third else [])

    def look(self, now: float) -> None:
        """Update with the time: a press that has become long takes effect."""
        if self._since is None or self._done or now - self._since < self.mapping.long_press:
            return
        self._done = True
        self._press(LONG[self._pressed])

    def _short(self, now: float) -> None:
        button = SHORT[self._pressed]
        if button is not None:
            self._press(button)
            return
        self._gripper = -self._gripper
        self._gripping = now + self._patience
        if not self.holds(now):  # the cap rests
            self._take(np.zeros(4), now)
