# SPDX-License-Identifier: Apache-2.0
"""Requests to a robot, repeated until its state shows the effect; counts of bad messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ptp_robot.backends.sawyer_messages import ENABLE, RESET, STOP

__all__ = ["REQUESTS", "Handshakes", "Problems", "Request"]

KINDS = 50  # different texts that are counted: a robot may put numbers into them
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
        """No message arrives: count that once for each outage, after `PATIENCE`."""
        if self._missing is None:
            self._missing = now
        elif now - self._missing > PATIENCE:
            self._missing = np.inf
            self.count(text)

    def found(self) -> None:
        """Messages arrive again."""
        self._missing = None

    def so_far(self) -> dict[str, int]:
        """All counts."""
        return dict(self._counts)


class Request(NamedTuple):
    """A message, and what to say when the robot did not answer it in time [s]."""

    topic: str
    message: Mapping[str, Any]
    failure: str


REQUESTS = {
    "enable": Request(
        ENABLE,
        {"data": True},
        "the robot did not turn its motors on within {:g} s: look at its screen, clear the fault, "
        "then enable again",
    ),
    "disable": Request(
        ENABLE,
        {"data": False},
        "the robot did not turn its motors off within {:g} s: press the emergency stop",
    ),
    "stop": Request(STOP, {}, "the robot did not stop within {:g} s: press the emergency stop"),
    "reset": Request(
        RESET,
        {},
        "the robot did not forget its error within {:g} s: read its log, restart the robot",
    ),
}


@dataclass
class _Request:
    topic: str
    message: Mapping[str, Any]
    done: Callable[[], bool]
    again: float  # when to send next
    until: float
    failure: str


class Handshakes:
    """Pending requests, at most one for each name; a new one replaces the old.

    ``every`` is the time between repetitions [s]. Times are of one steady clock [s]; it moves
    only when `due` is called.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._requests: dict[str, _Request] = {}

    def ask(
        self,
        name: str,
        topic: str,
        message: Mapping[str, Any],
        done: Callable[[], bool],
        now: float,
        patience: float,
        failure: str = "",
    ) -> None:
        """Send ``message`` until ``done()``; after ``patience`` [s] report ``failure``."""
        self._requests[name] = _Request(topic, message, done, now, now + patience, failure)

    def drop(self, name: str | None = None) -> None:
        """Drop one request, or all."""
        if name is None:
            self._requests.clear()
        else:
            self._requests.pop(name, None)

    def pending(self, name: str) -> bool:
        """Whether this request is pending."""
        return name in self._requests

    def due(self, now: float) -> tuple[list[tuple[str, Mapping[str, Any]]], dict[str, str]]:
        """What to send now, as topics and messages; and name to text of what failed."""
        send, failed = [], {}
        for name, request in list(self._requests.items()):
            if request.done():
                del self._requests[name]
            elif now >= request.until:
                failed[name] = request.failure
                del self._requests[name]
            elif now >= request.again:
                request.again = now + self._every
                send.append((request.topic, request.message))
        return send, failed
