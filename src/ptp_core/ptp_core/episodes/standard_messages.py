# SPDX-License-Identifier: Apache-2.0
"""Standard messages that repeat what our messages hold, for programs that know only those.

Foxglove, Rerun, PlotJuggler and converters of data sets show and read them without our types:

| topic | type | from |
|---|---|---|
| ``<observation>/<camera>`` | sensor_msgs/Image | the image of each camera of an Observation |
| ``<arm state>/pose`` | geometry_msgs/PoseStamped | the measured pose of the TCP |
| ``<arm state>/command`` | geometry_msgs/TwistStamped | the accepted command, m/s and rad/s |
| ``<arm state>/gripper`` | std_msgs/Float64 | measured, -1 open to +1 closed |
| ``<arm state>/gripper_command`` | std_msgs/Float64 | that of the accepted command |
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ptp_core.episodes.bag_writer import BagTopic
from ptp_core.episodes.episode import nanoseconds
from ptp_core.episodes.message_definitions import ARM_STATE, IMAGE, OBSERVATION, Definitions

POSE = "geometry_msgs/msg/PoseStamped"
TWIST = "geometry_msgs/msg/TwistStamped"
NUMBER = "std_msgs/msg/Float64"
SOURCES = (OBSERVATION, ARM_STATE)  # types that have standard messages
ARM_PARTS = {"pose": POSE, "command": TWIST, "gripper": NUMBER, "gripper_command": NUMBER}
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # what a topic's last word may be


class StandardMessages:
    """Makes the standard messages of one stream of Observations and ArmStates.

    A command moves the tool by so many metres in one step. As a velocity it is that motion over
    the time between the stamps of two states. Without an earlier state, or where the stamps do
    not increase, there is no velocity, and that message is left out.
    """

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._types = definitions.store.types
        self._topics: dict[str, BagTopic] = {}  # by name
        self._before: dict[str, tuple[int, int]] = {}  # topic -> number and stamp of its newest

    def repeats(self, topic: BagTopic) -> bool:
        """Whether ``topic`` is one of those that were made here."""
        return topic.name in self._topics

    def of(self, topic: BagTopic, message: Any) -> Iterator[tuple[BagTopic, bytes]]:
        """Topics and CDR bytes of what repeats the decoded ``message`` of ``topic``."""
        if topic.kind == OBSERVATION:
            for index, (camera, image) in enumerate(zip(message.cameras, message.images)):
                name = camera if NAME.fullmatch(camera) else f"camera_{index}"
                yield self._part(topic, name, IMAGE, image)
        elif topic.kind == ARM_STATE:
            pose = self._types[POSE](header=message.header, pose=message.pose)
            yield self._part(topic, "pose", POSE, pose)
            if (twist := self._twist(topic, message)) is not None:
                yield self._part(topic, "command", TWIST, twist)
            yield self._number(topic, "gripper", message.gripper)
            if message.moved:
                yield self._number(topic, "gripper_command", message.command.gripper)

    def _twist(self, topic: BagTopic, state: Any) -> Any | None:
        """The command that led to ``state``; zero where there was none."""
        now = state.observation_seq, nanoseconds(state.header.stamp)
        before = self._before.get(topic.name)
        self._before[topic.name] = now
        command, vector = state.command, self._types["geometry_msgs/msg/Vector3"]
        linear, turn, header = (0.0, 0.0, 0.0), 0.0, state.header
        if state.moved:
            if before is None or now[0] <= before[0] or now[1] <= before[1]:
                return None
            seconds = (now[1] - before[1]) * 1e-9 / (now[0] - before[0])
            linear = tuple(v / seconds for v in (command.dx, command.dy, command.dz))
            turn, header = command.dyaw / seconds, command.header
        twist = self._types["geometry_msgs/msg/Twist"](
            linear=vector(*linear), angular=vector(0.0, 0.0, turn)
        )
        return self._types[TWIST](header=header, twist=twist)

    def _number(self, topic: BagTopic, name: str, value: float) -> tuple[BagTopic, bytes]:
        return self._part(topic, name, NUMBER, self._types[NUMBER](data=value))

    def _part(self, source: BagTopic, name: str, kind: str, message: Any):
        full = f"{source.name}/{name}"
        if full not in self._topics:
            self._topics[full] = BagTopic(full, kind, depth=source.depth)
        return self._topics[full], self._definitions.encode(message)
