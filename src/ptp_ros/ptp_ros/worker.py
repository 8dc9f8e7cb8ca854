# SPDX-License-Identifier: Apache-2.0
"""Threads and timing of nodes: work beside the executor, a fixed-rate loop, a throttle.

Callbacks pass items on, and a thread runs the forward pass on the newest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future as ThreadFuture
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rclpy.node import Node
from rclpy.task import Future


class NewestSlot:
    """Holds only the newest item. Writers never block; readers can wait for a new item."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: Any = None
        self._count = 0
        self._closed = False

    def put(self, item: Any) -> None:
        """Replace the item and wake the reader."""
        with self._condition:
            self._item = item
            self._count += 1
            self._condition.notify_all()

    def read(self) -> tuple[Any, int]:
        """The newest item (None at first) and the number of items put so far."""
        with self._condition:
            return self._item, self._count

    def wait(self, seen: int, timeout: float) -> tuple[Any, int]:
        """Wait until more than ``seen`` items were put, at most ``timeout`` s (steady clock).

        Returns the newest item and the count. After a timeout the count equals ``seen``.
        """
        deadline = time.monotonic() + timeout
        with self._condition:
            while self._count <= seen and not self._closed:
                left = deadline - time.monotonic()
                if left <= 0.0:
                    break
                self._condition.wait(left)
            return self._item, self._count

    def close(self) -> None:
        """Wake every reader; later waits return at once."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()


class NewestFirst:
    """Runs ``process(item)`` in a pool of one thread. A newer item replaces one that waits.

    ``dropped`` counts the items that were replaced.
    """

    def __init__(self, pool: ThreadPoolExecutor, process: Callable[[Any], None]) -> None:
        self._pool = pool
        self._process = process
        self._lock = threading.Lock()
        self._pending: Any = None
        self.dropped = 0

    def put(self, item: Any) -> None:
        """Pass ``item`` (not None) to the thread."""
        with self._lock:
            if self._pending is not None:
                self._pending = item
                self.dropped += 1
                return
            self._pending = item
        try:
            self._pool.submit(self._run)
        except RuntimeError:  # the pool was shut down
            self._pending = None

    def _run(self) -> None:
        with self._lock:
            item, self._pending = self._pending, None
        self._process(item)


class RateLoop:
    """Calls ``cycle()`` every ``period`` [s] of the steady clock between `start` and `stop`.

    A late cycle is not made up for: the next one is due a period after it.
    """

    def __init__(self, period: float, cycle: Callable[[], None], name: str) -> None:
        self._period = period
        self._cycle = cycle
        self._name = name
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. A second call does nothing."""
        if self._thread is None:
            self._ending.clear()
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End, and wait until the last cycle is over. Do not call it from within a cycle."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ending.wait(max(due - time.monotonic(), 0.0)):
            self._cycle()
            due = max(due + self._period, time.monotonic())


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


def in_executor(node: Node, work: ThreadFuture) -> Future:
    """Future of rclpy for a thread's work, which a coroutine callback can await."""
    future = Future()

    def finish(done: ThreadFuture) -> None:
        error = done.exception() if not done.cancelled() else RuntimeError("the node stops")
        if error is None:
            future.set_result(done.result())
        else:
            future.set_exception(error)
        if (executor := node.executor) is not None:
            executor.wake()

    work.add_done_callback(finish)
    return future
