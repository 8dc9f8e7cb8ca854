# SPDX-License-Identifier: Apache-2.0
"""Which commands count: what is refused, what is cut to the limits, and when one is due."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptp_core.errors import InputError
from ptp_robot.action import CartesianDelta
from ptp_robot.arbiter import Source
from ptp_robot.limits import Limits

__all__ = ["Command", "CommandCheck", "ObservationWindow"]

MARGIN = 1.0 + 1e-9  # of rounding, on the largest motion
BLIND = 0.3  # s without a picture, after which none is waited for
CLOSEST = 0.05  # s between two commands then
NEW_START = 1.0  # s of silence after which a source may count from the start again


@dataclass(frozen=True)
class Command:
    """A `CartesianDelta` message, with its age in place of its stamp."""

    source: int  # see `Source`
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
    message: Any = None  # what it came in, for whoever reports it


class CommandCheck:
    """Refuses what is wrong and cuts what is too large. ``frame`` is the frame of commands."""

    def __init__(self, limits: Limits, frame: str = "base") -> None:
        self._limits = limits
        self._frame = frame
        self._last: dict[int, tuple[int, float]] = {}  # source: newest number, when

    def check(self, command: Command, now: float) -> tuple[CartesianDelta, bool]:
        """The motion to carry out, and whether it was cut. InputError: it is refused, and why."""
        limits, c = self._limits, command
        self._count(c, now)
        if c.frame != self._frame:
            raise InputError(f'the command is in frame "{c.frame}"; "{self._frame}" is expected')
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
                f"nodes send as {Source(command.source).name.lower()}"
            )
        self._last[command.source] = command.seq, now


class ObservationWindow:
    """One command between two pictures, so that a picture, a motion and the next belong together.

    Where no pictures come, commands follow each other as they will, not too closely.
    ``patience``: pictures by which an answer may be late. The counterpart of the simulator's gate.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._newest = self._answered = 0
        self._seen = -math.inf  # when the newest picture was taken
        self._moved = -math.inf  # when; -inf: not since the newest picture
        self._times: dict[int, float] = {}

    def observed(self, seq: int, now: float) -> None:
        """A picture was taken."""
        if seq < self._newest:  # the camera counts from the start again
            self._answered = 0
            self._times.clear()
        self._newest, self._seen = seq, now
        self._moved = -math.inf
        self._times[seq] = now
        for old in [s for s in self._times if s < seq - self._patience]:
            del self._times[old]

    def is_open(self, now: float) -> bool:
        """Whether no command was carried out since the newest picture."""
        closest = CLOSEST if now - self._seen > BLIND else math.inf
        return now - self._moved >= closest

    def is_timely(self, observation_seq: int) -> bool:
        """Whether an answer to this picture is not too late, nor the second one; 0 always is."""
        oldest = max(self._answered + 1, self._newest - self._patience)
        return observation_seq == 0 or observation_seq >= oldest

    def moved(self, observation_seq: int, now: float) -> None:
        """A command was carried out."""
        self._moved = now
        self._answered = max(observation_seq, self._answered)

    def latency(self, observation_seq: int, now: float) -> float:
        """Time since the picture was known [s]; 0: it was not."""
        return now - self._times.get(observation_seq, now)
