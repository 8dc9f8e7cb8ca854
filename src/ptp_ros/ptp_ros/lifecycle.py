# SPDX-License-Identifier: Apache-2.0
"""Base class of managed (life-cycle) nodes, with errors for failed transitions."""

from __future__ import annotations

import functools
import traceback
from dataclasses import dataclass
from typing import Any

from lifecycle_msgs.srv import ChangeState
from ptp_interfaces.msg import ErrorCode
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from ptp_core.errors import PtpError
from ptp_ros.node_main import RCLError
from ptp_ros.parameters import declare, parameter
from ptp_ros.request_errors import RequestError, error_code
from ptp_ros.streams import Streams


@dataclass(frozen=True)
class ManagedParameters:
    """Parameters that every managed node has."""

    autostart: bool = parameter(
        True, "configure and activate at start; false: wait for a life-cycle manager"
    )


class ManagedNode(LifecycleNode):
    """A life-cycle node whose hooks may raise.

    rclpy swallows exceptions in transition callbacks (rclpy issue 1673). Here they are logged and
    kept in `problem`, and the transition fails: the node stays in its state, keeps running, and
    accepts another transition.

    A subclass fills in ``_configure``, ``_activate``, ``_deactivate`` and ``_cleanup``, and
    `stop` for its threads.
    """

    parameters_type: type[ManagedParameters] = ManagedParameters

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        service = self._service_change_state
        service.callback = functools.partial(self._change, service.callback)
        self.streams = Streams(self)
        self.declare_more()
        self.parameters = declare(self, self.parameters_type)
        self.active = False
        self.problem = RequestError(
            ErrorCode.NOT_ACTIVE, f"{name} is not active: configure and activate it first"
        )

    def declare_more(self) -> None:
        """Declare parameters beyond `parameters_type`, before unknown ones are refused."""

    def start(self) -> None:
        """Configure and activate, unless the parameter ``autostart`` is false."""
        self.streams.start()
        if not self.parameters.autostart:
            return
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def stop(self) -> None:
        """Accept no more work; subclasses end threads and release devices, too."""
        self.active = False
        self.problem = RequestError(ErrorCode.SHUTTING_DOWN, f"{self.get_name()} stops")
        self.streams.stop()

    def require_active(self) -> None:
        """Raise RequestError with the reason if this node cannot work now."""
        if not self.active:
            raise self.problem

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run the hook; the node becomes inactive."""
        return self._guarded("configure", self._configure, super().on_configure, state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run the hook; the node becomes active."""
        result = self._guarded("activate", self._activate, super().on_activate, state)
        self.active = result == TransitionCallbackReturn.SUCCESS
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Become inactive, then run the hook."""
        self.active = False
        self.problem = RequestError(
            ErrorCode.NOT_ACTIVE, f"{self.get_name()} was deactivated: activate it first"
        )
        return self._guarded("deactivate", self._deactivate, super().on_deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run the hook; the node becomes unconfigured."""
        return self._guarded("cleanup", self._cleanup, super().on_cleanup, state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Become inactive for good."""
        self.active = False
        return self._guarded("shutdown", self._deactivate, super().on_shutdown, state)

    def _configure(self) -> None:
        """Check parameters and load what is needed."""

    def _activate(self) -> None:
        """Start to work."""

    def _deactivate(self) -> None:
        """Stop working; must not fail when no work was started."""

    def _cleanup(self) -> None:
        """Release what `_configure` loaded."""

    def _change(self, answer, request: ChangeState.Request, response: ChangeState.Response):
        """Refuse a transition that this state does not have; rclpy would end the node."""
        try:
            return answer(request, response)
        except RCLError as error:
            reason = str(error).splitlines()[0]
            self.get_logger().error(f"transition {request.transition.id} is refused: {reason}")
            response.success = False
            return response

    def _guarded(self, what: str, hook, parent, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            hook()
            return parent(state)
        except PtpError as error:
            self.problem = RequestError(error_code(error), str(error))
            self.get_logger().error(f"{what} failed: {error}")
        except Exception as error:
            self.problem = RequestError(ErrorCode.INTERNAL, f"{what} failed: {error}")
            self.get_logger().error(f"{what} failed\n{traceback.format_exc()}")
        return TransitionCallbackReturn.FAILURE
