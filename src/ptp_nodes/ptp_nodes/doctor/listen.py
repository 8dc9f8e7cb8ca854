# SPDX-License-Identifier: Apache-2.0
"""Listens to a graph for a few seconds and tells what it saw as plain facts."""

from __future__ import annotations

import os
import time

from diagnostic_msgs.msg import DiagnosticArray
from ptp_interfaces.msg import (
    ArmState,
    CartesianDelta,
    DriverState,
    EpisodeStatus,
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

from ptp_nodes.doctor.facts import Endpoint, Graph, Mismatch, Topic
from ptp_nodes.doctor.heard import Heard, Reports
from ptp_nodes.doctor.roles import short
from ptp_ros.aside import node_aside

LOOK = 0.2  # s between looks for topics that are new
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


class Listener(Node):
    """Subscribes to what it knows, as it appears. Its own readers are left out of the facts."""

    def __init__(self, **options) -> None:
        super().__init__(f"doctor_{os.getpid()}", start_parameter_services=False, **options)
        self._began = time.monotonic()
        self._heard: dict[str, Heard] = {}
        self._asked: dict[str, object] = {}
        self._parameters: dict[str, dict[str, object]] = {}
        self._reports = Reports()
        self.create_timer(LOOK, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def graph(self, domain: int, discovery_range: str) -> Graph:
        """What was seen and heard so far."""
        topics = tuple(
            self._topic(name)
            for name, _ in self.get_topic_names_and_types()
            if "/_" not in name  # what actions are made of
        )
        simulated = any(topic.name == CLOCK_TOPIC and topic.writers for topic in topics)
        streams = [heard.stream(stamps=not simulated) for heard in list(self._heard.values())]
        return Graph(
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
            if name not in self._heard and len(types) == 1 and types[0] in SUBSCRIBED:
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
        heard = self._heard[name] = Heard(name, type_name)
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

    def _topic(self, name: str) -> Topic:
        mine = self.get_name()
        writers = [i for i in self.get_publishers_info_by_topic(name) if i.node_name != mine]
        readers = [i for i in self.get_subscriptions_info_by_topic(name) if i.node_name != mine]
        mismatches = []
        for writer in writers:
            for reader in readers:
                verdict, reason = qos_check_compatible(writer.qos_profile, reader.qos_profile)
                if verdict == QoSCompatibility.ERROR:
                    mismatches.append(Mismatch(_full(writer), _full(reader), reason.rstrip("; ")))
        return Topic(name, _endpoints(writers), _endpoints(readers), tuple(mismatches))


def listen(seconds: float, domain: int | None = None) -> Graph:
    """Watch the graph for so long. ``domain`` None: that of ROS_DOMAIN_ID."""
    with node_aside(lambda context: Listener(context=context), domain) as listener:
        time.sleep(seconds)
        return listener.graph(
            listener.context.get_domain_id(),
            os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET").upper(),
        )


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
