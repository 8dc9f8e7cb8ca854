# SPDX-License-Identifier: Apache-2.0
"""Observations of a goal: which one may be acted on, and what the node did on the newest."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from ptp_interfaces.action import ReachGoal
from ptp_interfaces.msg import CartesianDelta, ErrorCode, Latent
from ptp_interfaces.msg import Observation as ObservationMessage

from ptp_core.agents.agent import Decision, Observation
from ptp_core.errors import PtpError
from ptp_ros.request_errors import RequestError, error_code
from ptp_ros.worker import NewestSlot

NOTHING = Observation()
POLL = 0.05  # s between looks at whether the goal was canceled


Message = Latent | ObservationMessage
Read = Callable[[Message], Observation]
NEWS = 0.1  # s between words to the client, and between figures


@dataclass(frozen=True)
class Arrival:
    """A message and when it came, on the steady clock [s]; what the agent sees of it."""

    message: Message
    time: float
    observation: Observation = NOTHING


class ObservationGate:
    """Hands out each usable observation once, and says what is wrong while there is none.

    They come from an encoder, as latents, or with images; a subscription puts them in, another
    thread waits for them. ``now`` gives ROS time in nanoseconds; periods without news, and the age
    of what arrived, are measured on the steady clock: what arrived longer than ``fresh_for`` s ago
    is not acted on.
    """

    def __init__(
        self,
        now: Callable[[], int],
        fresh_for: float,
        stale_after: float,
        give_up_after: float,
    ) -> None:
        self._now = now
        self._fresh_for = fresh_for
        self._stale_after = stale_after
        self._give_up_after = give_up_after
        self._slot = NewestSlot()
        self._first = 0
        self._last: int | None = None
        self._looked_at = 0
        self.dropped = 0

    def put(self, message: Message) -> None:
        """Take the newest one; called by the subscription."""
        self._slot.put(Arrival(message, time.monotonic()))

    def close(self) -> None:
        """Wake whoever waits, for good."""
        self._slot.close()

    def restart(self, first: int) -> None:
        """Begin with the observation numbered ``first``; older ones are not acted on."""
        self._first = first
        self._last = None
        self._looked_at = 0  # the newest one may have come before the goal
        self.dropped = 0

    def begin(self, first: int) -> None:
        """Act on no observation before the one numbered ``first``."""
        self._last = max(self._last or 0, first - 1) if first > self._first else self._last

    def skip(self) -> None:
        """Act on nothing that has come so far: a newer one was asked for."""
        arrival, _ = self._slot.read()
        if arrival is not None and self._is_new(arrival.message):
            self._last = arrival.message.seq

    def next(
        self,
        read: Read,
        on_problem: Callable[[RequestError], None],
        check: Callable[[], None],
        excused: Callable[[], bool] = lambda: False,
        on_old: Callable[[], None] = lambda: None,
    ) -> Arrival:
        """Wait for the next usable observation.

        ``read`` makes it of a message, and raises PtpError where it cannot be used.
        ``on_problem`` hears why there is none, each time the reason is new. ``on_old`` hears
        that a usable one came too long ago: a plan, or a busy machine, took so long, and in
        lock-step no other comes unless it is asked for. ``check`` is called every few hundredths
        of a second and may raise. Raises RequestError with the last reason when nothing usable
        came for too long; time while ``excused()`` holds does not count.
        """
        began = time.monotonic()
        problem: RequestError | None = None
        while True:
            check()
            if excused():
                began, problem = time.monotonic(), None
            arrival, count = self._slot.wait(self._looked_at, POLL)
            found: RequestError | None = None
            if count > self._looked_at:
                self._looked_at = count
                if self._is_new(arrival.message):
                    try:
                        self._check_age(arrival.message)
                        arrival = replace(arrival, observation=read(arrival.message))
                    except PtpError as error:
                        found = RequestError(error_code(error), str(error))
                    else:
                        self._count_lost(arrival.message.seq)
                        if time.monotonic() - arrival.time <= self._fresh_for:
                            return arrival
                        on_old()
            waited = time.monotonic() - began
            if found is None and problem is None and waited > self._stale_after:
                found = RequestError(
                    ErrorCode.STALE_OBSERVATION,
                    f"no new observation for {self._stale_after:g} s: "
                    "look at the camera and the encoder",
                )
            if found is not None and str(found) != str(problem):
                problem = found
                on_problem(problem)
            if problem is not None and waited > self._give_up_after:
                raise RequestError(
                    problem.code,
                    f"nothing usable seen for {self._give_up_after:g} s, gave up: {problem}",
                )

    def _is_new(self, message: Message) -> bool:
        return message.seq >= self._first and (self._last is None or message.seq > self._last)

    def _check_age(self, message: Message) -> None:
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        # What an encoder could not encode has a reason of its own.
        if (self._now() - stamp) * 1e-9 > self._stale_after and not getattr(
            message, "error_code", ErrorCode.NONE
        ):
            raise RequestError(
                ErrorCode.STALE_OBSERVATION,
                f"the observation is older than {self._stale_after:g} s: is the camera frozen, "
                "or are the clocks of two machines apart?",
            )

    def _count_lost(self, seq: int) -> None:
        previous = self._first - 1 if self._last is None else self._last
        self.dropped += seq - previous - 1
        self._last = seq


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
