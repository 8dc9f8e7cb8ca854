# SPDX-License-Identifier: Apache-2.0
"""Examination of the doctor: collect facts from the graph for some seconds, run all checks."""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from ptp_interfaces.msg import (
    ArmState,
    CartesianDelta,
    DriverState,
    EpisodeStatus,
    ErrorCode,
    Latent,
    Observation,
    PolicyUpdate,
    RecorderStatus,
    StepInfo,
    SubgoalPlan,
)
from rcl_interfaces.srv import GetParameters
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.topic_endpoint_info import TopicEndpointInfo
from sensor_msgs.msg import Image, JointState, Joy

from ptp_nodes.tools.doctor import doctor_checks
from ptp_nodes.tools.doctor.doctor_facts import (
    Driver,
    Endpoint,
    Expected,
    Finding,
    GraphFacts,
    Machine,
    Mismatch,
    ProcessObserver,
    Recorder,
    Stream,
    TopicFacts,
    short,
)
from ptp_ros.node_main import background_node

NS = 1e-9
DRIVER_STATES = {
    getattr(DriverState, name): name
    for name in (
        *("DISCONNECTED", "DISABLED", "READY", "ACTIVE", "INTERVENTION", "HOLD", "RESETTING"),
        "FAULT",
    )
}
AT_ONCE = 1.0  # s: then a message that left earlier comes from a clock that is behind
LOOK = 0.2  # s between looks for topics that are new
HIDDEN = "/_"  # in the names of what actions are made of, and of the recorder's histories
CLOCK_TOPIC = "/clock"
SUBSCRIBED = {
    f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}": kind
    for kind in (
        *(ArmState, CartesianDelta, DriverState, EpisodeStatus, Latent, Observation),
        *(PolicyUpdate, RecorderStatus, StepInfo, SubgoalPlan, Image, JointState, Joy),
        DiagnosticArray,
    )
}
ASKED = {
    "sim_bridge": ("mode", "rate"),
    "joint_bridge": ("rate",),
    "camera": ("rate",),
    "arm_driver": ("robot_file",),
    "encoder": ("checkpoint",),
    "planner": ("checkpoint",),
    "policy": ("checkpoint",),
}


class TopicStatistics:
    """The messages of one topic."""

    def __init__(self, name: str, type_name: str) -> None:
        self._name, self._type = name, type_name
        self._began, self._began_ns = time.monotonic(), time.time_ns()
        self._count = 0
        self._newest: int | None = None  # when the newest left, ns
        self._transfers: list[float] = []
        self._ages: list[float] = []
        self._image: int | None = None  # checksum of the newest
        self._row = self._longest = self._images = 0

    def add(self, message: Any, left: int, arrived: int) -> None:
        """Count a message that left and arrived at these times, ns of the system clocks."""
        self._newest = left
        if self._is_old(left):
            return  # latched: it says what was, not how fast things come
        self._count += 1
        images = message.images if isinstance(message, Observation) else [message]
        for image in images[:1]:  # a camera that stands still
            if isinstance(image, Image):
                self._see(image)
        self._transfers.append((arrived - left) * NS)
        header = getattr(message, "header", None)
        if header is not None and (header.stamp.sec or header.stamp.nanosec):
            stamp = header.stamp.sec * 10**9 + header.stamp.nanosec
            self._ages.append((arrived - stamp) * NS)

    def stream(self, stamps: bool) -> Stream:
        """The facts so far; without the age of stamps where time is simulated."""
        return Stream(
            name=self._name,
            type=self._type,
            seconds=time.monotonic() - self._began,
            count=self._count,
            newest_age=None if self._newest is None else (time.time_ns() - self._newest) * NS,
            # A clock that is behind delays every message, a busy machine only some.
            transfer=min(self._transfers) if self._transfers else None,
            stamp_age=statistics.median(self._ages) if self._ages and stamps else None,
            same=self._longest,
            images=self._images,
        )

    def _is_old(self, left: int) -> bool:
        """Whether a message was waiting for this reader. Those come first, and at once."""
        early = time.monotonic() - self._began < AT_ONCE
        return early and not self._count and left < self._began_ns

    def _see(self, image: Image) -> None:
        content = zlib.crc32(memoryview(image.data))
        self._row = self._row + 1 if content == self._image else 1
        self._image = content
        self._longest = max(self._longest, self._row)
        self._images += 1


