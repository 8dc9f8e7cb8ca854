# SPDX-License-Identifier: Apache-2.0
"""A node's health on ``/diagnostics``, once a second."""

from __future__ import annotations

from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
Status = tuple[bytes, str, dict[str, object]]  # level, message, figures


class Diagnostics:
    """Publishes what ``status()`` returns: level, one line, named figures."""

    def __init__(self, node: Node, status: Callable[[], Status], period: float = 1.0) -> None:
        self._node = node
        self._status = status
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # A steady clock: health is reported even while simulated time stands still.
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
