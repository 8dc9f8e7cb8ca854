# SPDX-License-Identifier: Apache-2.0
"""Messages that a Sawyer publishes, as rosbridge's JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = [
    *("FIELDS", "OTHER_TOPICS", "device_status", "endpoint_state", "joint_limits"),
    *("joint_states",),
]

# Fields of the types that may be published to the robot.
FIELDS = {
    "std_msgs/Bool": frozenset({"data"}),
    "std_msgs/Empty": frozenset(),
    "std_msgs/Float64": frozenset({"data"}),
    "intera_core_msgs/JointCommand": frozenset(
        {"header", "mode", "names", "position", "velocity", "acceleration", "effort"}
    ),
    "intera_core_msgs/IOComponentCommand": frozenset({"time", "op", "args"}),
}
# Topics of the robot that must not be published to.
OTHER_TOPICS = {
    f"/robot/limb/right/suppress_{name}": "std_msgs/Empty"
    for name in (
        *("collision_avoidance", "contact_safety", "cuff_interaction"),
        *("gravity_compensation", "hand_overwrench_safety", "squish_safety"),
    )
}


def joint_states(
    header: Mapping[str, Any], names: Sequence[str], q: np.ndarray, dq: np.ndarray
) -> dict[str, Any]:
    """sensor_msgs/JointState: the arm's joints (7,) among the head's and the torso's."""
    return {
        "header": dict(header),
        "name": ["head_pan", *names, "torso_t0"],
        "position": _numbers([0.0, *q, 0.0]),
        "velocity": _numbers([0.0, *dq, 0.0]),
        "effort": [0.0] * (len(names) + 2),
    }


def joint_limits(
    names: Sequence[str], lower: np.ndarray, upper: np.ndarray, velocity: np.ndarray
) -> dict[str, Any]:
    """intera_core_msgs/JointLimits."""
    return {
        "joint_names": ["head_pan", *names],
        "position_lower": _numbers([-5.0952, *lower]),
        "position_upper": _numbers([0.9064, *upper]),
        "velocity": _numbers([1.8, *velocity]),
        "accel": [10.0] * (len(names) + 1),
        "effort": [8.0, 80.0, 80.0, 40.0, 40.0, 9.0, 9.0, 9.0],
    }


def endpoint_state(
    header: Mapping[str, Any], position: np.ndarray, rotation: np.ndarray, wrench: np.ndarray
) -> dict[str, Any]:
    """intera_core_msgs/EndpointState: pose (3,), (3, 3) and wrench (6,) of the hand."""
    still = {"linear": _vector(np.zeros(3)), "angular": _vector(np.zeros(3))}
    return {
        "header": dict(header),
        "pose": {"position": _vector(position), "orientation": _quaternion(rotation)},
        "twist": still,
        "wrench": {"force": _vector(wrench[:3]), "torque": _vector(wrench[3:])},
        "valid": True,
    }


def device_status(
    time: Mapping[str, int], signals: Mapping[str, Any], commands: Sequence[Mapping[str, int]]
) -> dict[str, Any]:
    """intera_core_msgs/IODeviceStatus of the gripper: signals by name, stamps of commands."""
    ready = {"tag": "ready", "id": "", "detail": ""}
    kinds = {bool: "bool", int: "int", float: "float"}
    return {
        "time": dict(time),
        "device": {"name": "right_gripper", "status": ready},
        "ports": [],
        "signals": [
            {
                "name": name,
                "format": json.dumps({"type": kinds[type(value)], "role": "output"}),
                "data": json.dumps([value]),
                "status": ready,
            }
            for name, value in signals.items()
        ],
        "commands": [dict(stamp) for stamp in commands],
        "responses": [],
    }


def _numbers(values: Sequence[float]) -> list[float | None]:
    """Numbers; rosbridge writes null for what is not finite."""
    return [float(value) if math.isfinite(value) else None for value in values]


def _vector(values: np.ndarray) -> dict[str, float]:
    return dict(zip("xyz", map(float, values)))


def _quaternion(rotation: np.ndarray) -> dict[str, float]:
    """Unit quaternion: the eigenvector of the largest eigenvalue (Bar-Itzhack 2000)."""
    r = rotation
    k = np.zeros((4, 4))
    k[:3, :3] = r + r.T - np.trace(r) * np.eye(3)
    k[3, :3] = k[:3, 3] = (r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1])
    k[3, 3] = np.trace(r)
    return dict(zip("xyzw", map(float, np.linalg.eigh(k)[1][:, -1])))
