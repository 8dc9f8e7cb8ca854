# SPDX-License-Identifier: Apache-2.0
"""SpaceMouse teleoperation: cap and two buttons to motions of the tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ptp_core.errors import InputError
from ptp_robot.teleoperation import Button, TeleopDevice

__all__ = ["SpaceMouse", "SpaceMouseMapping"]

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
