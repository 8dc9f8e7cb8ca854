# SPDX-License-Identifier: Apache-2.0
"""Client of the arm driver for terminal commands."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ptp_interfaces.msg import DriverState, ErrorCode
from ptp_interfaces.srv import Rearm
from rclpy.client import Client
from rclpy.node import Node
from std_srvs.srv import Trigger

from ptp_core.errors import InputError
from ptp_robot.driver_core import ArmDriverState
from ptp_ros.blocking_client import REPEAT, Caller
from ptp_ros.node_main import background_node
from ptp_ros.request_errors import RequestError
from ptp_ros.topics import (
    CLEAR_FAULT,
    DISABLE,
    DRIVER_STATE,
    ENABLE,
    LATCHED,
    REARM,
    RESET_POSE,
    STOP,
)

__all__ = ["REQUESTS", "ArmAnswer", "ArmClient", "arm_client", "line", "reached"]

_ENABLED = (
    ArmDriverState.READY,
    ArmDriverState.ACTIVE,
    ArmDriverState.INTERVENTION,
    ArmDriverState.HOLD,
)
_OFF = (ArmDriverState.DISABLED, ArmDriverState.DISCONNECTED)
# Action: service, its type, states that it leads to.
REQUESTS = {
    "enable": (ENABLE, Trigger, _ENABLED),
    "disable": (DISABLE, Trigger, _OFF),
    "stop": (STOP, Trigger, (ArmDriverState.FAULT,)),
    "reset": (RESET_POSE, Trigger, _ENABLED),
    "clear-fault": (CLEAR_FAULT, Trigger, _OFF),
    "rearm": (
        REARM,
        Rearm,
        tuple(state for state in ArmDriverState if state is not ArmDriverState.INTERVENTION),
    ),
}
NEWS = 2  # states after the answer to wait for: the first may have been sent before the answer
PERIOD = 0.1  # s between checks


@dataclass(frozen=True)
class ArmAnswer:
    """Answer to a request."""

    granted: bool
    text: str  # the driver's


class ArmClient(Node):
    """Node that sends requests to the arm driver and receives its state."""

    def __init__(self, **options: Any) -> None:
        super().__init__(f"arm_person_{os.getpid()}", start_parameter_services=False, **options)
        self._caller = Caller(self)
        self._asking = {
            word: self.create_client(kind, name) for word, (name, kind, _) in REQUESTS.items()
        }
        self.state: DriverState | None = None
        self._heard = self._changes = 0
        self.create_subscription(DriverState, DRIVER_STATE, self._arrived, LATCHED)

    def meet(self, patience: float) -> DriverState:
        """The driver's state, once it arrives. Raises InputError if none arrives."""
        try:
            self._caller.until(lambda: self.state is not None, patience, "the driver's state")
        except RequestError:
            raise InputError(
                f"no arm driver is heard for {patience:g} s: is ptp up real running, with this "
                f"ROS_DOMAIN_ID ({self.context.get_domain_id()})?"
            ) from None
        return self.state

    def ask(self, word: str, patience: float) -> ArmAnswer:
        """Send one of REQUESTS. Raises InputError without an answer within ``patience`` s."""
        client = self._asking[word]
        name = client.srv_name
        try:
            self._caller.until(client.service_is_ready, patience, f"the service {name}")
            done = self._call(client, patience)
        except RequestError as error:
            raise InputError(f"{error}: look at what arm_driver says") from None
        if isinstance(done, Trigger.Response):
            return ArmAnswer(done.success, done.message)
        granted = done.error_code == ErrorCode.NONE
        return ArmAnswer(granted, "policies may move the arm" if granted else done.error_msg)

    def settled(self, patience: float) -> DriverState | None:
        """The state after the requested action, within ``patience`` s; None: none arrived."""
        told = self._heard + NEWS
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and (self._heard < told or is_on_its_way(self.state)):
            time.sleep(PERIOD)
        return self.state

    def changes(self) -> Iterator[DriverState]:
        """Yield every state that differs from the one before, without end."""
        last = None
        while True:
            state = self.state
            if state is not None and (state.state, state.reason) != last:
                last = state.state, state.reason
                yield state
            time.sleep(PERIOD)

    def _call(self, client: Client, patience: float) -> Any:
        """Response of a service. The request is repeated while there is no answer and no effect.

        An answer can get lost just after discovery (see `Caller`). If the arm's state has changed
        since, the request did arrive, and a second one might undo another client's request.
        """
        deadline, before = time.monotonic() + patience, self._changes
        while True:
            future = client.call_async(client.srv_type.Request())
            future.add_done_callback(lambda done: self._caller.notify())
            left = deadline - time.monotonic()
            try:
                wait = min(left, REPEAT)
                self._caller.until(future.done, wait, f"the answer of {client.srv_name}")
                return future.result()
            except RequestError:
                if left <= REPEAT or self._changes != before:
                    raise

    def _arrived(self, message: DriverState) -> None:
        if self.state is None or message.state != self.state.state:
            self._changes += 1
        self.state = message
        self._heard += 1
        self._caller.notify()


def is_on_its_way(state: DriverState) -> bool:
    """Whether the driver still executes a request."""
    waits = state.state == DriverState.DISABLED and state.reason.startswith("waits")
    return waits or state.state == DriverState.RESETTING


def reached(word: str, state: DriverState) -> bool:
    """Whether the driver is in a state that this one of REQUESTS leads to."""
    return ArmDriverState(state.state) in REQUESTS[word][2]


def line(state: DriverState) -> str:
    """A driver's state in one line."""
    name = ArmDriverState(state.state).name
    return f"{name}: {state.reason}" if state.reason else name


@contextmanager
def arm_client(domain: int | None = None) -> Iterator[ArmClient]:
    """An `ArmClient` that spins while the block runs. ``domain`` None: that of ROS_DOMAIN_ID."""
    with background_node(lambda context: ArmClient(context=context), domain) as node:
        yield node
