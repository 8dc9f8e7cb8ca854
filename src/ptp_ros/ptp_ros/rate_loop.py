# SPDX-License-Identifier: Apache-2.0
"""Fixed-rate loop in a thread of its own, which no executor or callback delays."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["RateLoop"]


class RateLoop:
    """Calls ``cycle()`` every ``period`` [s] of the steady clock between `start` and `stop`.

    A late cycle is not made up for: the next one is due a period after it.
    """

    def __init__(self, period: float, cycle: Callable[[], None], name: str) -> None:
        self._period = period
        self._cycle = cycle
        self._name = name
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. A second call does nothing."""
        if self._thread is None:
            self._ending.clear()
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End, and wait until the last cycle is over. Do not call it from within a cycle."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ending.wait(max(due - time.monotonic(), 0.0)):
            self._cycle()
            due = max(due + self._period, time.monotonic())
