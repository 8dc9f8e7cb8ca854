# SPDX-License-Identifier: Apache-2.0
"""Arbitration between command sources; validation and clamping of their commands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from ptp_core.errors import InputError, quoted
from ptp_robot.action import CartesianDelta
from ptp_robot.limits import Limits

__all__ = ["Arbiter", "Command", "CommandCheck", "CommandSource"]


class CommandSource(IntEnum):
    """Where a command comes from; the numbers are those of the CartesianDelta message."""

    POLICY = 0
    TELEOP = 1
    SCRIPT = 2


class Arbiter:
    """Decides for each command whether its source may move the arm now.

    A person takes over at once with the first command whose dead-man switch is held. Then no other
    source moves the arm, even after the switch is released, until ``rearm``. A script waits while
    a policy commands. ``patience`` is how long a source counts as commanding after its last
    command [s]; times are of one steady clock [s].
    """

    def __init__(self, patience: float = 0.3) -> None:
        if not patience > 0.0:
            raise ValueError(f"patience is {patience}; it must be positive")
        self.patience = patience
        self.taken_over = False
        self._dead_man: float | None = None  # when a person last held the switch
        self._policy: float | None = None

    def admits(self, source: CommandSource, dead_man: bool, now: float) -> bool:
        """Whether this command moves the arm. A person's without dead-man switch never does."""
        if source == CommandSource.TELEOP:
            if dead_man:
                self.taken_over = True
                self._dead_man = now
            else:
                self._dead_man = None  # released: no need to wait before rearming
            return dead_man
        if self.taken_over:
            return False
        if source == CommandSource.POLICY:
            self._policy = now
            return True
        return not self._fresh(self._policy, now)

    def held(self, now: float) -> bool:
        """Whether a person holds the dead-man switch; a silent device counts as released."""
        return self._fresh(self._dead_man, now)

    def rearm(self, now: float) -> bool:
        """Let policies and scripts move the arm again; False while a person holds the switch."""
        if self.held(now):
            return False
        self.taken_over = False
        self._dead_man = None
        return True

    def _fresh(self, then: float | None, now: float) -> bool:
        return then is not None and now - then <= self.patience


MARGIN = 1.0 + 1e-9  # of rounding, on the largest motion
NEW_START = 1.0  # s of silence after which a source may count from the start again


@dataclass(frozen=True)
class Command:
    """A `CartesianDelta` message, with its age in place of its stamp."""

    source: int  # see `CommandSource`
    seq: int  # counts up with each command of one source
    frame: str
    age: float  # s since it was stamped, negative: in the future
    dx: float  # m
    dy: float  # m
    dz: float  # m
    dyaw: float  # rad
    gripper: float  # -1 open .. +1 closed
    dead_man: bool = False
    observation_seq: int = 0  # the observation that it answers; 0: none
    heard_from: int | None = None  # source of the topic that it arrived on; None: unknown
    message: Any = None  # the message, for reports

    @property
    def holds(self) -> bool:
        """Whether a policy asks to hold position: it answers no observation and has no motion."""
        still = not (self.dx or self.dy or self.dz or self.dyaw)
        return self.source == CommandSource.POLICY and self.observation_seq == 0 and still


class CommandCheck:
    """Refuses invalid commands and clamps large ones. ``frame`` is the frame of commands."""

    def __init__(self, limits: Limits, frame: str = "base") -> None:
        self._limits = limits
        self._frame = frame
        self._last: dict[int, tuple[int, float]] = {}  # source: newest number, when

    def check(self, command: Command, now: float) -> tuple[CartesianDelta, bool]:
        """The motion to execute, and whether it was clamped. InputError: why it is refused."""
        limits, c = self._limits, command
        self._count(c, now)
        if c.frame != self._frame:
            raise InputError(
                f"the command is in frame {quoted(c.frame)}; {quoted(self._frame)} is expected"
            )
        if not -limits.command_ahead <= c.age <= limits.command_age:  # refuses NaN, too
            when = f"{-c.age:.2f} s ahead" if c.age < 0 else f"{c.age:.2f} s old"
            raise InputError(
                f"the command's stamp is {when}; {limits.command_ahead:g} s ahead to "
                f"{limits.command_age:g} s old is allowed: set both machines' clocks"
            )
        try:
            delta = CartesianDelta(c.dx, c.dy, c.dz, c.dyaw, c.gripper)
        except ValueError as error:
            raise InputError(f"the command is not finite: {error}") from None
        for name, most in (
            ("dx", limits.step),
            ("dy", limits.step),
            ("dz", limits.step),
            ("dyaw", limits.yaw_step),
            ("gripper", 1.0 / limits.excess),
        ):
            value = getattr(delta, name)
            if abs(value) > limits.excess * most * MARGIN:
                unit = {"dyaw": " rad", "gripper": ""}.get(name, " m")
                raise InputError(
                    f"the command's {name} is {value:.4g}{unit}; at most "
                    f"{limits.excess * most:.4g}{unit} is taken: check the sender's scale"
                )
        step = np.clip(delta.translation, -limits.step, limits.step)
        norm = float(np.linalg.norm(step))
        if norm > limits.step_norm:
            step *= limits.step_norm / norm
        turn = min(max(delta.dyaw, -limits.yaw_step), limits.yaw_step)
        cut = bool(np.abs(step - delta.translation).max() > 1e-9 or abs(turn - delta.dyaw) > 1e-9)
        gripper = min(max(delta.gripper, -1.0), 1.0)
        return CartesianDelta(*step.tolist(), turn, gripper), cut

    def _count(self, command: Command, now: float) -> None:
        newest, then = self._last.get(command.source, (-1, -math.inf))
        if command.seq <= newest and now - then <= NEW_START:
            raise InputError(
                f"the command's number {command.seq} comes after {newest}: it is late, or two "
                f"nodes send as {CommandSource(command.source).name.lower()}"
            )
        self._last[command.source] = command.seq, now
