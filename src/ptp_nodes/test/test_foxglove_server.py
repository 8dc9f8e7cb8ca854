# SPDX-License-Identifier: Apache-2.0
"""A viewer over a real WebSocket; only where Foxglove's SDK is installed (make foxglove)."""

import asyncio
import importlib.util
import json
import socket
import struct
import subprocess

import pytest
from autobahn.asyncio.websocket import WebSocketClientFactory, WebSocketClientProtocol
from rclpy.serialization import deserialize_message
from std_msgs.msg import Float64

from ptp_core.errors import InputError
from ptp_nodes.tools.foxglove.foxglove_server import (
    CURE,
    HOST,
    require_foxglove,
    serving_graph,
)
from ptp_ros import topics

PROTOCOL = "foxglove.sdk.v1"
PATIENCE = 60.0  # s; only a failing test waits this long
HERE = importlib.util.find_spec("foxglove") is not None
needs_sdk = pytest.mark.skipif(not HERE, reason="Foxglove's SDK is not installed (make foxglove)")


@pytest.mark.skipif(HERE, reason="Foxglove's SDK is installed")
def test_without_the_sdk_one_line_says_how_to_get_it():
    with pytest.raises(InputError, match="make foxglove"):
        require_foxglove()
    with pytest.raises(InputError) as error, serving_graph(0):
        pass
    assert str(error.value) == CURE and "\n" not in CURE


class ViewerProtocol(WebSocketClientProtocol):
    """Keeps what the server says and sends."""

    def __init__(self):
        super().__init__()
        self.said, self.sent = [], []

    def onOpen(self):  # noqa: N802 (autobahn's name)
        self.factory.opened.set_result(self)

    def onMessage(self, payload, isBinary):  # noqa: N802
        (self.sent if isBinary else self.said).append(payload if isBinary else json.loads(payload))

    def channels(self):
        offers = [m["channels"] for m in self.said if m["op"] == "advertise"]
        return {channel["topic"]: channel for offer in offers for channel in offer}

    def ask(self, **message):
        self.sendMessage(json.dumps(message).encode())

    async def until(self, condition, what):
        for _ in range(int(PATIENCE / 0.02)):
            if condition():
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"waited {PATIENCE} s for {what}: {self.said}")


async def connected(port):
    loop = asyncio.get_running_loop()
    factory = WebSocketClientFactory(f"ws://{HOST}:{port}", protocols=[PROTOCOL])
    factory.protocol, factory.opened = ViewerProtocol, loop.create_future()
    await loop.create_connection(factory, HOST, port)
    return await asyncio.wait_for(factory.opened, PATIENCE)


@needs_sdk
def test_a_viewer_gets_schemas_and_messages(graph):
    numbers = graph.client.create_publisher(Float64, "some/number", topics.LATCHED)
    numbers.publish(Float64(data=0.25))

    async def look(port):
        viewer = await connected(port)
        await viewer.until(lambda: "/some/number" in viewer.channels(), "the channel")
        channel = viewer.channels()["/some/number"]
        assert (channel["encoding"], channel["schemaName"]) == ("cdr", "std_msgs/msg/Float64")
        assert (channel["schemaEncoding"], channel["schema"].split()) == (
            "ros2msg",
            ["float64", "data"],
        )
        viewer.ask(op="subscribe", subscriptions=[{"id": 5, "channelId": channel["id"]}])
        await viewer.until(lambda: viewer.sent, "the number")
        opcode, subscription = struct.unpack_from("<BI", viewer.sent[0])
        assert (opcode, subscription) == (1, 5)
        assert deserialize_message(viewer.sent[0][13:], Float64).data == 0.25
        assert "/robot_description" in viewer.channels()
        viewer.sendClose()

    domain = graph.context.get_domain_id()
    with serving_graph(0, description="<robot/>", domain=domain) as port:
        asyncio.run(look(port))
        graph.wait(lambda: not numbers.get_subscription_count(), "the feed to leave")


@needs_sdk
def test_a_viewer_cannot_publish_call_or_set(graph):
    async def act(port):
        viewer = await connected(port)
        await viewer.until(lambda: viewer.said, "the server's word")
        assert viewer.said[0]["op"] == "serverInfo"
        assert viewer.said[0]["capabilities"] == []
        channel = {"id": 1, "topic": "/arm/command/policy", "encoding": "json", "schemaName": ""}
        viewer.ask(op="advertise", channels=[channel])
        await viewer.until(lambda: any(m["op"] == "status" for m in viewer.said), "the refusal")
        viewer.sendClose()

    with serving_graph(0, domain=graph.context.get_domain_id()) as port:
        asyncio.run(act(port))
    assert "/arm/command/policy" not in dict(graph.client.get_topic_names_and_types())


@needs_sdk
def test_it_listens_to_this_machine_alone_and_names_a_port_that_is_taken(graph):
    domain = graph.context.get_domain_id()
    with serving_graph(0, domain=domain) as port:
        listening = subprocess.run(["ss", "-ltn"], capture_output=True, text=True).stdout
        assert f"{HOST}:{port} " in listening and f"0.0.0.0:{port} " not in listening
        with (
            pytest.raises(InputError, match=f"port {port} of {HOST} cannot be used"),
            serving_graph(port, domain=domain),
        ):
            pass
    with socket.socket() as probe:
        assert probe.connect_ex((HOST, port)) != 0
