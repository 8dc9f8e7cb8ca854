# SPDX-License-Identifier: Apache-2.0
"""Who may move the arm: a person before a policy before a script."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Arbiter", "Source"]


class Source(IntEnum):
    """Where a command comes from; the numbers are those of the CartesianDelta message."""

    POLICY = 0
    TELEOP = 1
    SCRIPT = 2


class Arbiter:
    """Decides for each command whether its source may move the arm now.

    A person takes over with the first command whose dead-man switch is held, at once. From then
    on nobody else moves the arm, also after the person let go, until ``rearm``. A script waits
    while a policy commands. ``patience`` is how long a source counts as commanding after its last
    command [s]; times are of one steady clock [s].
    """

    def __init__(self, patience: float = 0.3) -> None:
        if not patience > 0.0:
            raise ValueError(f"patience is {patience}; it must be positive")
        self.patience = patience
        self.taken_over = False
        self._dead_man: float | None = None  # when a person last held the switch
        self._policy: float | None = None

    def admits(self, source: Source, dead_man: bool, now: float) -> bool:
        """Whether this command moves the arm. A person's without dead-man switch never does."""
        if source == Source.TELEOP:
            if dead_man:
                self.taken_over = True
                self._dead_man = now
            else:
                self._dead_man = None  # let go: no need to wait before rearming
            return dead_man
        if self.taken_over:
            return False
        if source == Source.POLICY:
            self._policy = now
            return True
        return not self._fresh(self._policy, now)

    def held(self, now: float) -> bool:
        """Whether a person holds the dead-man switch: a silent device counts as let go."""
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
