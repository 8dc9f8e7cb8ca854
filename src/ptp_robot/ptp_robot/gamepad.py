# SPDX-License-Identifier: Apache-2.0
"""Gamepad teleoperation: axes and buttons to motions of the tool, with a dead-man switch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from ptp_core.errors import InputError
from ptp_robot.teleoperation import Button, TeleopDevice

__all__ = ["Gamepad", "GamepadMapping"]


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
