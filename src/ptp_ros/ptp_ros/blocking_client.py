# SPDX-License-Identifier: Apache-2.0
"""Blocking client of services and actions, for a thread beside the executor."""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from ptp_interfaces.msg import ErrorCode
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future
from unique_identifier_msgs.msg import UUID

from ptp_ros.request_errors import RequestError

POLL = 0.1  # s between checks whether the node stops
REPEAT = 4.0  # s without an answer until a request is sent again; doubles each time
RAREST = 30.0  # s between two requests, at most: a restarted server did not get the earlier ones


class Caller:
    """Blocking calls of one thread. Each call returns in time or raises RequestError.

    The error names the service or action that did not answer. Never use it in a callback, because
    the executor must spin meanwhile. `stop` ends every wait.

    A request without an answer is sent again. A server that has discovered the client, but not yet
    the client's reader, drops its answer after 0.1 s (rmw_fastrtps). On a busy machine that
    happens to the first request of a graph.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._stop = threading.Event()
        self._news = threading.Condition()

    def stop(self) -> None:
        """End the waiting call and every later one with SHUTTING_DOWN."""
        self._stop.set()
        self.notify()

    def notify(self) -> None:
        """Make `until` check its condition now."""
        with self._news:
            self._news.notify_all()

    def until(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        """Wait until ``condition()`` holds, at most ``timeout`` s on the steady clock."""
        deadline = time.monotonic() + timeout
        with self._news:
            while not condition():
                if self._stop.is_set() or not self._node.context.ok():
                    raise RequestError(ErrorCode.SHUTTING_DOWN, "the node stops")
                if time.monotonic() > deadline:
                    raise RequestError(
                        ErrorCode.UNAVAILABLE, f"{what} did not come within {timeout:g} s"
                    )
                self._news.wait(POLL)

    def service(
        self,
        client: Client,
        request: Any,
        timeout: float,
        repeat: bool = True,
        appears: float | None = None,
    ) -> Any:
        """Response of a service. Raises RequestError where the response has an error.

        ``repeat`` False: the request must not be sent twice. ``appears``: seconds to wait until
        the service exists; None: as long as for its answer.
        """
        name = client.srv_name
        patience = timeout if appears is None else appears
        self.until(client.service_is_ready, patience, f"the service {name}")
        answer = self._ask(lambda: client.call_async(request), timeout, name, repeat)
        return self._checked(answer)

    def trigger(self, client: Client, timeout: float) -> str:
        """Call a std_srvs/Trigger once; its message. Raises RequestError where it failed."""
        name = client.srv_name
        self.until(client.service_is_ready, timeout, f"the service {name}")
        answer = self._ask(
            lambda: client.call_async(client.srv_type.Request()), timeout, name, repeat=False
        )
        if not answer.success:
            raise RequestError(ErrorCode.UNAVAILABLE, answer.message)
        return answer.message

    def action(
        self,
        client: ActionClient,
        name: str,
        goal: Any,
        timeout: float,
        on_feedback: Callable[[Any], None] | None = None,
        silence: float = math.inf,
    ) -> Any:
        """Result of a goal of the action ``name``. Raises RequestError where it has an error.

        A goal is canceled when it takes longer than ``timeout`` or when this node stops. It is
        canceled after ``silence`` s without feedback, too, because a killed server never answers
        and another server of that name may have replaced it.
        """
        last_feedback = [time.monotonic()]

        def note(feedback: Any) -> None:
            last_feedback[0] = time.monotonic()
            if on_feedback is not None:
                on_feedback(feedback)

        handle = self._send_goal(client, name, goal, timeout, note)
        try:
            future = self._send(handle.get_result_async, timeout, name)
            self.until(
                lambda: future.done() or time.monotonic() - last_feedback[0] > silence,
                timeout,
                f"the answer of {name}",
            )
            if not future.done():
                raise RequestError(
                    ErrorCode.UNAVAILABLE,
                    f"{name} has said nothing for {silence:g} s: its node died, or hangs",
                )
        except RequestError:
            if self._node.context.ok():
                self._node.executor.create_task(handle.cancel_goal_async)
            raise
        return self._checked(future.result().result)

    def begin_action(
        self,
        client: ActionClient,
        name: str,
        goal: Any,
        timeout: float,
        on_feedback: Callable[[Any], None] | None = None,
    ) -> Future:
        """Send a goal without waiting for its end; the future of its wrapped result."""
        handle = self._send_goal(client, name, goal, timeout, on_feedback)
        return self._send(handle.get_result_async, timeout, name)

    def _send_goal(
        self,
        client: ActionClient,
        name: str,
        goal: Any,
        timeout: float,
        on_feedback: Callable[[Any], None] | None,
    ) -> ClientGoalHandle:
        self.until(client.server_is_ready, timeout, f"the action {name}")
        note = None if on_feedback is None else lambda message: on_feedback(message.feedback)
        number = UUID(uuid=list(uuid.uuid4().bytes))
        sent = 0

        def send() -> Future:
            nonlocal sent
            sent += 1
            return client.send_goal_async(goal, note, number)

        # A running server accepts a goal at once. A killed one may look ready for a while.
        handle = self._ask(send, min(timeout, 2 * REPEAT), name)
        # It rejects a goal id that it has already: then the first request did arrive.
        if not handle.accepted and sent == 1:
            raise RequestError(ErrorCode.UNAVAILABLE, f"{name} rejected the goal")
        return handle

    def _ask(
        self, send: Callable[[], Future], timeout: float, name: str, repeat: bool = True
    ) -> Any:
        """Result of the future that ``send()`` returned last; a server answers in order."""
        deadline = time.monotonic() + timeout
        wait = REPEAT if repeat else timeout
        while True:
            future = self._send(send, timeout, name)
            ends = min(time.monotonic() + wait, deadline)
            self.until(
                lambda sent=future, end=ends: sent.done() or time.monotonic() > end,
                math.inf,
                f"the answer of {name}",
            )
            if future.done():
                return future.result()
            if time.monotonic() > deadline:
                raise RequestError(
                    ErrorCode.UNAVAILABLE,
                    f"the answer of {name} did not come within {timeout:g} s",
                )
            self._node.get_logger().warning(f"no answer of {name} for {wait:g} s: asked again")
            wait = min(2 * wait, RAREST)

    def _send(self, send: Callable[[], Future], timeout: float, name: str) -> Future:
        """The future that ``send()`` returns.

        The executor's thread sends the request. In another thread an action client may get the
        answer before it has stored the request, and then it ignores the answer.
        """
        sent = self._node.executor.create_task(send)
        sent.add_done_callback(lambda done: self.notify())
        self.until(sent.done, timeout, f"the request to {name}")
        future = sent.result()
        future.add_done_callback(lambda done: self.notify())
        return future

    @staticmethod
    def _checked(answer: Any) -> Any:
        if answer.error_code != ErrorCode.NONE:
            raise RequestError(answer.error_code, answer.error_msg)
        return answer
