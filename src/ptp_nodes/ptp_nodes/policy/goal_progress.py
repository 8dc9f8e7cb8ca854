# SPDX-License-Identifier: Apache-2.0
"""What the policy node remembers of the goal that it pursues."""

from __future__ import annotations

import time

import numpy as np
from ptp_interfaces.action import ReachGoal
from ptp_interfaces.msg import CartesianDelta

from ptp_core.agents.agent import Decision, Observation

NEWS = 0.1  # s between words to the client, and between figures


class GoalProgress:
    """One goal's newest observation, decision and command, and when its client last heard."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.number = name, number
        self.count = 0  # subgoals of the newest plan
        self.dropped = 0  # observations skipped until the newest step
        self.last: Observation | None = None
        self.last_command: CartesianDelta | None = None
        self.decision: Decision | None = None  # that made it
        self.asked = False  # for an observation that has not come yet
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

    def same(self, observation: Observation) -> bool:
        """Whether the newest observation showed just this."""
        last = self.last
        if last is None or not _equal(last.latent, observation.latent):
            return False
        images, before = observation.images, last.images
        return (
            _equal(last.proprioception, observation.proprioception)
            and images.keys() == before.keys()
            and all(np.array_equal(images[camera], before[camera]) for camera in images)
        )

    def answered(
        self,
        observation: Observation,
        decision: Decision,
        command: CartesianDelta,
        latency: float,
    ) -> None:
        """Remember the newest observation and command."""
        self.asked = False
        self.last, self.decision, self.last_command = observation, decision, command
        self.latencies.append(latency)
        if decision.plan is not None:
            self.count = len(decision.plan.latents)


def _equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))
