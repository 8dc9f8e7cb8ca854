# SPDX-License-Identifier: Apache-2.0
"""How often something may be said: once in a while for each kind, whoever asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable


class Throttle:
    """Kinds come from this program, not from a message: they are few.

    ``clock``: steady, s.
    """

    def __init__(self, period: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._period = period
        self._clock = clock
        self._last: dict[str, float] = {}

    def due(self, kind: str) -> bool:
        """Whether this kind may be said now; if so, it counts as said."""
        now = self._clock()
        if now - self._last.get(kind, -float("inf")) < self._period:
            return False
        self._last[kind] = now
        return True
