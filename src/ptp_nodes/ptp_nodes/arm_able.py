# SPDX-License-Identifier: Apache-2.0
"""A policy that waits while its arm cannot move, instead of counting steps that nobody takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ptp_interfaces.msg import DriverState, ErrorCode

from ptp_ros.errors import RequestError
from ptp_ros.streams import Streams
from ptp_ros.topics import DRIVER_STATE, LATCHED

UNABLE = (DriverState.DISCONNECTED, DriverState.DISABLED, DriverState.FAULT)
POLL = 0.05  # s between looks at whether the goal was canceled


class ArmAble:
    """Listens to the arm driver. Where there is none, as with the simulated table, it is able."""

    def __init__(self, streams: Streams) -> None:
        self._news = threading.Condition()
        self._state: DriverState | None = None
        streams.subscribe(DriverState, DRIVER_STATE, self._arrived, LATCHED)

    def _arrived(self, state: DriverState) -> None:
        with self._news:
            self._state = state
            self._news.notify_all()

    def wait(
        self,
        give_up_after: float,
        on_wait: Callable[[RequestError], None],
        check: Callable[[], None],
    ) -> None:
        """Return as soon as the arm can move.

        ``on_wait`` is told once why it cannot; ``check`` is called every few hundredths of a
        second and may raise. Raises RequestError when that lasts for ``give_up_after`` s.
        """
        began: float | None = None
        with self._news:
            while self._state is not None and self._state.state in UNABLE:
                now = time.monotonic()
                reason = self._state.reason or "its driver is not ready"
                error = RequestError(ErrorCode.NOT_ACTIVE, f"the arm cannot move: {reason}")
                if began is None:
                    began = now
                    on_wait(error)
                elif now - began > give_up_after:
                    raise error
                check()
                self._news.wait(POLL)
