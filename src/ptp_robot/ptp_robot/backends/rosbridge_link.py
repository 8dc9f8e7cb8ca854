# SPDX-License-Identifier: Apache-2.0
"""A connection to a rosbridge server that never sends a message late.

roslibpy's own `Topic.publish` queues messages while the link is down and delivers all of them
after the next connection: an arm would execute every command of an outage. So this link only uses
roslibpy's transport and protocol. A message is bound to the connection that its sender knew. Once
that is closed, the message is refused, and what the kernel still buffers is discarded.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ptp_core.data.file_limits import parse_json
from ptp_robot.backends.backend import BackendError
from ptp_robot.backends.sawyer_messages import TIME_SERVICE, AllowList

__all__ = ["RosbridgeLink", "RoundTrip"]

UNACKNOWLEDGED = 0.5  # s that the kernel retransmits before it closes the connection
PING_AFTER = 0.5  # s between pings
PING_PATIENCE = 1.0  # s without its answer until the connection is dropped
GOODBYE = 1.0  # s that closing may take
LINGER = struct.pack("ii", 1, 0)  # closing discards unsent data
LONGEST = 2**20  # bytes of a message; those of the robot have some thousand
NO_LINGER = struct.pack("ii", 0, 0)

Heard = Callable[[int, str, Mapping[str, Any]], None]


@dataclass(frozen=True)
class RoundTrip:
    """Round-trip time to rosbridge [s], and the time of its ROS clock [s since epoch]."""

    seconds: float
    time: float


class RosbridgeLink:
    """Keeps a connection up, numbers each, and sends only allowed messages.

    ``heard(connection, topic, message)`` and ``complain(text)`` are called from the link's own
    thread. ``greeting`` is sent at the start of every connection, before anything else.
    """

    def __init__(
        self,
        host: str,
        port: int,
        allowed: AllowList,
        heard: Heard,
        complain: Callable[[str], None],
        greeting: Iterable[tuple[str, Mapping[str, Any]]] = (),
        reconnect: tuple[float, float] = (0.2, 2.0),
    ) -> None:
        """``reconnect``: first and longest wait [s] before it is tried again."""
        self.address = f"ws://{host}:{port}"
        self._allowed = allowed
        self._heard = heard
        self._complain = complain
        self._greeting = tuple(greeting)
        self._reconnect = reconnect
        self._lock = threading.Lock()
        self._factory: Any = None
        self._protocol: Any = None
        self._connections = 0
        self._gone = threading.Event()  # no connection
        self._gone.set()
        self._there = threading.Event()
        self._numbers = itertools.count(1)

    @property
    def connection(self) -> int | None:
        """Number of the connection that is up, 1 for the first; None: there is none."""
        with self._lock:
            return None if self._protocol is None else self._connections

    @property
    def trying(self) -> bool:
        """Whether it is up or being tried."""
        return self._factory is not None

    def open(self) -> None:
        """Begin to connect, and go on trying. Raises BackendError where roslibpy cannot serve."""
        if self._factory is not None:
            return
        try:
            from roslibpy.comm import select_factory

            kind = select_factory("asyncio")
        except ImportError as error:
            raise BackendError(
                f"roslibpy cannot be loaded ({error}): `pip install roslibpy`"
            ) from error
        except RuntimeError as error:
            raise BackendError(f"roslibpy's asyncio transport is not free: {error}") from error
        kind.set_initial_delay(self._reconnect[0])
        kind.set_max_delay(self._reconnect[1])
        factory = kind(self.address)
        factory.protocol = _protocol(factory.protocol, self._receive)
        factory.setProtocolOptions(
            autoPingInterval=PING_AFTER,
            autoPingTimeout=PING_PATIENCE,
            autoPingRestartOnAnyTraffic=False,  # a pong confirms our ping, too
            perMessageCompressionOffers=[],  # messages are small: it would cost time only
        )
        factory.on("ready", self._up)
        factory.on("close", self._down)
        self._factory = factory
        factory.connect()

    def close(self) -> None:
        """Send what was published, then close for good. Calling it twice is allowed."""
        if self._factory is None:
            return
        factory, self._factory = self._factory, None
        factory.maxRetries = 0
        with self._lock:
            protocol = self._protocol
        if protocol is not None:
            _set_linger(protocol, NO_LINGER)
            protocol.send_close()
            self._gone.wait(GOODBYE)
        with self._lock:
            self._protocol = None
        self._there.clear()
        self._gone.set()

    def publish(self, connection: int, topic: str, message: Mapping[str, Any]) -> None:
        """Send on this connection, at once or not at all.

        Raises BackendError where it is not up any more, Forbidden for what may not be sent.
        """
        with self._lock:
            protocol = self._protocol
            if protocol is None or connection != self._connections:
                raise BackendError(
                    f"no link to rosbridge at {self.address}: check cable, address and server"
                )
        self._send(protocol, "publish", topic, msg=dict(message))

    def wait(self, up: bool, timeout: float) -> bool:
        """Wait until a connection is up, or none is; False: that took longer than timeout [s]."""
        return (self._there if up else self._gone).wait(timeout)

    def round_trip(self, clock: Callable[[], float], timeout: float = 1.0) -> RoundTrip:
        """Ask rosbridge for its time. Earlier messages have then arrived, both ways.

        Blocks: not for a control loop. Raises BackendError: no link, or no answer in time.
        """
        with self._lock:
            protocol = self._protocol
        if protocol is None:
            raise BackendError(f"no link to rosbridge at {self.address}")
        answered, answer = threading.Event(), {}

        def take(values: Any) -> None:
            answer["at"], answer["values"] = clock(), values
            answered.set()

        start = clock()
        self._send(protocol, "call_service", TIME_SERVICE, done=take, args={})
        if not answered.wait(timeout):
            raise BackendError(f"rosbridge at {self.address} did not answer within {timeout:g} s")
        try:
            time = answer["values"]["time"]
            return RoundTrip(answer["at"] - start, time["secs"] + 1e-9 * time["nsecs"])
        except (TypeError, KeyError) as error:
            raise BackendError(
                f"rosbridge at {self.address} does not know {TIME_SERVICE}: start rosapi with it"
            ) from error

    def _send(
        self,
        protocol: Any,
        operation: str,
        name: str,
        done: Callable[[Any], None] | None = None,
        **fields: Any,
    ) -> None:
        """Send a message; all messages pass here. Forbidden unless the allow-list has it."""
        self._allowed.check(operation, name)
        key = "service" if operation == "call_service" else "topic"
        number = f"{operation}:{name}:{next(self._numbers)}"
        message = {"op": operation, "id": number, key: name, **fields}
        if done is None:
            protocol.send_ros_message(message)
        else:
            protocol.send_ros_service_request(message, done, done)

    # In the thread of the link

    def _up(self, protocol: Any) -> None:
        if protocol.factory is not self._factory:  # closed meanwhile
            protocol.send_close()
            return
        _set_linger(protocol, LINGER)
        _set_patience(protocol)
        for topic, kind in self._allowed.sent.items():
            latch = topic in self._allowed.latched
            # A queue of 1 at the server, too: it forwards the newest command or none.
            self._send(protocol, "advertise", topic, type=kind, latch=latch, queue_size=1)
        for topic, kind in self._allowed.heard.items():
            newest = {"throttle_rate": 0, "queue_length": 1, "compression": "none"}
            self._send(protocol, "subscribe", topic, type=kind, **newest)
        for topic, message in self._greeting:
            latch = topic in self._allowed.latched
            self._send(protocol, "publish", topic, msg=dict(message), latch=latch)
        with self._lock:
            self._protocol = protocol
            self._connections += 1
        self._gone.clear()
        self._there.set()

    def _down(self, protocol: Any) -> None:
        with self._lock:
            if protocol is not self._protocol:
                return
            self._protocol = None
        self._there.clear()
        self._gone.set()

    def _receive(self, protocol: Any, message: Mapping[str, Any]) -> None:
        if message.get("op") == "status":
            if message.get("level") in ("error", "warning"):
                self._complain(f"rosbridge says: {str(message.get('msg'))[:200]}")
            return
        with self._lock:
            connection = self._connections if protocol is self._protocol else None
        topic, content = message.get("topic"), message.get("msg")
        if connection is not None and topic in self._allowed.heard and isinstance(content, dict):
            self._heard(connection, topic, content)


def _protocol(base: type, receive: Callable[[Any, Mapping[str, Any]], None]) -> type:
    """The protocol of roslibpy, with topics and complaints handed to ``receive``."""

    class Protocol(base):
        def on_message(self, payload: bytes) -> None:
            try:
                message = parse_json(payload, LONGEST)
                if not isinstance(message, dict):
                    raise ValueError("no object")
            except ValueError as error:  # UnicodeDecodeError is one
                problem = f"a message that cannot be read ({str(error)[:200]})"
                receive(self, {"op": "status", "level": "error", "msg": problem})
                return
            if message.get("op") in ("publish", "status"):
                receive(self, message)
            else:
                super().on_message(payload)

    return Protocol


def _socket(protocol: Any) -> socket.socket | None:
    transport = protocol.transport
    return None if transport is None else transport.get_extra_info("socket")


def _set_linger(protocol: Any, linger: bytes) -> None:
    if (peer := _socket(protocol)) is not None:
        with contextlib.suppress(OSError):  # closed meanwhile
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def _set_patience(protocol: Any) -> None:
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux
    if option is not None and (peer := _socket(protocol)) is not None:
        with contextlib.suppress(OSError):
            peer.setsockopt(socket.IPPROTO_TCP, option, round(1e3 * UNACKNOWLEDGED))
