# SPDX-License-Identifier: Apache-2.0
"""Practice that waits while a managed node is inactive, instead of failing episode by episode."""

from __future__ import annotations

import math
import time

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.node import Node

from ptp_ros.client import Caller

NAMES = ("arm_driver", "encoder", "planner", "policy", "recorder")
LOOK = 0.5  # s between two looks


class ActiveNodes:
    """Waits until every managed node that answers says that it is active."""

    def __init__(self, node: Node, caller: Caller) -> None:
        self._node = node
        self._caller = caller
        self._clients = [node.create_client(GetState, f"{name}/get_state") for name in NAMES]

    def wait(self, reason: str) -> None:
        """Return when all are. Blocks; not for callbacks. Raises RequestError at the node's end.

        ``reason``: why they are waited for. Nodes that are not there are not waited for.
        """
        self._node.get_logger().warning(f"waiting: {reason}")
        while not self._all_active():
            pass

    def _all_active(self) -> bool:
        """Whether all are, `LOOK` s after they were asked."""
        ready = [client for client in self._clients if client.service_is_ready()]
        asked = [client.call_async(GetState.Request()) for client in ready]
        due = time.monotonic() + LOOK
        self._caller.until(lambda: time.monotonic() >= due, math.inf, "the states of nodes")
        states = [future.result().current_state.id for future in asked if future.done()]
        return states == [State.PRIMARY_STATE_ACTIVE] * len(asked)
