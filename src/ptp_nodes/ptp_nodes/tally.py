# SPDX-License-Identifier: Apache-2.0
"""Counts how practice goes: success, and how much of it a person did."""

from __future__ import annotations

import threading
from collections import deque

from ptp_interfaces.msg import ArmState, CartesianDelta

RECENT = 20  # episodes that count as recent

NAMES = (
    "episodes",
    "success_rate",
    "recent_success_rate",
    "interventions",
    "intervention_rate",
)


class Tally:
    """Figures of a practice run under the names of its scalar topics. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._successes = self._episodes = self._interventions = 0
        self._recent: deque[bool] = deque(maxlen=RECENT)
        self._steps = self._by_person = 0

    def begin(self) -> None:
        """An episode begins: what moved the arm before does not count for it."""
        with self._lock:
            self._steps = self._by_person = 0

    def moved(self, state: ArmState) -> None:
        """Count the step that led to ``state``, if there was one."""
        if state.moved:
            with self._lock:
                self._steps += 1
                self._by_person += state.command.source == CartesianDelta.TELEOP

    def judged(self, success: bool) -> dict[str, float]:
        """Count the episode that ended; the figures after it.

        ``interventions``: steps that a person did, over the whole run. ``intervention_rate``:
        share of such steps in this episode. ``recent_success_rate``: over the last `RECENT`.
        """
        with self._lock:
            self._episodes += 1
            self._successes += success
            self._recent.append(success)
            self._interventions += self._by_person
            values = (
                self._episodes,
                self._successes / self._episodes,
                sum(self._recent) / len(self._recent),
                self._interventions,
                self._by_person / max(self._steps, 1),
            )
        return dict(zip(NAMES, values))
