# SPDX-License-Identifier: Apache-2.0
"""From a gamepad's axes and buttons to motions of the tool, with a dead-man switch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from ptp_core.errors import InputError

__all__ = ["Gamepad", "GamepadMapping", "Move"]


@dataclass(frozen=True)
class GamepadMapping:
    """Which axis and button does what; defaults: Xbox layout of ROS's joy node.

    An axis reads +1 with the stick up or left. The base frame has x forward and y left (REP 103).
    """

    axis_x: int = 1  # left stick, up: forward
    axis_y: int = 0  # left stick, left: left
    axis_z: int = 4  # right stick, up: up
    axis_yaw: int = 3  # right stick, left: turn left
    button_dead_man: int = 4  # LB, held while moving
    button_close: int = 0  # A
    button_open: int = 1  # B
    button_rearm: int = 7  # Start: give the arm back to the policy
    dead_zone: float = 0.1  # of an axis; sticks never rest at 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.dead_zone < 1.0:
            raise InputError(f"dead_zone is {self.dead_zone}; it lies between 0 and 1")
        for field in fields(self):
            if field.name != "dead_zone" and getattr(self, field.name) < 0:
                raise InputError(f"{field.name} is {getattr(self, field.name)}; axes start at 0")

    def describe(self) -> str:
        """One line for the person who holds it."""
        return (
            f"hold button {self.button_dead_man} to move; axes {self.axis_x}, {self.axis_y}, "
            f"{self.axis_z}: forward, left, up; axis {self.axis_yaw}: turn; buttons "
            f"{self.button_close}, {self.button_open}: close, open; button {self.button_rearm}: "
            "give the arm back"
        )


@dataclass(frozen=True)
class Move:
    """What the person asks for now."""

    action: np.ndarray  # (5,) in [-1, 1]: dx, dy, dz, dyaw, gripper
    dead_man: bool  # False once after letting go: the arm holds still


class Gamepad:
    """Turns readings into moves. Times are of one steady clock [s].

    A gamepad that is silent for ``patience`` counts as let go: its battery may be empty.
    """

    def __init__(self, mapping: GamepadMapping | None = None, patience: float = 0.2) -> None:
        self.mapping = mapping or GamepadMapping()
        self._patience = patience
        self._gripper = -1.0  # open
        self._sticks = np.zeros(4)
        self._held = self._moving = self._rearm = self._rearm_down = False
        self._time: float | None = None

    def read(self, axes: Sequence[float], buttons: Sequence[int], now: float) -> None:
        """Take a reading.

        Raises InputError for one that the mapping does not fit or that is not finite; it counts
        as let go.
        """
        mapping = self.mapping
        chosen = (mapping.axis_x, mapping.axis_y, mapping.axis_z, mapping.axis_yaw)
        pressed = (
            *(mapping.button_dead_man, mapping.button_close),
            *(mapping.button_open, mapping.button_rearm),
        )
        self._held = False
        if max(chosen) >= len(axes) or max(pressed) >= len(buttons):
            raise InputError(
                f"the gamepad has {len(axes)} axes and {len(buttons)} buttons, the mapping names "
                f"axis {max(chosen)} and button {max(pressed)}: set the parameters for this one"
            )
        sticks = np.array([axes[index] for index in chosen], dtype=np.float64)
        if not np.isfinite(sticks).all():
            raise InputError("the gamepad sent an axis that is not finite")
        dead_man, close, open_, rearm = (bool(buttons[index]) for index in pressed)
        size = np.abs(sticks.clip(-1, 1))
        beyond = np.maximum(size - mapping.dead_zone, 0) / (1 - mapping.dead_zone)
        self._sticks = np.sign(sticks) * beyond
        if dead_man and close != open_:
            self._gripper = 1.0 if close else -1.0
        self._rearm |= rearm and not self._rearm_down
        self._rearm_down = rearm
        self._held = dead_man
        self._time = now

    def move(self, now: float) -> Move | None:
        """Return what to command now; None while nobody holds the switch."""
        fresh = self._time is not None and now - self._time <= self._patience
        if self._held and fresh:
            self._moving = True
            return Move(np.append(self._sticks, self._gripper).astype(np.float32), True)
        if self._moving:
            self._moving = False
            return Move(np.array([0, 0, 0, 0, self._gripper], dtype=np.float32), False)
        return None

    def take_rearm(self) -> bool:
        """Whether the button that gives the arm back was pressed since the last call."""
        pressed, self._rearm = self._rearm, False
        return pressed
