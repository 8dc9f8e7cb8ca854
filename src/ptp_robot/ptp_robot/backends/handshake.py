# SPDX-License-Identifier: Apache-2.0
"""Requests that a robot answers by its state: told again and again until it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Handshakes"]


@dataclass
class _Request:
    topic: str
    message: Mapping[str, Any]
    done: Callable[[], bool]
    again: float  # when to send next
    until: float
    failure: str


class Handshakes:
    """At most one request a name; a new one takes the place of the old.

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
        """Send ``message`` until ``done()``, or for ``patience`` [s]: then it is a ``failure``."""
        self._requests[name] = _Request(topic, message, done, now, now + patience, failure)

    def drop(self, name: str | None = None) -> None:
        """Forget one request, or all."""
        if name is None:
            self._requests.clear()
        else:
            self._requests.pop(name, None)

    def pending(self, name: str) -> bool:
        """Whether this request is still being made."""
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
