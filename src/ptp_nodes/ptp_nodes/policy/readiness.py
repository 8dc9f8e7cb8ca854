# SPDX-License-Identifier: Apache-2.0
"""Wait, instead of failing episodes, for the arm, for managed nodes and for the learner."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from ptp_interfaces.msg import DriverState, ErrorCode
from rclpy.node import Node
from std_msgs.msg import Float64

from ptp_ros.blocking_client import Caller
from ptp_ros.request_errors import RequestError
from ptp_ros.streams import Streams
from ptp_ros.topics import DRIVER_STATE, LATCHED, LEARNER_DUE

NAMES = ("arm_driver", "encoder", "planner", "policy", "recorder")
LOOK = 0.5  # s between two looks
UNABLE = (DriverState.DISCONNECTED, DriverState.DISABLED, DriverState.FAULT)
ENABLED = (DriverState.READY, DriverState.ACTIVE, DriverState.HOLD)
POLL = 0.05  # s between looks at whether the goal was canceled
SILENCE = 10.0  # s without news from the learner; it died then, and nobody waits for it
START = 30.0  # s that the learner may take to come up before practice begins without it


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


class ArmAvailable:
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