class Reports:
    """What messages say about encoders, arm, episode, recorder and the nodes' health."""

    def __init__(self) -> None:
        self._encoders: dict[str, str] = {}
        self._errors: dict[str, str] = {}
        self._states: list[int] = []
        self._recorder: Recorder | None = None
        self._arm: ArmState | None = None
        self._travelled = 0.0
        self._driver: Driver | None = None

    def add(self, topic: str, message: Any) -> None:
        """Take a message in."""
        if encoder := _encoder(message):
            self._encoders[topic] = encoder
        if isinstance(message, (Latent, StepInfo, SubgoalPlan, PolicyUpdate)):
            return
        if isinstance(message, ArmState):
            self._travelled += math.hypot(
                message.executed_dx, message.executed_dy, message.executed_dz
            )
            self._arm = message
        elif isinstance(message, DriverState):
            names = (field.name for field in dataclasses.fields(Driver))
            values = {name: getattr(message, name) for name in names}
            self._driver = Driver(**{**values, "state": DRIVER_STATES[message.state]})
        elif isinstance(message, EpisodeStatus):
            self._states.append(message.state)
        elif isinstance(message, RecorderStatus):
            fault = message.state == RecorderStatus.FAULT
            self._recorder = Recorder(
                folder=message.folder,
                fault=(message.error_msg or "no reason given") if fault else "",
                dropped=message.dropped,
                bytes_free=message.bytes_free,
            )
        elif isinstance(message, DiagnosticArray):
            for status in message.status:
                bad = status.level == DiagnosticStatus.ERROR
                self._errors[status.name] = status.message if bad else ""

    def facts(self) -> dict[str, Any]:
        """Fields of `Graph`."""
        arm = self._arm
        wrong = arm is not None and arm.error_code != ErrorCode.NONE
        return {
            "encoders": tuple(sorted(self._encoders.items())),
            "acting": bool(self._states) and set(self._states) == {EpisodeStatus.ACTING},
            "taken_over": arm is not None and arm.taken_over,
            "arm_error": arm.error_msg if wrong else "",
            "travelled": self._travelled,
            "recorder": self._recorder,
            "driver": self._driver,
            "errors": tuple(sorted((n, text) for n, text in self._errors.items() if text)),
        }


