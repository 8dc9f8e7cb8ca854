# SPDX-License-Identifier: Apache-2.0
"""Whether others are there: whoever wants an arm to move, the arm, managed nodes, learner, view.

Whoever moves an arm must know that the arm is there, and that somebody still wants it to. The
middleware notices a killed process seconds later; an arm should stand still long before. Practice
waits, instead of failing episodes. A policy that is filmed waits for the view.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from ptp_interfaces.msg import DriverState, ErrorCode
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Float64, String

from ptp_ros.blocking_client import Caller
from ptp_ros.node_main import RCLError
from ptp_ros.request_errors import RequestError
from ptp_ros.streams import Streams
from ptp_ros.topics import ALIVE, DRIVER_STATE, LATCHED, LEARNER_DUE, SENSOR

PERIOD = 0.03  # s between signs
POLL = 0.05  # s between looks at whether the goal was canceled

NAMES = ("arm_driver", "encoder", "planner", "policy", "recorder")
LOOK = 0.5  # s between two looks
UNABLE = (DriverState.DISCONNECTED, DriverState.DISABLED, DriverState.FAULT)
ENABLED = (DriverState.READY, DriverState.ACTIVE, DriverState.HOLD)
SILENCE = 10.0  # s without news from the learner; it died then, and nobody waits for it
START = 30.0  # s that learner and view may take to come up; then it goes on without them
VIEW = "view"


def wait_for_reader(commands: Publisher, give_up_after: float, check: Callable[[], None]) -> None:
    """Return when somebody takes commands: just after a start nodes may not know each other.

    ``check`` is called every few hundredths of a second and may raise. Raises RequestError when
    nobody is there for ``give_up_after`` s.
    """
    began, pause = time.monotonic(), threading.Event()
    while not commands.get_subscription_count():
        check()
        if time.monotonic() - began > give_up_after:
            raise RequestError(
                ErrorCode.UNAVAILABLE,
                f"nobody takes commands from {commands.topic_name}: is the arm's node running?",
            )
        pause.wait(POLL)


class ViewReady:
    """Waits until the view node gets the steps, so that it films all; not ``wanted``: never."""

    def __init__(self, node: Node, steps: Publisher, wanted: bool) -> None:
        self._node = node
        self._steps = steps
        self._wanted = wanted

    def wait(self, check: Callable[[], None]) -> None:
        """Return when it does, or has not come up within `START` s. Blocks; not for callbacks.

        ``check`` is called every few hundredths of a second and may raise. A view that once did
        not come up is not waited for again.
        """
        began, pause = time.monotonic(), threading.Event()
        while self._wanted and not self._heard():
            check()
            if time.monotonic() - began > START:
                self._wanted = False
                self._node.get_logger().warning(
                    f"the view did not come up within {START:g} s: what follows is not filmed"
                )
            pause.wait(POLL)

    def _heard(self) -> bool:
        """Whether all readers that are known are matched, and the view is one of them."""
        readers = self._node.get_subscriptions_info_by_topic(self._steps.topic_name)
        return (
            any(reader.node_name == VIEW for reader in readers)
            and len(readers) <= self._steps.get_subscription_count()
        )


class HeartbeatPublisher:
    """Publishes ``episode()``, the name of the episode that is wanted, for as long as it lives.

    From a thread: the node's executor would look at everything else at each sign. Call `stop`
    before the node is destroyed.
    """

    def __init__(self, node: Node, episode: Callable[[], str]) -> None:
        self._episode = episode
        self._publisher = node.create_publisher(String, ALIVE, SENSOR)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._publish, name="signs_of_life", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ending.set()
        self._thread.join()

    def _publish(self) -> None:
        while not self._ending.wait(PERIOD):
            try:
                self._publisher.publish(String(data=self._episode()))
            except RCLError:  # the context has just been shut down
                return


class Heartbeat:
    """Listens for signs of life. ``patience`` is how long they may stay away, s; 0: for ever."""

    def __init__(self, streams: Streams, patience: float) -> None:
        self._patience = patience
        self._news = threading.Condition()
        self._episode = ""
        self._heard = -float("inf")
        if patience > 0.0:
            streams.subscribe(String, ALIVE, self._arrived, SENSOR)

    def _arrived(self, message: String) -> None:
        with self._news:
            self._episode, self._heard = message.data, time.monotonic()
            self._news.notify_all()

    def wait(
        self,
        episode: str,
        give_up_after: float,
        on_silence: Callable[[RequestError], None],
        check: Callable[[], None],
    ) -> None:
        """Return as soon as a sign of life of ``episode`` is recent.

        ``on_silence`` is told once when there is none; ``check`` is called every few hundredths
        of a second and may raise. Raises RequestError when the client wants something else by
        now, or stays silent for ``give_up_after`` s.
        """
        if self._patience <= 0.0:
            return
        began: float | None = None
        with self._news:
            while not self._recent(episode):
                now = time.monotonic()
                silence = RequestError(
                    ErrorCode.UNAVAILABLE,
                    f"no sign of life from the client for {self._patience:g} s: did it die?",
                )
                if began is None:
                    began = now
                    on_silence(silence)
                elif now - began > give_up_after:
                    raise silence
                check()
                self._news.wait(POLL)

    def _recent(self, episode: str) -> bool:
        if time.monotonic() - self._heard > self._patience:
            return False
        if self._episode != episode:
            raise RequestError(
                ErrorCode.CANCELED,
                f"the client wants {self._episode or 'nothing'} now, no more {episode}",
            )
        return True


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
