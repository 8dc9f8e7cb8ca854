# SPDX-License-Identifier: Apache-2.0
"""Messages of every control step: fast subscriptions, and publishers that keep a history.

rclpy's usual executors check every timer, service, action and subscription of a node for each
message. Its EventsExecutor is notified of the entity that has a message, which costs much less,
but it runs no coroutines. So `Streams` runs the frequent subscriptions in an EventsExecutor in a
thread of its own, and the node's executor runs everything else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.executors import ExternalShutdownException
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message
from rclpy.subscription import Subscription

from ptp_ros.topics import LATCHED, history_of

try:
    from rclpy.experimental import EventsExecutor
except ImportError:  # an older rclpy: the node's executor runs everything
    EventsExecutor = None

CLOCK = "/clock"  # simulated time: one message each step
POLL = 0.2  # s between checks whether the thread shall end


class _StreamGroup(CallbackGroup):
    """Callback group that the node's own executor never runs."""

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        pass


class _StreamNode:
    """View of a node for the EventsExecutor: only the subscriptions of one callback group."""

    timers = clients = services = waitables = guards = ()
    executor = None

    def __init__(self, node: Node, group: CallbackGroup) -> None:
        self._node = node
        self._group = group

    @property
    def subscriptions(self) -> Iterator[Subscription]:
        return (s for s in self._node.subscriptions if s.callback_group is self._group)

    def get_logger(self) -> RcutilsLogger:
        """Logger for the executor, which names the node of a callback that raises."""
        return self._node.get_logger()


class Streams:
    """Subscriptions of a node whose callbacks run in one thread, beside the node's executor.

    Callbacks must be thread-safe and short: they pass the work to another thread. An exception
    of a callback is raised in the node's executor. Call `start` when the node is made, and `stop`
    before it is destroyed.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._group = _StreamGroup()
        self._executor = None
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()

    def subscribe(
        self,
        kind: type,
        topic: str,
        callback: Callable[[Any], None],
        qos: QoSProfile,
        raw: bool = False,
    ) -> Subscription:
        """Subscribe as `Node.create_subscription` does."""
        if EventsExecutor is None:
            return self._node.create_subscription(kind, topic, callback, qos, raw=raw)
        made = self._node.create_subscription(
            kind, topic, callback, qos, callback_group=self._group, raw=raw
        )
        if self._executor is not None:
            self._executor.wake()
        return made

    def start(self) -> None:
        """Start the thread that runs the callbacks."""
        if EventsExecutor is None or self._thread is not None:
            return
        for subscription in self._node.subscriptions:
            if subscription.topic_name == CLOCK:
                # The subscription's events, too: they would wake the node's executor each time.
                for entity in (subscription, *subscription.event_handlers):
                    entity.callback_group = self._group
        self._executor = EventsExecutor(context=self._node.context)
        self._executor.add_node(_StreamNode(self._node, self._group))
        self._thread = threading.Thread(target=self._spin, name="streams", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. No callback runs after it."""
        self._ending.set()
        if self._thread is not None:
            self._executor.create_task(lambda: None)  # wakes the executor
            self._thread.join()
            self._thread = None
            self._executor.shutdown()

    def _spin(self) -> None:
        try:
            while not self._ending.is_set():
                # With a time limit, because the executor holds Python's lock while it waits.
                self._executor.spin_once(timeout_sec=POLL)
        except ExternalShutdownException:
            pass
        except Exception as error:
            self._raise(error)

    def _raise(self, error: Exception) -> None:
        def again() -> None:
            raise error

        if (executor := self._node.executor) is not None:
            executor.create_task(again)


class HistoryPublisher:
    """Publishes each message twice: for those who look, and for the recorder.

    ``newest`` is the publisher of ``topic``. It keeps one message, so that whoever comes late,
    `ros2 topic echo --once` for one, gets the newest. ``history`` is that of `history_of(topic)`.
    It keeps as many as ``kept`` says, so that a recorder that was found late or stalled asks for
    what it missed. A message is serialised once.

    ``managed``: both are publishers of a life-cycle node, silent while it is inactive.
    """

    def __init__(
        self, node: Node, kind: type, topic: str, kept: QoSProfile, managed: bool = False
    ) -> None:
        make: Any = node.create_lifecycle_publisher if managed else node.create_publisher
        self.history = make(kind, history_of(topic), kept)
        self.newest = make(kind, topic, LATCHED)

    def publish(self, message: Any) -> None:
        """Publish on both; who acts on a message has it first."""
        data = serialize_message(message)
        self.newest.publish(data)
        self.history.publish(data)
