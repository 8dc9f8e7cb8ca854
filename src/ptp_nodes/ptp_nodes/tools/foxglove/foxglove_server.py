# SPDX-License-Identifier: Apache-2.0
"""Server of Foxglove's WebSocket protocol. Only this module needs Foxglove's SDK."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Any

from ptp_core.errors import InputError
from ptp_nodes.tools.foxglove.foxglove_feed import FoxgloveFeed
from ptp_nodes.tools.tcp_port import require_free
from ptp_ros.node_main import background_node

HOST = "127.0.0.1"
CURE = (
    "Foxglove's SDK is not installed, and ptp foxglove needs it (54 MB): run `make foxglove`, or, "
    "without a checkout, `pip install foxglove-sdk==0.30.3`"
)


def require_foxglove() -> None:
    """Raise InputError that says how to get Foxglove's SDK, where it is missing."""
    if importlib.util.find_spec("foxglove") is None:
        raise InputError(CURE)


class SocketChannels:
    """The topics as channels of one server. The viewers' wishes go to ``feed`` once it is set."""

    def __init__(self) -> None:
        import foxglove

        self._foxglove = foxglove
        self._channels: dict[str, Any] = {}
        self.context = foxglove.Context()
        self.feed: FoxgloveFeed | None = None

    def offer(self, topic: str, kind: str, definition: str) -> None:
        """Open the topic's channel."""
        schema = self._foxglove.Schema(
            name=kind, encoding="ros2msg", data=definition.encode("utf-8")
        )
        self._channels[topic] = self._foxglove.Channel(
            topic, schema=schema, message_encoding="cdr", context=self.context
        )

    def withdraw(self, topic: str) -> None:
        """Close the topic's channel."""
        self._channels.pop(topic).close()

    def send(self, topic: str, data: bytes, received: int) -> None:
        """Pass CDR bytes to the viewers of the topic."""
        if (channel := self._channels.get(topic)) is not None:
            channel.log(bytes(data), log_time=received)

    def on_subscribe(self, client: Any, channel: Any) -> None:
        """A viewer asks for a channel; called by the server."""
        if self.feed is not None:
            self.feed.want(channel.topic)

    def on_unsubscribe(self, client: Any, channel: Any) -> None:
        """A viewer looks no longer; called by the server."""
        if self.feed is not None:
            self.feed.leave(channel.topic)


@contextlib.contextmanager
def serving_graph(
    port: int, host: str = HOST, description: str = "", domain: int | None = None
) -> Iterator[int]:
    """Serve the graph to viewers while the block runs; yields the port (``port`` 0: any).

    Viewers can only look: the server takes no messages, services or parameters from them.
    ``description``, ``domain``: see `FoxgloveFeed` and `background_node`. Raises InputError where
    the SDK is missing or the port is taken.
    """
    require_foxglove()
    import foxglove

    require_free(host, port, "another with --port")
    channels = SocketChannels()
    with background_node(
        lambda context: FoxgloveFeed(channels, description, context=context), domain
    ) as feed:
        channels.feed = feed
        server = foxglove.start_server(
            name="ptp", host=host, port=port, server_listener=channels, context=channels.context
        )
        try:
            yield server.port
        finally:
            channels.feed = None
            server.stop()
