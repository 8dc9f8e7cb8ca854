# SPDX-License-Identifier: Apache-2.0
"""Test fixture: a real ROS graph in the test process, with a client and a domain of its own."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from domain_coordinator import domain_id
from rcl_interfaces.msg import Log
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile

PATIENCE = 60.0  # s; only a failing test waits this long
Spinning = tuple[Node, SingleThreadedExecutor, threading.Event, threading.Thread]


def parameters(values: dict[str, Any]) -> list[Parameter]:
    """Parameter overrides for a node made in a test."""
    return [Parameter(name, value=value) for name, value in values.items()]


class Graph:
    """Context manager. Each node spins in a thread of its own, as it would in its process."""

    def __enter__(self) -> Graph:
        self._exit = contextlib.ExitStack()
        # A test session that gives each test a domain sets it in the environment.
        given = os.environ.get("ROS_DOMAIN_ID")
        domain = int(given) if given else self._exit.enter_context(domain_id())
        self.context = Context()
        rclpy.init(args=[], context=self.context, domain_id=domain)
        self._news = threading.Condition()
        self._spinning: list[Spinning] = []
        self.client = self.add(Node("test_client", context=self.context))
        return self

    def __exit__(self, *error) -> None:
        while self._spinning:
            self.remove(self._spinning[-1][0])
        rclpy.try_shutdown(context=self.context)
        self._exit.close()
        # A destroyed node stays in the process-wide list of /rosout writers until it is collected.
        # The next node of that name would log into the closed context.
        gc.collect()

    def add(self, node: Node) -> Node:
        """Start ``node`` (made with ``context=graph.context``) as its main function would."""
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(node)
        if hasattr(node, "start"):
            node.start()
        stopped = threading.Event()
        thread = threading.Thread(target=self._spin, args=(executor, stopped), daemon=True)
        self._spinning.append((node, executor, stopped, thread))
        thread.start()
        return node

    def remove(self, node: Node) -> None:
        """Stop and destroy ``node``, as at the end of its process."""
        entry = next(entry for entry in self._spinning if entry[0] is node)
        self._spinning.remove(entry)
        _, executor, stopped, thread = entry
        stopped.set()
        executor.create_task(lambda: None)  # wakes it; shut down while it spins, it may fail
        thread.join(PATIENCE)
        executor.shutdown()
        if hasattr(node, "stop"):
            node.stop()
        node.destroy_node()

    @staticmethod
    def _spin(executor: SingleThreadedExecutor, stopped: threading.Event) -> None:
        with contextlib.suppress(ExternalShutdownException):
            while not stopped.is_set() and executor.context.ok():
                executor.spin_once()

    def collect(self, kind: type, topic: str, qos: QoSProfile) -> list:
        """A list that grows with each message on ``topic``."""
        messages: list = []

        def arrived(message: Any) -> None:
            with self._news:
                messages.append(message)
                self._news.notify_all()

        self.client.create_subscription(kind, topic, arrived, qos)
        self.client.executor.wake()
        return messages

    def publisher(self, kind: type, topic: str, qos: QoSProfile, readers: int = 1):
        """A publisher on ``topic`` that at least ``readers`` subscriptions have found."""
        publisher = self.client.create_publisher(kind, topic, qos)
        self.wait(lambda: publisher.get_subscription_count() >= readers, f"reader of {topic}")
        return publisher

    def wait(self, condition: Callable[[], bool], what: str = "condition") -> None:
        """Return as soon as ``condition()`` holds; fail after PATIENCE."""
        deadline = time.monotonic() + PATIENCE
        with self._news:
            while not condition():
                if time.monotonic() > deadline:
                    raise AssertionError(f"waited {PATIENCE} s for {what}")
                self._news.wait(0.01)

    def finish(self, send: Callable[[], Any]) -> Any:
        """Result of the future that ``send()`` returns; it is sent by the client's own thread."""
        sent = self.client.executor.create_task(send)
        self.wait(sent.done, "request")
        future = sent.result()
        self.wait(future.done, "answer")
        return future.result()

    def call(self, kind: type, name: str, request: Any) -> Any:
        """Response of a service."""
        client = self.client.create_client(kind, name)
        self.wait(client.service_is_ready, f"service {name}")
        return self.finish(lambda: client.call_async(request))

    def send_goal(self, kind: type, name: str, goal: Any, feedback: list | None = None) -> Any:
        """Client goal handle of an action goal, once it is accepted."""
        client = ActionClient(self.client, kind, name)
        self.wait(client.server_is_ready, f"action {name}")
        note = None if feedback is None else lambda m: feedback.append(m.feedback)
        return self.finish(lambda: client.send_goal_async(goal, note))

    def result(self, handle: Any) -> Any:
        """Wrapped result (``.status``, ``.result``) of a goal."""
        return self.finish(handle.get_result_async)

    def logs(self) -> Logs:
        """Log messages of the nodes from now on, and the newest ones before."""
        kept = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        return Logs(self, self.collect(Log, "/rosout", kept))


class Logs:
    """Log messages of a graph."""

    def __init__(self, graph: Graph, messages: list[Log]) -> None:
        self._graph = graph
        self._messages = messages

    def expect(self, text: str, level: int = 0) -> None:
        """Wait until a line contains ``text``, at ``level`` or above."""
        self._graph.wait(lambda: self.count(text, level) > 0, f'a log line with "{text}"')

    def lines(self) -> list[str]:
        """The lines so far."""
        return [message.msg for message in list(self._messages)]

    def count(self, text: str, level: int = 0) -> int:
        """How many lines so far contain ``text``, at ``level`` or above."""
        return sum(text in m.msg and m.level >= level for m in list(self._messages))
