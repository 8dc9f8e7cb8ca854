# SPDX-License-Identifier: Apache-2.0
"""Graph state for the operator node: images and their rate, steps, and the state of the arm."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from ptp_interfaces.msg import ArmState, DriverState, Observation

WINDOW = 20  # observations that the rate is measured over
BREAK = 2.0  # s without any, after which it is measured anew
HOMES = (DriverState.READY, DriverState.HOLD)


class OperatorView:
    """Newest messages: callbacks write, another thread reads; ``notify()`` wakes it."""

    def __init__(self, notify: Callable[[], None]) -> None:
        self._notify = notify
        self._lock = threading.Lock()
        self._seen: deque[tuple[int, float]] = deque(maxlen=WINDOW)  # number, stamp [s]
        self._driver: tuple[DriverState, float] | None = None
        self.moved = 0  # steps that the arm did since `begin`
        self.begin()

    def begin(self) -> None:
        """Count the steps of the arm from here."""
        with self._lock:
            self.moved = 0

    def observed(self, message: Observation) -> None:
        """An observation arrived."""
        stamp = message.header.stamp
        with self._lock:
            taken = stamp.sec + 1e-9 * stamp.nanosec
            if self._seen:
                number, before = self._seen[-1]
                if message.seq <= number or not 0.0 < taken - before < BREAK:
                    self._seen.clear()  # the camera was away, or is another
            self._seen.append((message.seq, taken))
        self._notify()

    def stepped(self, message: ArmState) -> None:
        """The ArmState of an observation arrived."""
        with self._lock:
            self.moved += message.moved

    def drove(self, message: DriverState) -> None:
        """The state of the arm driver arrived."""
        with self._lock:
            self._driver = message, time.monotonic()
        self._notify()

    @property
    def newest(self) -> int:
        """Number of the newest observation; 0: none yet."""
        with self._lock:
            return self._seen[-1][0] if self._seen else 0

    @property
    def rate(self) -> float:
        """Observations a second, by their stamps and numbers; 0: not known yet."""
        with self._lock:
            if len(self._seen) < 2:
                return 0.0
            (first, began), (last, ended) = self._seen[0], self._seen[-1]
        return (last - first) / (ended - began) if ended > began else 0.0

    def something_new(self) -> Callable[[], bool]:
        """Condition: an observation came after this call, and the rate is known."""
        before = self.newest
        return lambda: self.newest > before and self.rate > 0.0

    def driver(self, since: float = -float("inf")) -> DriverState | None:
        """The driver's newest state, if it arrived after ``since`` (steady clock, s)."""
        with self._lock:
            if self._driver is None or self._driver[1] < since:
                return None
            return self._driver[0]
