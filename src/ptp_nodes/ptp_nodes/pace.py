# SPDX-License-Identifier: Apache-2.0
"""Practice that does not run away from its learner."""

from __future__ import annotations

import math
import time

from rclpy.node import Node
from std_msgs.msg import Float64

from ptp_ros.client import Caller
from ptp_ros.topics import LATCHED, LEARNER_DUE

SILENCE = 10.0  # s without news from the learner; it died then, and nobody waits for it


class Pace:
    """Waits while the learner has more than ``most`` updates to make up for; 0: never."""

    def __init__(self, node: Node, caller: Caller, most: int) -> None:
        self._node = node
        self._caller = caller
        self._most = most
        self._due, self._heard = 0.0, -math.inf
        if most > 0:
            node.create_subscription(Float64, LEARNER_DUE, self._arrived, LATCHED)

    def _arrived(self, message: Float64) -> None:
        self._due, self._heard = message.data, time.monotonic()
        self._caller.notify()

    def wait(self) -> None:
        """Return when the learner has caught up, or is not there. Blocks; not for callbacks.

        Raises RequestError when the node stops.
        """
        if not self._ahead():
            return
        self._node.get_logger().info(
            f"waiting for the learner, which has {self._due:.0f} updates to make"
        )
        self._caller.until(lambda: not self._ahead(), math.inf, "the learner")

    def _ahead(self) -> bool:
        return (
            self._most > 0 and self._due > self._most and time.monotonic() - self._heard < SILENCE
        )
