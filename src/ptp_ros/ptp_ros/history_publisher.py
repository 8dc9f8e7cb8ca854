# SPDX-License-Identifier: Apache-2.0
"""A topic of which the recorder gets every message, and everyone else the newest."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message

from ptp_ros.topics import LATCHED, history_of


class HistoryPublisher:
    """Publishes each message twice: for those who look, and for the recorder.

    ``newest`` is the publisher of ``topic``. It keeps one message, so that whoever comes late,
    `ros2 topic echo --once` for one, gets the newest. ``history`` is that of `history_of(topic)`.
    It keeps as many as ``kept`` says, so that a recorder that was found late or stalled asks for
    what it missed. A message is serialised once.

    ``managed``: both are publishers of a life-cycle node, silent while it is inactive.
    """

    def __init__(
        self, node: Node, kind: type, topic: str, kept: QoSProfile, managed: bool = False
    ) -> None:
        make: Any = node.create_lifecycle_publisher if managed else node.create_publisher
        self.history = make(kind, history_of(topic), kept)
        self.newest = make(kind, topic, LATCHED)

    def publish(self, message: Any) -> None:
        """Publish on both; who acts on a message has it first."""
        data = serialize_message(message)
        self.newest.publish(data)
        self.history.publish(data)
