# SPDX-License-Identifier: Apache-2.0
"""Counts what was wrong with a robot's messages, and says once when there are none."""

from __future__ import annotations

from collections import Counter

import numpy as np

__all__ = ["Problems"]

KINDS = 50  # that are told apart: a robot may put numbers into its texts
PATIENCE = 3.0  # s without messages until that is a problem


class Problems:
    """Text to count. Times are of one steady clock [s]."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._missing: float | None = None  # since when

    def count(self, text: str) -> None:
        """One more of these."""
        if text in self._counts or len(self._counts) < KINDS:
            self._counts[text] += 1

    def miss(self, text: str, now: float) -> None:
        """Nothing is heard: count that once an outage, when it has lasted a while."""
        if self._missing is None:
            self._missing = now
        elif now - self._missing > PATIENCE:
            self._missing = np.inf
            self.count(text)

    def found(self) -> None:
        """All is heard."""
        self._missing = None

    def so_far(self) -> dict[str, int]:
        """All counts."""
        return dict(self._counts)
