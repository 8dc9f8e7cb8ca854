# SPDX-License-Identifier: Apache-2.0
"""What an ArmState says of the tool: where it is, and how it moved since the state before."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import Pose
from ptp_interfaces.msg import ArmState


@dataclass(frozen=True)
class ArmReading:
    """One measurement of the arm."""

    position: np.ndarray  # of the tool point in the base frame (3,), m
    yaw: float  # of the tool, rad
    joints: np.ndarray  # (7,), rad
    setpoint: tuple[np.ndarray, float]  # position (3,), m, and yaw, rad, that it was told last


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
