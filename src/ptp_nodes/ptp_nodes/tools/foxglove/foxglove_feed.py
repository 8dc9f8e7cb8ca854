# SPDX-License-Identifier: Apache-2.0
"""Node that passes the graph's messages to viewers, as bytes. It publishes nothing."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from ptp_core.episodes.bag_writer import BagTopic
from ptp_core.episodes.message_definitions import ARM_STATE, IMAGE, OBSERVATION, Definitions
from ptp_core.episodes.standard_messages import ARM_PARTS, SOURCES, StandardMessages
from ptp_core.errors import EpisodeError
from ptp_ros.topics import ROBOT_DESCRIPTION

BEAT = 1.0  # s between looks at the graph
DEPTH = 10  # messages of a topic that may wait
STRING = "std_msgs/msg/String"


class ViewerChannels(Protocol):
    """Where the feed goes. Calls come from one thread."""

    def offer(self, topic: str, kind: str, definition: str) -> None:
        """Offer a topic; ``definition``: of the type and all that it needs, as in .msg files."""

    def withdraw(self, topic: str) -> None:
        """The topic is gone."""

    def send(self, topic: str, data: bytes, received: int) -> None:
        """Pass a message on: CDR bytes, received at ``received`` [ns]."""


class FoxgloveFeed(Node):
    """Offers each topic whose type is known, and listens to those that a viewer asks for.

    Topics are those of the graph, without hidden ones, and the standard messages that repeat
    Observations and ArmStates (`StandardMessages`), under the names that they have in bags.
    ``description``: URDF text that is offered as robot_description while no node publishes one;
    empty: none.
    """

    def __init__(self, channels: ViewerChannels, description: str = "", **options: Any) -> None:
        super().__init__(
            "foxglove", enable_rosout=False, start_parameter_services=False, **options
        )
        self._channels = channels
        self._definitions = Definitions()
        self._standard = StandardMessages(self._definitions)
        self._graph: dict[str, BagTopic] = {}  # topics of the graph by name
        self._made: dict[str, str] = {}  # topic that is made here -> its source
        self._own = self.resolve_topic_name(ROBOT_DESCRIPTION) if description else ""
        self._description = description
        self._wanted: dict[str, int] = {}  # topic -> viewers
        self._again: set[str] = set()  # topics of which a new viewer wants the newest message
        self._lock = threading.Lock()  # on the two above
        self._heard: dict[str, Any] = {}  # subscriptions by topic
        self._newest: dict[str, tuple[bytes, int]] = {}  # of latched topics
        self._unknown: set[str] = set()  # topics whose type cannot be read here
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(BEAT, self.look, clock=steady)

    def want(self, topic: str) -> None:
        """A viewer asks for a topic. Any thread may call it."""
        with self._lock:
            self._wanted[topic] = self._wanted.get(topic, 0) + 1
            self._again.add(topic)
        self._soon(self.follow)

    def leave(self, topic: str) -> None:
        """A viewer looks no longer. Any thread may call it."""
        with self._lock:
            self._wanted[topic] = max(self._wanted.get(topic, 0) - 1, 0)
        self._soon(self.follow)

    def _soon(self, work: Callable[[], None]) -> None:
        if (executor := self.executor) is not None:
            executor.create_task(work)

    def look(self) -> None:
        """Offer topics that came, and withdraw those that are gone."""
        there = {
            name: types[0]
            for name, types in self.get_topic_names_and_types()
            if self.count_publishers(name) and self._is_readable(name, types)
        }
        # The graph may have an observation's images as well: here they are made of it.
        parts = [
            name
            for name, kind in there.items()
            if kind == IMAGE and there.get(name.rpartition("/")[0]) == OBSERVATION
        ]
        for name in parts:
            del there[name]
        for name in self._graph.keys() - there.keys():
            self._withdraw(name)
        for name in there.keys() - self._graph.keys():
            self._graph[name] = BagTopic(name, there[name])
            if name != self._own:
                self._offer(name, there[name])
            if there[name] == ARM_STATE:
                for part, kind in ARM_PARTS.items():
                    self._make(name, f"{name}/{part}", kind)
        if self._own and self._own not in self._made:
            self._make("", self._own, STRING)
        self.follow()

    def _is_readable(self, name: str, types: list[str]) -> bool:
        if any(word.startswith("_") for word in name.split("/")) or name in self._unknown:
            return False
        if len(types) == 1 and types[0] in self._definitions.store.fielddefs:
            return True
        self._unknown.add(name)
        self.get_logger().info(f"{name} is not shown: {' and '.join(types)} is not known here")
        return False

    def _offer(self, name: str, kind: str) -> None:
        self._channels.offer(name, kind, self._definitions.text(kind))

    def _make(self, source: str, name: str, kind: str) -> None:
        self._made[name] = source
        self._offer(name, kind)

    def _withdraw(self, name: str) -> None:
        del self._graph[name]
        self._newest.pop(name, None)
        self._drop(name)
        if name != self._own:
            self._channels.withdraw(name)
        for made in [part for part, source in self._made.items() if source == name]:
            del self._made[made]
            self._channels.withdraw(made)

    def follow(self) -> None:
        """Subscribe to what viewers want, and to nothing else."""
        with self._lock:
            wanted = {topic for topic, viewers in self._wanted.items() if viewers}
            again, self._again = self._again & wanted, set()
        sources = {self._made.get(topic) or topic for topic in wanted}
        for name, topic in self._graph.items():
            # The cameras, which are topics of their own, are known from an Observation.
            unseen = topic.kind == OBSERVATION and name not in self._made.values()
            if name in sources or unseen:
                self._listen(topic)
            else:
                self._drop(name)
        for topic in again:
            self._repeat(topic)

    def _listen(self, topic: BagTopic) -> None:
        if topic.name in self._heard:
            return
        package, _, name = topic.kind.partition("/msg/")
        try:
            kind = getattr(importlib.import_module(f"{package}.msg"), name)
        except (ImportError, AttributeError):
            self._unknown.add(topic.name)  # withdrawn at the next look
            return
        ends = [end.qos_profile for end in self.get_publishers_info_by_topic(topic.name)]
        latched = bool(ends) and all(
            end.durability == DurabilityPolicy.TRANSIENT_LOCAL for end in ends
        )
        reliable = all(end.reliability == ReliabilityPolicy.RELIABLE for end in ends)
        qos = QoSProfile(
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=(
                DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
            ),
            history=HistoryPolicy.KEEP_LAST,
            depth=DEPTH,
        )
        arrived = partial(self._arrived, topic, latched)
        self._heard[topic.name] = self.create_subscription(
            kind, topic.name, arrived, qos, raw=True
        )

    def _drop(self, name: str) -> None:
        if (subscription := self._heard.pop(name, None)) is not None:
            self.destroy_subscription(subscription)

    def _arrived(self, topic: BagTopic, latched: bool, data: bytes) -> None:
        self._pass_on(topic.name, data, time.time_ns(), latched)
        if topic.kind in SOURCES:
            self._pass_parts_on(topic, data, latched)

    def _pass_on(self, name: str, data: bytes, received: int, latched: bool) -> None:
        self._channels.send(name, data, received)
        if latched:
            self._newest[name] = data, received

    def _pass_parts_on(self, topic: BagTopic, data: bytes, latched: bool) -> None:
        try:
            message = self._definitions.decode(topic.kind, data)
        except EpisodeError as error:
            self.get_logger().error(f"{topic.name}: {error}", throttle_duration_sec=1.0)
            return
        received = time.time_ns()
        for part, repeated in self._standard.of(topic, message):
            if part.name not in self._made:  # a camera that was not seen before
                self._make(topic.name, part.name, part.kind)
            self._pass_on(part.name, repeated, received, latched)

    def _repeat(self, topic: str) -> None:
        """The newest message of a latched topic, for a viewer that came later than it."""
        if topic in self._newest:
            self._channels.send(topic, *self._newest[topic])
        elif topic == self._own and topic not in self._graph:
            text = self._definitions.store.types[STRING](data=self._description)
            self._channels.send(topic, self._definitions.encode(text), time.time_ns())
