# SPDX-License-Identifier: Apache-2.0
"""Publishers of a node's health (``/diagnostics``) and of its scalars (``<node>/<name>``)."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Float64

from ptp_core.errors import InputError, quoted
from ptp_ros.topics import LATCHED

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
Status = tuple[bytes, str, dict[str, object]]  # level, message, figures


class Diagnostics:
    """Publishes what ``status()`` returns: level, one line of text, named figures."""

    def __init__(self, node: Node, status: Callable[[], Status], period: float = 1.0) -> None:
        self._node = node
        self._status = status
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # A steady clock, so that health is reported while simulated time is paused, too.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(period, self.publish, clock=clock)

    def publish(self) -> None:
        """Publish now."""
        level, message, figures = self._status()
        status = DiagnosticStatus(level=level, name=self._node.get_fully_qualified_name())
        status.message = message
        status.values = [KeyValue(key=k, value=_text(v)) for k, v in figures.items()]
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


_NAME = re.compile(r"[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*)*")


class Scalars:
    """Publishes named scalars of a node. Any thread may call it.

    ``names`` are advertised at once, so that tools can list them before the first value. Other
    names are advertised at their first value. The topics are latched. NaN and infinity are
    published unchanged, so that a plot shows where the values became invalid.

    Example::

        self._scalars = Scalars(self, "q_loss", "buffer_size")  # learner/q_loss, ...
        self._scalars.publish({"q_loss": 0.3, "buffer_size": 1200})
        Diagnostics(self, lambda: (OK, "learning", self._scalars.newest()))
    """

    def __init__(self, node: Node, *names: str) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._publishers: dict[str, Publisher] = {}
        self._newest: dict[str, float] = {}
        for name in names:
            self._publisher(name)

    def publish(self, values: Mapping[str, float]) -> None:
        """Publish each value: a number or a 0-d array or tensor, in the unit its name says.

        Raises InputError for a name that cannot be a topic: lower-case words of letters, digits
        and underscores, slashes between them.
        """
        with self._lock:
            for name, value in values.items():
                number = float(value)
                self._newest[name] = number
                self._publisher(name).publish(Float64(data=number))

    def newest(self) -> dict[str, float]:
        """The newest value of each name, for `Diagnostics`; NaN before the first."""
        with self._lock:
            return {name: self._newest.get(name, math.nan) for name in self._publishers}

    def _publisher(self, name: str) -> Publisher:
        if name not in self._publishers:
            if not _NAME.fullmatch(name):
                raise InputError(
                    f"{quoted(name)} cannot name a scalar topic: use lower-case "
                    "letters, digits and "
                    "underscores, beginning with a letter"
                )
            self._publishers[name] = self._node.create_publisher(Float64, f"~/{name}", LATCHED)
        return self._publishers[name]
