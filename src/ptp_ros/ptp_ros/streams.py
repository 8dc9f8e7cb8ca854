# SPDX-License-Identifier: Apache-2.0
"""Subscriptions to what comes with every control step, beside a node's other callbacks.

rclpy's executors look at every timer, service, action and subscription of a node for each message;
its EventsExecutor is told which one has news, for much less, but serves no coroutines. So each has
its part: streams here, in a thread of their own, all else in the node's executor.
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
from rclpy.subscription import Subscription

try:
    from rclpy.experimental import EventsExecutor
except ImportError:  # an rclpy from before it: the node's executor takes everything
    EventsExecutor = None

CLOCK = "/clock"  # simulated time ticks with every step, too
BEAT = 0.2  # s between looks at whether the thread shall end


class _Apart(CallbackGroup):
    """What the node's own executor leaves alone."""

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        pass


class _Part:
    """A node as the EventsExecutor sees it: nothing but the subscriptions of one group."""

    timers = clients = services = waitables = guards = ()
    executor = None

    def __init__(self, node: Node, group: CallbackGroup) -> None:
        self._node = node
        self._group = group

    @property
    def subscriptions(self) -> Iterator[Subscription]:
        return (s for s in self._node.subscriptions if s.callback_group is self._group)

    def get_logger(self) -> RcutilsLogger:
        """For the executor, which names the node of a callback that raises."""
        return self._node.get_logger()


class Streams:
    """Subscriptions of a node whose callbacks run in one thread, apart from its executor.

    Callbacks must be safe beside the node's others, and short: they hand over. What one raises is
    raised in the node's executor. Call `start` when the node is made, `stop` before it is
    destroyed.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._group = _Apart()
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
        """A subscription like `Node.create_subscription`'s."""
        if EventsExecutor is None:
            return self._node.create_subscription(kind, topic, callback, qos, raw=raw)
        made = self._node.create_subscription(
            kind, topic, callback, qos, callback_group=self._group, raw=raw
        )
        if self._executor is not None:
            self._executor.wake()
        return made

    def start(self) -> None:
        """Begin to call back."""
        if EventsExecutor is None or self._thread is not None:
            return
        for subscription in self._node.subscriptions:
            if subscription.topic_name == CLOCK:
                # Its events too: they wake whoever waits for them at each message.
                for entity in (subscription, *subscription.event_handlers):
                    entity.callback_group = self._group
        self._executor = EventsExecutor(context=self._node.context)
        self._executor.add_node(_Part(self._node, self._group))
        self._thread = threading.Thread(target=self._spin, name="streams", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; nothing is called any more."""
        self._ending.set()
        if self._thread is not None:
            self._executor.create_task(lambda: None)  # it looks up
            self._thread.join()
            self._thread = None
            self._executor.shutdown()

    def _spin(self) -> None:
        try:
            while not self._ending.is_set():
                # Never without a limit: it would keep Python's lock while it waits.
                self._executor.spin_once(timeout_sec=BEAT)
        except ExternalShutdownException:
            pass
        except Exception as error:
            self._raise(error)

    def _raise(self, error: Exception) -> None:
        def again() -> None:
            raise error

        if (executor := self._node.executor) is not None:
            executor.create_task(again)
