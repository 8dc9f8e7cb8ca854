# SPDX-License-Identifier: Apache-2.0
"""What waits for the disk, bounded: pictures for people are given up first."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import NamedTuple

from ptp_core.data.episodes.bag_writer import Topic

GATHER = 0.02  # s that messages may wait for each other


class Item(NamedTuple):
    """A message that waits."""

    topic: Topic
    time: int  # ns, when it was received
    data: bytes
    spare: bool  # nothing is learned from it


class WriteQueue:
    """Messages from callbacks to the thread that writes; ``put`` never waits for the disk.

    When more than ``limit`` bytes wait, the oldest spare messages are dropped, and only when
    there are none left the new one. ``dropped`` counts by topic name.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.dropped: Counter[str] = Counter()
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._busy = False
        self._closed = False
        self._hurry = False  # somebody waits for everything to be written
        self._condition = threading.Condition()

    def put(self, item: Item) -> None:
        """Add a message, or drop one."""
        with self._condition:
            full = self._bytes + len(item.data) > self.limit
            if full and (item.spare or not self._make_room(len(item.data))):
                self.dropped[item.topic.name] += 1
                return
            self._items.append(item)
            self._bytes += len(item.data)
            if len(self._items) == 1:
                self._condition.notify_all()

    def _make_room(self, needed: int) -> bool:
        kept: deque[Item] = deque()
        for item in self._items:
            if item.spare and self._bytes + needed > self.limit:
                self._bytes -= len(item.data)
                self.dropped[item.topic.name] += 1
            else:
                kept.append(item)
        self._items = kept
        return self._bytes + needed <= self.limit

    def take(self, timeout: float) -> Item | None:
        """Remove the oldest message; None when there is none for ``timeout`` s, or for good.

        The message before counts as done.
        """
        with self._condition:
            self._done()
            if not self._items and self._condition.wait_for(self._called, timeout):
                # What a control step brings is written in one go: each waking of the writer takes
                # time from those that move the arm.
                self._condition.wait_for(lambda: self._hurry or self._closed, GATHER)
            if not self._items:
                return None
            item = self._items.popleft()
            self._bytes -= len(item.data)
            self._busy = True
            return item

    def _called(self) -> bool:
        return bool(self._items) or self._closed

    def _done(self) -> None:
        if self._busy:
            self._busy = False
            self._condition.notify_all()

    def wait_empty(self, timeout: float) -> bool:
        """Wait until everything is done; whether it is."""
        with self._condition:
            self._hurry = True
            self._condition.notify_all()
            empty = self._condition.wait_for(
                lambda: not (self._items or self._busy) or self._closed, timeout
            )
            self._hurry = False
            return empty

    def give_up(self) -> None:
        """Drop what still waits."""
        with self._condition:
            self.dropped.update(item.topic.name for item in self._items)
            self._items.clear()
            self._bytes = 0

    def clear(self) -> None:
        """Forget what waits, and the counts."""
        with self._condition:
            self._items.clear()
            self._bytes = 0
            self.dropped.clear()
            self._condition.notify_all()

    def close(self) -> None:
        """Wake whoever waits, for good."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed
