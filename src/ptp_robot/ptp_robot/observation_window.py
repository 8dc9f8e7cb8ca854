# SPDX-License-Identifier: Apache-2.0
"""Observation window: decides which observations a command may still answer, by their age.

The receiver of commands (arm driver or simulated table) holds one, in real time and in lock-step.
"""

from __future__ import annotations

import math
import statistics
from collections import deque

__all__ = ["LONGEST", "REMEMBERED", "ObservationWindow"]

LONGEST = 1.0  # s, largest limit on age where the limit follows measured latencies

BLIND = 0.3  # s without an image, after which none is expected
CLOSEST = 0.05  # s between two commands then
REMEMBERED = 100  # observations whose time is known, at most
ANSWERS = 20  # answers whose latency is remembered
FEWEST = 5  # answers that a median needs
SLACK = 3.0  # times the median latency of answers


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
