# SPDX-License-Identifier: Apache-2.0
"""Practice that begins no episode while the arm cannot move."""

from __future__ import annotations

import math

from ptp_interfaces.msg import DriverState
from rclpy.node import Node

from ptp_ros.client import Caller
from ptp_ros.topics import DRIVER_STATE, LATCHED

ENABLED = (DriverState.READY, DriverState.ACTIVE, DriverState.HOLD)


class ArmReady:
    """Waits until the arm driver is enabled and no person has the arm; not ``wanted``: never."""

    def __init__(self, node: Node, caller: Caller, wanted: bool) -> None:
        self._node = node
        self._caller = caller
        self._wanted = wanted
        self._state: int | None = None  # not heard of yet
        self._reason = ""
        if wanted:
            node.create_subscription(DriverState, DRIVER_STATE, self._arrived, LATCHED)

    def _arrived(self, message: DriverState) -> None:
        changed = message.state != self._state
        self._state, self._reason = message.state, message.reason
        if changed:
            self._caller.notify()

    def wait(self) -> None:
        """Return when it may move. Blocks; not for callbacks.

        Raises RequestError when the node stops.
        """
        if self._ready():
            return
        what = "nothing is heard of its driver" if self._state is None else self._reason
        self._node.get_logger().info(
            f"waiting for the arm ({what}): ptp doctor --real, then ptp arm enable"
        )
        self._caller.until(self._ready, math.inf, "the arm")

    def _ready(self) -> bool:
        return not self._wanted or self._state in ENABLED
