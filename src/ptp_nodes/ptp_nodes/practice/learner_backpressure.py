# SPDX-License-Identifier: Apache-2.0
"""Practice that does not run away from its learner."""

from __future__ import annotations

import math
import time

from ptp_interfaces.msg import ErrorCode
from rclpy.node import Node
from std_msgs.msg import Float64

from ptp_ros.blocking_client import Caller
from ptp_ros.request_errors import RequestError
from ptp_ros.topics import LATCHED, LEARNER_DUE

SILENCE = 10.0  # s without news from the learner; it died then, and nobody waits for it
START = 30.0  # s that the learner may take to come up before practice begins without it


class LearnerBackpressure:
    """Waits while the learner has more than ``most`` updates to make up for; 0: never.

    The first wait is for the learner to come up, so that it misses no news of its weights.
    """

    def __init__(self, node: Node, caller: Caller, most: int) -> None:
        self._node = node
        self._caller = caller
        self._most = most
        self._due, self._heard = 0.0, -math.inf
        self._expected = most > 0  # not heard of yet
        if most > 0:
            node.create_subscription(Float64, LEARNER_DUE, self._arrived, LATCHED)

    def _arrived(self, message: Float64) -> None:
        self._due, self._heard = message.data, time.monotonic()
        self._caller.notify()

    def wait(self) -> None:
        """Return when the learner has caught up, or is not there. Blocks; not for callbacks.

        Raises RequestError when the node stops.
        """
        if self._expected:
            self._expected = False
            self._await_first_news()
        if not self._ahead():
            return
        self._node.get_logger().info(
            f"waiting for the learner, which has {self._due:.0f} updates to make"
        )
        self._caller.until(lambda: not self._ahead(), math.inf, "the learner")

    def _await_first_news(self) -> None:
        logger = self._node.get_logger()
        if self._heard == -math.inf:
            logger.info("waiting for the learner to come up")
        try:
            self._caller.until(lambda: self._heard > -math.inf, START, "the learner")
        except RequestError as error:
            if error.code == ErrorCode.SHUTTING_DOWN:
                raise
            logger.warning(f"the learner did not come up within {START:g} s: going on without it")

    def _ahead(self) -> bool:
        return (
            self._most > 0 and self._due > self._most and time.monotonic() - self._heard < SILENCE
        )
