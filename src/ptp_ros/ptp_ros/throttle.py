# SPDX-License-Identifier: Apache-2.0
"""Throttle for repeated messages: each kind passes at most once per period."""

from __future__ import annotations

import time
from collections.abc import Callable


class Throttle:
    """Lets each kind of message pass at most once per ``period`` [s] of the steady ``clock``.

    Kinds must be few, because each one is kept. So never make one from received text.
    """

    def __init__(self, period: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._period = period
        self._clock = clock
        self._last: dict[str, float] = {}

    def due(self, kind: str) -> bool:
        """Whether this kind may pass now. If so, its period starts again."""
        now = self._clock()
        if now - self._last.get(kind, -float("inf")) < self._period:
            return False
        self._last[kind] = now
        return True
