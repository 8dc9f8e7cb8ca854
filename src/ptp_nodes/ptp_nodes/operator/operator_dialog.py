# SPDX-License-Identifier: Apache-2.0
"""What the operator node knows: the question under way, its answer, and what the graph shows."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from ptp_interfaces.msg import ArmState, DriverState, ErrorCode, Observation

from ptp_ros.request_errors import RequestError

T = TypeVar("T")
WINDOW = 20  # observations that the rate is measured over
BREAK = 2.0  # s without any, after which it is measured anew
HOMES = (DriverState.READY, DriverState.HOLD)


class OperatorAnswer(Enum):
    """Answer of the operator; the value is its name in texts."""

    CONFIRM = "confirm"
    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True)
class Question:
    """A question: text, possible answers, and start time [s, steady clock]."""

    text: str
    answers: tuple[OperatorAnswer, ...]
    since: float


class OperatorDialog:
    """The operator, as threads ask and answer: one thread asks and waits, another answers.

    ``changed()`` is called, without a lock held, when a question appears or ends.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self._changed = changed
        self._news = threading.Condition()
        self._answer: OperatorAnswer | None = None
        self.question: Question | None = None

    def ask(
        self, text: str, answers: tuple[OperatorAnswer, ...], withdrawn: threading.Event
    ) -> OperatorAnswer:
        """The operator's answer. It waits until there is one, or until the question is withdrawn.

        Raises RequestError (CANCELED) when it is withdrawn; the caller that sets ``withdrawn``
        must call `wake`.
        """
        with self._news:
            self._answer = None
            self.question = Question(text, answers, time.monotonic())
        self._changed()
        try:
            with self._news:
                self._news.wait_for(lambda: self._answer is not None or withdrawn.is_set())
                if self._answer is None:
                    raise RequestError(ErrorCode.CANCELED, "nobody waits for the answer any more")
                return self._answer
        finally:
            self.question = None
            self._changed()

    def say(self, answer: OperatorAnswer) -> str:
        """Answer the question; returns the reason if that is impossible, else an empty text."""
        with self._news:
            if self.question is None or self._answer is not None:
                return "nothing is asked"
            if answer not in self.question.answers:
                possible = " or ".join(a.value for a in self.question.answers)
                return f"that is no answer to what is asked: say {possible}"
            self._answer = answer
            self._news.notify_all()
            return ""

    def wake(self) -> None:
        """A question may have been withdrawn."""
        with self._news:
            self._news.notify_all()


@dataclass
class _Pending:
    key: Hashable
    withdrawn: threading.Event
    future: Future


class RequestRunner:
    """Executes one request at a time, in a thread; a repeated request gets the same result.

    Another request replaces the running one, because the client of that one has gone.
    """

    def __init__(self, withdraw: Callable[[], None]) -> None:
        self._withdraw = withdraw  # called after a request's event was set
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="requests")
        self._lock = threading.Lock()
        self._pending: _Pending | None = None
        self.joined = self.replaced = 0

    def take(self, key: Hashable, work: Callable[[threading.Event], T]) -> Future:
        """Future of ``work(withdrawn)``, of the one that is under way when the key is its."""
        with self._lock:
            pending = self._pending
            if pending is not None and not pending.future.done():
                if pending.key == key:
                    self.joined += 1
                    return pending.future
                self.replaced += 1
                pending.withdrawn.set()
                self._withdraw()
            withdrawn = threading.Event()
            future = self._pool.submit(work, withdrawn)
            self._pending = _Pending(key, withdrawn, future)
            return future

    def stop(self) -> None:
        """Withdraw what is worked on, and take nothing more."""
        with self._lock:
            if self._pending is not None:
                self._pending.withdrawn.set()
        self._withdraw()
        self._pool.shutdown(wait=True, cancel_futures=True)


class OperatorView:
    """Newest messages: callbacks write, another thread reads; ``notify()`` wakes it."""

    def __init__(self, notify: Callable[[], None]) -> None:
        self._notify = notify
        self._lock = threading.Lock()
        self._seen: deque[tuple[int, float]] = deque(maxlen=WINDOW)  # number, stamp [s]
        self._driver: tuple[DriverState, float] | None = None
        self.moved = 0  # steps that the arm did since `begin`
        self.begin()

    def begin(self) -> None:
        """Count the steps of the arm from here."""
        with self._lock:
            self.moved = 0

    def observed(self, message: Observation) -> None:
        """An observation arrived."""
        stamp = message.header.stamp
        with self._lock:
            taken = stamp.sec + 1e-9 * stamp.nanosec
            if self._seen:
                number, before = self._seen[-1]
                if message.seq <= number or not 0.0 < taken - before < BREAK:
                    self._seen.clear()  # the camera was away, or is another
            self._seen.append((message.seq, taken))
        self._notify()

    def stepped(self, message: ArmState) -> None:
        """The ArmState of an observation arrived."""
        with self._lock:
            self.moved += message.moved

    def drove(self, message: DriverState) -> None:
        """The state of the arm driver arrived."""
        with self._lock:
            self._driver = message, time.monotonic()
        self._notify()

    @property
    def newest(self) -> int:
        """Number of the newest observation; 0: none yet."""
        with self._lock:
            return self._seen[-1][0] if self._seen else 0

    @property
    def rate(self) -> float:
        """Observations a second, by their stamps and numbers; 0: not known yet."""
        with self._lock:
            if len(self._seen) < 2:
                return 0.0
            (first, began), (last, ended) = self._seen[0], self._seen[-1]
        return (last - first) / (ended - began) if ended > began else 0.0

    def something_new(self) -> Callable[[], bool]:
        """Condition: an observation came after this call, and the rate is known."""
        before = self.newest
        return lambda: self.newest > before and self.rate > 0.0

    def driver(self, since: float = -float("inf")) -> DriverState | None:
        """The driver's newest state, if it arrived after ``since`` (steady clock, s)."""
        with self._lock:
            if self._driver is None or self._driver[1] < since:
                return None
            return self._driver[0]
