# SPDX-License-Identifier: Apache-2.0
"""A goal that takes the place of the running one, between two of its control steps."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ptp_core.agents.agent import Goal

POLL = 0.05  # s between looks at whether the client still wants it


class GoalChange:
    """Hands goals from the thread of a client to the thread that runs the agent.

    The running thread calls `open`, then `take` before each step, then `close`. A client calls
    `offer`, one at a time, which returns once its goal was taken.
    """

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._open = False
        self._goal: Goal | None = None
        self._taken = 0  # goals so far

    def open(self) -> None:
        """An episode begins: goals may be offered."""
        with self._news:
            self._open, self._goal = True, None

    def close(self) -> None:
        """It ended: who still waits is told that nobody took the goal."""
        with self._news:
            self._open, self._goal = False, None
            self._news.notify_all()

    def offer(self, goal: Goal, check: Callable[[], None]) -> bool:
        """Whether the goal was taken; False: there is no episode, or it ended before that.

        ``check`` is called every few hundredths of a second while nobody takes it, and may raise.
        """
        with self._news:
            if not self._open:
                return False
            self._goal, before = goal, self._taken
            while self._open and self._goal is goal:
                self._news.wait(POLL)
                if self._goal is goal:
                    try:
                        check()
                    except BaseException:
                        self._goal = None
                        raise
            return self._taken > before

    def take(self) -> Goal | None:
        """The goal to pursue from this step on; None: the same as before."""
        with self._news:
            goal, self._goal = self._goal, None
            if goal is not None:
                self._taken += 1
                self._news.notify_all()
            return goal
