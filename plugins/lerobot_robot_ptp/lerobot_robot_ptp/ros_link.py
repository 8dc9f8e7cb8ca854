# SPDX-License-Identifier: Apache-2.0
"""A node on a ROS graph with a thread of its own. LeRobot is not needed here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
COMMANDS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
POLL = 0.05  # s between looks at the graph


class RosLink:
    """Base of what talks to the stack: ``node``, and the thread that runs its callbacks.

    A subclass makes its subscriptions and publishers, calls `start`, and takes ``news`` wherever
    it touches what callbacks have stored.

    Args:
        name: of the node.
        domain: of ROS; None: that of ROS_DOMAIN_ID.

    """

    def __init__(self, name: str, domain: int | None = None) -> None:
        self.news = threading.Condition()
        self._context = Context()
        rclpy.init(args=[], context=self._context, domain_id=domain)
        self.node = Node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._spin, name=name, daemon=True)

    def start(self) -> None:
        """Run the callbacks from now on."""
        self._thread.start()

    def close(self) -> None:
        """Leave the graph."""
        self._ending.set()
        self._executor.create_task(lambda: None)  # wakes it
        self._thread.join(5.0)
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def found(self, count: Callable[[], int], seconds: float) -> bool:
        """Whether ``count`` sees somebody on the graph within so many seconds."""
        end = time.monotonic() + seconds
        while not count():
            if time.monotonic() > end or self._ending.wait(POLL):
                return False
        return True

    def _spin(self) -> None:
        try:
            while not self._ending.is_set() and self._context.ok():
                self._executor.spin_once()
        except ExternalShutdownException:
            pass
