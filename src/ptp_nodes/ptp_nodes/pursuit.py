# SPDX-License-Identifier: Apache-2.0
"""What the policy node remembers of the goal that it pursues."""

from __future__ import annotations

import time

import numpy as np
from ptp_interfaces.action import ReachGoal
from ptp_interfaces.msg import CartesianDelta

from ptp_core.agents.agent import Decision

NEWS = 0.1  # s between words to the client, and between figures


class Pursuit:
    """One goal's targets, newest observation and command, and when its client last heard."""

    def __init__(self, name: str, number: int, plan: np.ndarray, goal: np.ndarray) -> None:
        self.name, self.number = name, number
        self.count = len(plan)
        self._targets = np.concatenate([plan, goal[None]]).astype(np.uint16)
        self.last_codes: np.ndarray | None = None
        self.last_command: CartesianDelta | None = None
        self.decision: Decision | None = None  # that made it
        self.asked = False  # for a picture that has not come yet
        self.latencies: list[float] = []
        self.feedback = ReachGoal.Feedback()
        self._told = time.monotonic() - NEWS

    def due(self, period: float) -> bool:
        """Whether nothing was said for ``period`` s; if so, now is the time that counts."""
        now = time.monotonic()
        if now - self._told < period:
            return False
        self._told = now
        return True

    def target(self, index: int) -> np.ndarray:
        """Codes (144,) of subgoal ``index``; the number of subgoals is the goal's."""
        return self._targets[index]

    def same(self, codes: np.ndarray) -> bool:
        """Whether these codes (144,) were seen at the newest observation, too."""
        return self.last_codes is not None and np.array_equal(codes, self.last_codes)

    def answered(
        self, codes: np.ndarray, decision: Decision, command: CartesianDelta, latency: float
    ) -> None:
        """Remember the newest observation and command."""
        self.asked = False
        self.last_codes, self.decision, self.last_command = codes, decision, command
        self.latencies.append(latency)
