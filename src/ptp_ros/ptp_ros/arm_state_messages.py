# SPDX-License-Identifier: Apache-2.0
"""Pose and motion of the TCP to and from ArmState, and broadcast of its TF frames."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import Pose, TransformStamped
from ptp_interfaces.msg import ArmState
from rclpy.node import Node

__all__ = ["Transforms", "transform"]


@dataclass(frozen=True)
class ArmReading:
    """One measurement of the arm."""

    position: np.ndarray  # of the TCP in the base frame (3,), m
    yaw: float  # of the tool, rad
    joints: np.ndarray  # (7,), rad
    setpoint: tuple[np.ndarray, float]  # last commanded position (3,), m, and yaw, rad


def fill_motion(state: ArmState, before: ArmReading, now: ArmReading, seconds: float) -> None:
    """Write pose, setpoint, joints and the motion of the last ``seconds`` into ``state``."""
    moved = now.position - before.position
    turned = math.remainder(now.yaw - before.yaw, 2 * math.pi)
    state.pose = tool_pose(now.position, now.yaw)
    state.setpoint = tool_pose(*now.setpoint)
    state.yaw = now.yaw
    state.twist.linear.x, state.twist.linear.y, state.twist.linear.z = moved / seconds
    state.twist.angular.z = turned / seconds
    state.joint_positions = now.joints.tolist()
    state.joint_velocities = ((now.joints - before.joints) / seconds).tolist()
    state.executed_dx, state.executed_dy, state.executed_dz = moved
    state.executed_dyaw = turned


def tool_pose(position: np.ndarray, yaw: float) -> Pose:
    """Pose of a tool that points down: half a turn about y, then yaw about z."""
    pose = Pose()
    pose.position.x, pose.position.y, pose.position.z = (float(v) for v in position)
    pose.orientation.x, pose.orientation.y = -math.sin(yaw / 2), math.cos(yaw / 2)
    pose.orientation.z = pose.orientation.w = 0.0
    return pose


try:
    from tf2_ros import TransformBroadcaster
except ImportError:  # rclpy from the Python index: TF is not among its packages
    TransformBroadcaster = None


def transform(pose: Pose, header: Any, child: str) -> TransformStamped:
    """A pose in the header's frame as the transform of a frame ``child``."""
    message = TransformStamped(header=header, child_frame_id=child)
    to, position = message.transform.translation, pose.position
    to.x, to.y, to.z = position.x, position.y, position.z
    message.transform.rotation = pose.orientation
    return message


class Transforms:
    """Broadcasts poses as TF frames. Without tf2 it does nothing."""

    def __init__(self, node: Node) -> None:
        self._broadcaster = None if TransformBroadcaster is None else TransformBroadcaster(node)

    def send(self, header: Any, poses: dict[str, Pose]) -> None:
        """Send frames by name, each at its pose in the header's frame."""
        if self._broadcaster is not None:
            messages = [transform(pose, header, child) for child, pose in poses.items()]
            self._broadcaster.sendTransform(messages)
