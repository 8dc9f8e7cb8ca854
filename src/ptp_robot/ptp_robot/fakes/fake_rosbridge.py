# SPDX-License-Identifier: Apache-2.0
"""A rosbridge server without ROS: topics and services over websockets, ROS 1 JSON.

It checks types and fields as strictly as the real one, and its link can fail as real ones do. The
websockets are autobahn's, a dependency of roslibpy.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any
from urllib.parse import urlsplit

from ptp_core.data.file_limits import parse_json

__all__ = ["FakeRosbridge"]

PATIENCE = 5.0  # s for the server's thread to do what it is told
OURS = ("127.0.0.1", "localhost", "::1")  # whose pages may connect
KEPT = 10_000  # publications that are remembered


class FakeRosbridge:
    """Serves topics of the given types on a port, in a thread of its own.

    ``types`` maps every topic to its type, ``fields`` types that may be published to their fields.
    ``on_publish(topic, message)`` is called from the server's thread for each publication, and
    ``services`` maps names to functions from arguments to values.
    """

    def __init__(
        self,
        types: Mapping[str, str],
        fields: Mapping[str, frozenset[str]],
        on_publish: Callable[[str, dict[str, Any]], None],
        services: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """``port`` 0 takes one that is free; see the attribute once started."""
        self.host, self.port = host, port
        self.received: deque[tuple[str, dict[str, Any]]] = deque(maxlen=KEPT)  # publications
        self.connections = 0  # so far
        self._types, self._fields = types, fields
        self._on_publish = on_publish
        self._services = services or {}
        self._latched: dict[str, str] = {}  # topic to the last message, as sent
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fake-rosbridge", daemon=True)
        self._server: asyncio.AbstractServer | None = None
        self._clients: set[Any] = set()
        self._stalled = False

    # From any thread

    def start(self) -> None:
        """Listen. Raises OSError: the port is taken."""
        self._thread.start()
        try:
            self._do(self._listen())
        except OSError:
            self._end()
            raise

    def stop(self) -> None:
        """End all connections and the thread. Calling it twice is allowed."""
        if self._thread.is_alive():
            self._do(self._deafen())
            self._end()

    def drop(self) -> None:
        """Cut every connection, as a pulled cable does, and accept no new ones."""
        self._do(self._deafen())

    def restore(self) -> None:
        """Accept connections again, on the same port."""
        self._do(self._listen())

    def stall(self) -> None:
        """Hang: connections stay, nothing is read from them or sent."""
        self._do(self._stall(True))

    def resume(self) -> None:
        """Go on where it hung."""
        self._do(self._stall(False))

    def publish(self, topic: str, message: Mapping[str, Any], latch: bool = False) -> None:
        """Send a message to subscribers; with ``latch`` to later ones, too."""
        with contextlib.suppress(RuntimeError):  # stopped meanwhile
            self._loop.call_soon_threadsafe(self._publish, topic, dict(message), latch)

    @property
    def clients(self) -> int:
        """Open connections."""
        return len(self._clients)

    # In the thread of the server

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _do(self, work: Any) -> None:
        done: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        done.result(PATIENCE)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)

    async def _listen(self) -> None:
        if self._server is not None:
            return
        from autobahn.asyncio.websocket import WebSocketServerFactory

        factory = WebSocketServerFactory(loop=self._loop)
        factory.protocol = _protocol(self)
        factory.setProtocolOptions(closeHandshakeTimeout=1)
        self._server = await self._loop.create_server(factory, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _deafen(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for client in list(self._clients):
            if client.transport is not None:
                client.transport.abort()
        self._clients.clear()
        self._stalled = False

    async def _stall(self, stalled: bool) -> None:
        self._stalled = stalled
        for client in list(self._clients):
            if client.transport is not None:
                (client.transport.pause_reading if stalled else client.transport.resume_reading)()

    def _publish(self, topic: str, message: dict[str, Any], latch: bool) -> None:
        text = json.dumps({"op": "publish", "topic": topic, "msg": message})
        if latch:
            self._latched[topic] = text
        if not self._stalled:
            for client in self._clients:
                if topic in client.topics:
                    client.send(text)

    def _take(self, client: Any, message: dict[str, Any]) -> None:
        """One message of the rosbridge protocol."""
        operation = message.get("op")
        topic = message.get("topic")
        if operation in ("subscribe", "advertise"):
            kind = self._types.get(topic)
            if kind is None or message.get("type") != kind:
                client.complain(f"{operation} {topic}: {message.get('type')} is not {kind}")
            elif operation == "subscribe":
                client.topics.add(topic)
                if topic in self._latched:
                    client.send(self._latched[topic])
        elif operation in ("unsubscribe", "unadvertise"):
            client.topics.discard(topic)
        elif operation == "publish":  # as to the real one, without advertising, too
            self._take_publication(client, topic, message.get("msg"))
        elif operation == "call_service":
            self._serve(client, message)
        else:
            client.complain(f"unknown operation {operation}")

    def _take_publication(self, client: Any, topic: Any, content: Any) -> None:
        kind = self._types.get(topic)
        if kind not in self._fields or not isinstance(content, dict):
            client.complain(f"publish {topic}: no such topic, or no message")
            return
        if extra := content.keys() - self._fields[kind]:
            client.complain(f"publish {topic}: {kind} has no {', '.join(sorted(extra))}")
            return
        self.received.append((topic, content))
        self._on_publish(topic, content)

    def _serve(self, client: Any, message: dict[str, Any]) -> None:
        name = message.get("service")
        serve = self._services.get(name)
        answer = {"op": "service_response", "service": name, "id": message.get("id")}
        if serve is None:
            answer.update(result=False, values=f"service {name} does not exist")
        else:
            answer.update(result=True, values=serve(message.get("args") or {}))
        client.send(json.dumps(answer))


def _protocol(bridge: FakeRosbridge) -> type:
    from autobahn.asyncio.websocket import WebSocketServerProtocol
    from autobahn.websocket.types import ConnectionDeny

    class Client(WebSocketServerProtocol):
        """One connection."""

        def __init__(self) -> None:
            super().__init__()
            self.topics: set[str] = set()

        def onConnect(self, request: Any) -> None:  # noqa: N802
            # Only browsers send the origin of a page; robots and programs do not.
            origin = request.headers.get("origin")
            if origin is not None and urlsplit(origin).hostname not in OURS:
                raise ConnectionDeny(403, "pages of other machines may not drive the arm")

        def onOpen(self) -> None:  # noqa: N802 (autobahn's name)
            bridge.connections += 1
            bridge._clients.add(self)

        def onClose(self, clean: bool, code: int, reason: str) -> None:  # noqa: N802
            bridge._clients.discard(self)

        def onMessage(self, payload: bytes, binary: bool) -> None:  # noqa: N802
            try:
                message = parse_json(payload)
                if not isinstance(message, dict):
                    raise ValueError("not an object")
            except ValueError as error:
                self.complain(f"not JSON: {error}")
                return
            bridge._take(self, message)

        def send(self, text: str) -> None:
            if self.state == self.STATE_OPEN:
                self.sendMessage(text.encode())

        def complain(self, text: str) -> None:
            self.send(json.dumps({"op": "status", "level": "error", "msg": text}))

    return Client
