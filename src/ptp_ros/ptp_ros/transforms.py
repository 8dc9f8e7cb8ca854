# SPDX-License-Identifier: Apache-2.0
"""TF where a ROS 2 installation has it; nothing in this project depends on it."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import Pose, TransformStamped
from rclpy.node import Node

try:
    from tf2_ros import TransformBroadcaster
except ImportError:  # rclpy from the Python index: TF is not among its packages
    TransformBroadcaster = None

__all__ = ["Transforms", "transform"]


def transform(pose: Pose, header: Any, child: str) -> TransformStamped:
    """A pose in the header's frame as the transform of a frame ``child``."""
    message = TransformStamped(header=header, child_frame_id=child)
    to, position = message.transform.translation, pose.position
    to.x, to.y, to.z = position.x, position.y, position.z
    message.transform.rotation = pose.orientation
    return message


class Transforms:
    """Broadcasts poses as frames, where TF is installed."""

    def __init__(self, node: Node) -> None:
        self._broadcaster = None if TransformBroadcaster is None else TransformBroadcaster(node)

    def send(self, header: Any, poses: dict[str, Pose]) -> None:
        """Frames by name, each at its pose in the header's frame."""
        if self._broadcaster is not None:
            messages = [transform(pose, header, child) for child, pose in poses.items()]
            self._broadcaster.sendTransform(messages)
