# SPDX-License-Identifier: Apache-2.0
"""Action server that runs one goal at a time, in a thread of its own."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ptp_interfaces.msg import ErrorCode
from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from ptp_core.errors import PtpError
from ptp_ros.request_errors import RequestError, fill_error
from ptp_ros.worker import in_executor


class RunningGoal:
    """The running goal, as the work function gets it."""

    def __init__(self, handle: ServerGoalHandle) -> None:
        self.request = handle.request
        self.interruption: RequestError | None = None
        self._handle = handle

    @property
    def canceled(self) -> bool:
        """Whether the work must end: the client canceled it, or the node interrupts it."""
        return self.interruption is not None or self._handle.is_cancel_requested

    def raise_if_canceled(self) -> None:
        """Raise RequestError when the work must end."""
        if self.interruption is not None:
            raise self.interruption
        if self._handle.is_cancel_requested:
            raise RequestError(ErrorCode.CANCELED, "canceled by the client")

    def feedback(self, feedback: Any) -> None:
        """Publish a Feedback message of the action."""
        if self.interruption is None:
            self._handle.publish_feedback(feedback)


class SingleGoalServer:
    """Runs ``work(goal) -> Result`` for one goal at a time, in a thread.

    Every goal is accepted, so that even a refusal comes with a reason: a second goal while one
    runs, and work that raises, end as aborted with ``error_code`` and ``error_msg`` set. The
    work raises PtpError for what the client did wrong and looks at ``goal.canceled``.
    ``nothing`` makes the result of such an end, which gets the error; None: the type's defaults.
    ``redirect(running, second) -> Result | None`` may let the running goal's work go on with what
    the second goal asks for; its result is the second goal's. None: the second goal is refused.
    It runs in another thread than the work.
    """

    def __init__(
        self,
        node: Node,
        action_type: Any,
        name: str,
        work: Callable[[RunningGoal], Any],
        nothing: Callable[[], Any] | None = None,
        redirect: Callable[[RunningGoal, RunningGoal], Any] | None = None,
    ) -> None:
        self._node = node
        self._nothing = nothing or action_type.Result
        self._name = name
        self._work, self._redirect = work, redirect
        self._lock = threading.Lock()
        self._goal: RunningGoal | None = None
        self._stopped: RequestError | None = None
        self._idle = threading.Event()
        self._idle.set()
        self._free = threading.Event()  # set while the next goal would be accepted
        self._free.set()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._second = ThreadPoolExecutor(1, thread_name_prefix=f"{name}_second")
        self._server = ActionServer(
            node,
            action_type,
            name,
            execute_callback=self._execute,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),
        )

    @property
    def running(self) -> bool:
        """Whether a goal runs now."""
        return self._goal is not None

    def wait_free(self, timeout: float) -> bool:
        """Wait until no goal runs, at most ``timeout`` s. Call it in another thread."""
        return self._free.wait(timeout)

    def interrupt(self, error: RequestError, timeout: float) -> None:
        """End the running goal with ``error`` and wait at most ``timeout`` s for its work."""
        with self._lock:
            if self._goal is not None:
                self._goal.interruption = error
        if not self._idle.wait(timeout):
            self._node.get_logger().warning(f"{self._name}: the goal does not end")

    def stop(self) -> None:
        """End the running goal and its thread."""
        self._stopped = RequestError(ErrorCode.SHUTTING_DOWN, "the node stops")
        self.interrupt(self._stopped, timeout=2.0)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._second.shutdown(wait=False, cancel_futures=True)

    def destroy(self) -> None:
        """Stop, and remove the action from the graph."""
        self.stop()
        self._server.destroy()

    async def _execute(self, handle: ServerGoalHandle) -> Any:
        goal = RunningGoal(handle)
        with self._lock:
            running = self._goal
            if running is None:
                self._goal = goal
                self._free.clear()
        if running is not None and self._redirect is not None and not self._stopped:
            work = self._second.submit(self._redirected, running, goal)
            if (result := await in_executor(self._node, work)) is not None:
                return self._end(handle, result)
        if running is not None or self._stopped:
            error = self._stopped or RequestError(
                ErrorCode.BUSY, f"{self._name}: another goal is running; cancel it or wait"
            )
            self._node.get_logger().error(str(error), throttle_duration_sec=1.0)
            handle.abort()
            return fill_error(self._nothing(), error)
        try:
            work = self._pool.submit(self._guarded, goal)
            result = await in_executor(self._node, work)
        finally:
            self._goal = None
            self._free.set()
        return self._end(handle, result)

    @staticmethod
    def _end(handle: ServerGoalHandle, result: Any) -> Any:
        if result.error_code == ErrorCode.NONE:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return result

    def _guarded(self, goal: RunningGoal) -> Any:
        self._idle.clear()
        try:
            return self._result(goal, lambda: self._work(goal))
        finally:
            self._idle.set()

    def _redirected(self, running: RunningGoal, goal: RunningGoal) -> Any:
        return self._result(goal, lambda: self._redirect(running, goal))

    def _result(self, goal: RunningGoal, work: Callable[[], Any]) -> Any:
        """What ``work`` returns; where it raises, a result that says why."""
        logger = self._node.get_logger()
        try:
            goal.raise_if_canceled()
            return work()
        except PtpError as problem:
            error = goal.interruption or problem  # why it was cancelled says more
            result = fill_error(self._nothing(), error)
            if result.error_code in (ErrorCode.CANCELED, ErrorCode.SHUTTING_DOWN):
                logger.info(f"{self._name}: {error}")
            else:
                logger.error(f"{self._name}: {error}")
        except Exception as error:
            logger.error(f"{self._name}: unexpected\n{traceback.format_exc()}")
            result = fill_error(self._nothing(), error)
        return result