class Listener(Node):
    """Subscribes to what it knows, as it appears. Its own readers are left out of the facts."""

    def __init__(self, **options) -> None:
        super().__init__(f"doctor_{os.getpid()}", start_parameter_services=False, **options)
        self._began = time.monotonic()
        self._heard: dict[str, TopicStatistics] = {}
        self._asked: dict[str, object] = {}
        self._parameters: dict[str, dict[str, object]] = {}
        self._reports = Reports()
        self.create_timer(LOOK, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def graph(self, domain: int, discovery_range: str) -> GraphFacts:
        """What was seen and heard so far."""
        topics = tuple(
            self._topic(name) for name, _ in self.get_topic_names_and_types() if HIDDEN not in name
        )
        simulated = any(topic.name == CLOCK_TOPIC and topic.writers for topic in topics)
        streams = [heard.stream(stamps=not simulated) for heard in list(self._heard.values())]
        return GraphFacts(
            domain=domain,
            discovery_range=discovery_range,
            seconds=time.monotonic() - self._began,
            nodes=tuple(sorted(self._others())),
            topics=tuple(topic for topic in topics if topic.writers or topic.readers),
            streams=tuple(sorted(streams, key=lambda stream: stream.name)),
            parameters=dict(self._parameters),
            **self._reports.facts(),
        )

    def _others(self) -> list[str]:
        mine = self.get_name()
        names = self.get_node_names_and_namespaces()
        return [f"{space.rstrip('/')}/{name}" for name, space in names if name != mine]

    def _look(self) -> None:
        for name, types in self.get_topic_names_and_types():
            if HIDDEN in name or name in self._heard:
                continue
            if len(types) == 1 and types[0] in SUBSCRIBED:
                self._subscribe(name, types[0])
        for node in self._others():
            if short(node) in ASKED and node not in self._asked:
                self._ask(node, ASKED[short(node)])

    def _subscribe(self, name: str, type_name: str) -> None:
        writers = self.get_publishers_info_by_topic(name)
        if not writers:
            return
        if type_name == "sensor_msgs/msg/Image" and not self.count_subscribers(name):
            return  # nobody looks, and the simulator would draw it for us alone
        heard = self._heard[name] = TopicStatistics(name, type_name)
        reports = self._reports

        def arrived(message, info: dict) -> None:
            heard.add(message, info["source_timestamp"], info["received_timestamp"])
            reports.add(name, message)

        self.create_subscription(SUBSCRIBED[type_name], name, arrived, _quality(writers))

    def _ask(self, node: str, names: tuple[str, ...]) -> None:
        client = self.create_client(GetParameters, f"{node}/get_parameters")
        if not client.service_is_ready():
            self.destroy_client(client)
            return  # asked again at the next look
        self._asked[node] = client

        def answered(future) -> None:
            values = [parameter_value_to_python(value) for value in future.result().values]
            if len(values) == len(names):
                self._parameters[node] = dict(zip(names, values))

        client.call_async(GetParameters.Request(names=names)).add_done_callback(answered)

    def _topic(self, name: str) -> TopicFacts:
        mine = self.get_name()
        writers = [i for i in self.get_publishers_info_by_topic(name) if i.node_name != mine]
        readers = [i for i in self.get_subscriptions_info_by_topic(name) if i.node_name != mine]
        mismatches = []
        for writer in writers:
            for reader in readers:
                verdict, reason = qos_check_compatible(writer.qos_profile, reader.qos_profile)
                if verdict == QoSCompatibility.ERROR:
                    mismatches.append(Mismatch(_full(writer), _full(reader), reason.rstrip("; ")))
        return TopicFacts(name, _endpoints(writers), _endpoints(readers), tuple(mismatches))


def listen(seconds: float, domain: int | None = None) -> GraphFacts:
    """Watch the graph for so long. ``domain`` None: that of ROS_DOMAIN_ID."""
    with background_node(lambda context: Listener(context=context), domain) as listener:
        time.sleep(seconds)
        return listener.graph(
            listener.context.get_domain_id(),
            os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET").upper(),
        )


@dataclasses.dataclass(frozen=True)
class Examination:
    """Facts and findings of one examination."""

    expected: Expected
    graph: GraphFacts
    machine: Machine
    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {"healthy": not self.findings, **dataclasses.asdict(self)}


def findings(graph: GraphFacts, machine: Machine, expected: Expected) -> tuple[Finding, ...]:
    """All findings; causes come before their effects."""
    return (
        *doctor_checks.missing_nodes(graph, machine, expected),
        *doctor_checks.twins(graph),
        *doctor_checks.domains(graph, machine),
        *doctor_checks.missing_topics(graph),
        *doctor_checks.lonely_topics(graph),
        *doctor_checks.definitions(graph),
        *doctor_checks.qualities(graph),
        *doctor_checks.encoders(graph),
        *doctor_checks.states(graph),
        *doctor_checks.clocks(graph),
        *doctor_checks.observations(graph),
        *doctor_checks.answers(graph),
        *doctor_checks.images(graph),
        *doctor_checks.threads(machine),
        *doctor_checks.versions(machine),
        *doctor_checks.disks(graph, machine),
        *doctor_checks.shared_memory(machine),
    )


def guess(graph: GraphFacts, stacks: Iterable[Expected]) -> Expected:
    """The stack with most nodes running and fewest missing; the first one if none runs."""
    there = {short(node) for node in graph.nodes}

    def fit(stack: Expected) -> int:
        found = len(there.intersection(stack.nodes))
        return 2 * found - len(stack.nodes) if found else -(10**6)

    return max(stacks, key=fit)


def examine(
    stacks: Iterable[Expected],
    seconds: float,
    domain: int | None = None,
    pins: Iterable[Path] = (),
) -> Examination:
    """Listen for ``seconds`` and check. Of several stacks the best match is expected."""
    observer = ProcessObserver()
    graph = listen(seconds, domain)
    folders = [graph.recorder.folder] if graph.recorder else []
    machine = observer.machine(folders, pins)
    expected = guess(graph, stacks)
    return Examination(expected, graph, machine, findings(graph, machine, expected))


def _encoder(message: Any) -> str:
    """Identity of the encoder whose latents a message has; empty for none."""
    if isinstance(message, PolicyUpdate):
        return message.encoder_id
    if isinstance(message, (Latent, StepInfo)):
        return message.latent.encoder_id
    if isinstance(message, SubgoalPlan):
        return message.goal.encoder_id
    return ""


def _quality(writers: list[TopicEndpointInfo]) -> QoSProfile:
    """A quality of service that matches every writer, and gets as much as they give."""
    profiles = [writer.qos_profile for writer in writers]
    reliable = all(p.reliability == ReliabilityPolicy.RELIABLE for p in profiles)
    latched = all(p.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in profiles)
    return QoSProfile(
        depth=100,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _endpoints(infos: list[TopicEndpointInfo]) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(_full(i), i.topic_type, str(i.topic_type_hash)) for i in infos)


def _full(info: TopicEndpointInfo) -> str:
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"
