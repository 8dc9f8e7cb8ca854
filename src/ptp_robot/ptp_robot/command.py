# SPDX-License-Identifier: Apache-2.0
"""What a command must pass: the age of its observation, its source, its values and limits.

The receiver of commands (arm driver or simulated table) holds an `ObservationWindow`, an `Arbiter`
and a `CommandCheck`, in real time and in lock-step.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from ptp_core.errors import InputError, quoted
from ptp_robot.action import CartesianDelta
from ptp_robot.robot_file import Limits

__all__ = [
    "LONGEST",
    "REMEMBERED",
    "Arbiter",
    "Command",
    "CommandCheck",
    "CommandSource",
    "ObservationWindow",
    "first_number",
]

NUMBERS_A_SECOND = 200  # more observations than any table or camera sends
NUMBERS = 2**31  # half of 2**32, so that uint32 does not overflow
LONGEST = 1.0  # s, largest limit on age where the limit follows measured latencies
BLIND = 0.3  # s without an image, after which none is expected
CLOSEST = 0.05  # s between two commands then
REMEMBERED = 100  # observations whose time is known, at most
ANSWERS = 20  # answers whose latency is remembered
FEWEST = 5  # answers that a median needs
SLACK = 3.0  # times the median latency of answers
MARGIN = 1.0 + 1e-9  # of rounding, on the largest motion
NEW_START = 1.0  # s of silence after which a source may count from the start again


def first_number() -> int:
    """First number of a source's observations, above all those that it gave before a restart.

    So after a restart, no old observation is taken for a new one, and simulated time, which
    counts observations, does not jump back. The numbers wrap around every 124 days.
    """
    return int(time.time() * NUMBERS_A_SECOND) % NUMBERS


class ObservationWindow:
    """Records when the receiver got each observation, on its own steady clock.

    An answer counts when its observation is known, was not answered yet, is no more than
    ``patience`` observations behind the newest, and is no older than `limit`. One command is
    executed between two images, so that an image, a motion and the next image belong together.
    Without images, commands that answer none have a minimum interval.

    ``least`` [s] is the limit on a machine that keeps up. Where ``most`` [s] is more, the limit
    follows the latency of answers: three times the median of the last 20, at most ``most``.
    All times are of one steady clock [s].
    """

    def __init__(
        self, least: float, most: float | None = None, patience: int = REMEMBERED
    ) -> None:
        self._least = least
        self._most = max(least, most or least)
        self._patience = patience
        self.newest = 0
        self._answered = 0  # this observation and all before it
        self._seen = -math.inf  # when the newest image was taken
        self._moved = -math.inf  # when; -inf: not since the newest image
        self._times: dict[int, float] = {}
        self._noted = 0  # the newest observation whose answer was timed
        self._ages: deque[float] = deque(maxlen=ANSWERS)

    @property
    def limit(self) -> float:
        """Age at which an observation is too old to be answered [s]."""
        if len(self._ages) < FEWEST:
            return self._least
        usual = statistics.median(self._ages)
        return min(max(self._least, SLACK * usual), self._most)

    def observed(self, seq: int, now: float) -> None:
        """An image was taken. Numbers are above 0."""
        if seq < self.newest:  # the camera was restarted
            self._answered = self._noted = 0
            self._times.clear()
        self.newest, self._seen = seq, now
        self._moved = -math.inf
        self._times[seq] = now
        oldest = seq - min(self._patience, REMEMBERED)
        for old in [s for s in self._times if s < oldest]:
            del self._times[old]

    def void(self) -> None:
        """Refuse answers to all earlier observations: the scene was reset."""
        self._answered = self.newest

    def is_open(self, now: float) -> bool:
        """Whether no command was executed since the newest image."""
        closest = CLOSEST if now - self._seen > BLIND else math.inf
        return now - self._moved >= closest

    def arrived(self, seq: int, now: float) -> str:
        """Record the latency of an answer to ``seq``; return why it is refused, or ""."""
        if seq in self._times and seq > max(self._noted, self._answered):
            self._noted = seq
            self._ages.append(now - self._times[seq])
        return self.refusal(seq, now)

    def refusal(self, seq: int, now: float) -> str:
        """Why an answer to ``seq`` is not executed at ``now``; empty: it may be."""
        if seq == 0:
            return "the command answers no observation; a policy names the one that it answers"
        if seq > self.newest:
            newest = self.newest or "none"
            return f"observation {seq} was never published, the newest is {newest}"
        if seq not in self._times or seq <= self._answered:
            return f"an answer to observation {seq} is too late"
        age, limit = now - self._times[seq], self.limit
        if not 0.0 <= age <= limit:
            return (
                f"observation {seq} is {age:.2f} s old, at most {limit:.2f} s is allowed: the "
                "answer is too late"
            )
        return ""

    def moved(self, seq: int, now: float) -> None:
        """A command that answers ``seq`` (0: none) was executed."""
        self._moved = now
        self._answered = max(seq, self._answered)

    def age(self, seq: int, now: float) -> float:
        """Age of an observation [s]; 0: unknown."""
        return now - self._times.get(seq, now)


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
