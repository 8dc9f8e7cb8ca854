# SPDX-License-Identifier: Apache-2.0
"""Test data: plain bags, as other recorders write them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

STORE = get_typestore(Stores.ROS2_JAZZY)
TYPES = STORE.types
START = 1000.0  # s, when a demonstration begins
IMAGE, TWIST = "/camera/image_raw", "/servo/delta_twist_cmds"
JOINTS, GRIPPER = "/joint_states", "/gripper"
Messages = Iterable[tuple[str, float, Any]]  # topic, time of receipt [s], message


def stamp(time: float) -> Any:
    """builtin_interfaces/Time of seconds."""
    seconds, rest = divmod(round(time * 1e9), 10**9)
    return TYPES["builtin_interfaces/msg/Time"](sec=seconds, nanosec=rest)


def header(time: float, frame: str = "base") -> Any:
    """std_msgs/Header."""
    return TYPES["std_msgs/msg/Header"](stamp=stamp(time), frame_id=frame)


def image(time: float, value: int) -> Any:
    """A 48 x 48 image of one grey level."""
    pixels = np.full(48 * 48 * 3, value % 256, np.uint8)
    return TYPES["sensor_msgs/msg/Image"](
        header=header(time),
        height=48,
        width=48,
        encoding="rgb8",
        is_bigendian=0,
        step=144,
        data=pixels,
    )


def twist(time: float, x: float = 0.2, turn: float = 0.0, kind: str = "TwistStamped") -> Any:
    """Velocity along x [m/s] and about z [rad/s]; ``kind`` "Twist" has no stamp."""
    vector = TYPES["geometry_msgs/msg/Vector3"]
    plain = TYPES["geometry_msgs/msg/Twist"](
        linear=vector(x=x, y=0.0, z=0.0), angular=vector(x=0.0, y=0.0, z=turn)
    )
    if kind == "Twist":
        return plain
    return TYPES["geometry_msgs/msg/TwistStamped"](header=header(time), twist=plain)


def joints(time: float, position: float, names: tuple[str, ...] = ("a", "b")) -> Any:
    """Two joints, the first at ``position``."""
    return TYPES["sensor_msgs/msg/JointState"](
        header=header(time),
        name=list(names),
        position=np.array([position, 1.0]),
        velocity=np.zeros(0),
        effort=np.zeros(0),
    )


def write(
    path: Path,
    messages: Messages,
    plugin: StoragePlugin = StoragePlugin.MCAP,
    store: Typestore = STORE,
) -> Path:
    """Write a bag in the order of ``messages``; a message given as bytes is written unchanged."""
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections = {}
        for topic, time, message in messages:
            kind, data = message if isinstance(message, tuple) else (message.__msgtype__, None)
            if (topic, kind) not in connections:
                connections[topic, kind] = writer.add_connection(topic, kind, typestore=store)
            data = store.serialize_cdr(message, kind) if data is None else data
            writer.write(connections[topic, kind], round(time * 1e9), data)
    return path


def script(
    seconds: float = 2.0, image_rate: float = 30.0, delay: float = 0.0, **changes: Any
) -> list[tuple[str, float, Any]]:
    """Messages of a demonstration: numbered images, a twist with ``changes``, joints, gripper.

    Images are received ``delay`` s after their stamp. The gripper closes after a second.
    """
    messages = []
    for n in range(int(seconds * image_rate)):
        time = START + n / image_rate
        messages.append((IMAGE, time + delay, image(time, n)))
    for n in range(int(seconds * 50)):
        time = START + 0.05 + n / 50
        messages.append((TWIST, time, twist(time, **changes)))
    for n in range(int(seconds * 100)):
        time = START + n / 100
        messages.append((JOINTS, time, joints(time, n / 100)))
    grip = START + 1.0
    messages.append((GRIPPER, START, joints(START, 0.04)))
    messages.append((GRIPPER, grip, joints(grip, 0.0)))
    return messages


def clocked(
    messages: Messages,
    stamped: Callable[[str, float], float] = lambda topic, time: time,
    received: Callable[[str, float], float] = lambda topic, time: time,
) -> list[tuple[str, float, Any]]:
    """The same messages on other clocks, in the order of their new times.

    ``stamped`` and ``received`` map a topic and a time of receipt to the new stamp and time.
    """
    found = []
    for topic, time, message in sorted(messages, key=lambda m: m[1]):
        if hasattr(message, "header"):
            message.header.stamp = stamp(stamped(topic, time))
        found.append((topic, received(topic, time), message))
    return found
