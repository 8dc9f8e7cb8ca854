# SPDX-License-Identifier: Apache-2.0
"""The doctor on real graphs and this machine: what it gathers, and what follows from it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ament_index_python.packages import get_package_share_directory
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from ptp_interfaces.msg import (
    ArmState,
    EpisodeStatus,
    Latent,
    LatentArray,
    Observation,
    RecorderStatus,
    SubgoalPlan,
)
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Float64, String

from ptp_nodes.nodes.encoder_node import EncoderNode
from ptp_nodes.nodes.learner_node import LearnerNode
from ptp_nodes.nodes.planner_node import PlannerNode
from ptp_nodes.nodes.policy_node import PolicyNode
from ptp_nodes.nodes.practice_node import PracticeNode
from ptp_nodes.nodes.recorder_node import RecorderNode
from ptp_nodes.nodes.teleop_node import TeleopNode
from ptp_nodes.nodes.view_node import ViewNode
from ptp_nodes.tools.doctor.doctor_checks import missing_topics
from ptp_nodes.tools.doctor.doctor_facts import ROLES, Expected, Machine, ProcessObserver
from ptp_nodes.tools.doctor.examination import Listener, examine, findings
from ptp_ros import topics
from ptp_ros.graph_testing import parameters
from ptp_ros.image_messages import array_to_image
from ptp_ros.node_main import background_node

RATE = 20.0  # Hz at which the faulty camera says it sends


class Faulty(Node):
    """A camera that sends one old image at half its rate, and says it is fine."""

    def __init__(self, context):
        super().__init__("camera", context=context)
        self.declare_parameter("rate", RATE)
        self.observations = self.create_publisher(Observation, topics.OBSERVATION, topics.LATCHED)
        self.image = array_to_image(np.zeros((48, 48, 3), np.uint8), Time(), "camera_optical")
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(2.0 / RATE, self.send, clock=steady)

    def send(self):
        message = Observation(images=[self.image])
        message.header.stamp.sec = int(time.time()) - 60
        self.observations.publish(message)


@pytest.mark.process
def test_faults_of_a_real_graph_are_found(graph, ros_domain, tmp_path):
    with background_node(Faulty):
        latched, volatile = topics.LATCHED, QoSProfile(depth=1)
        encoder, other = (
            graph.add(Node(name, context=graph.context)) for name in ("encoder", "other")
        )
        for name in ("planner", "planner", "policy"):
            graph.add(Node(name, context=graph.context))
        encoder.create_publisher(Latent, topics.LATENT, volatile).publish(
            Latent(latent=LatentArray(encoder_id="e1"))
        )
        other.create_subscription(Latent, topics.LATENT, print, latched)
        other.create_publisher(SubgoalPlan, topics.PLAN, latched).publish(
            SubgoalPlan(goal=LatentArray(encoder_id="e2"))
        )
        other.create_publisher(Latent, "again", latched).publish(
            Latent(latent=LatentArray(encoder_id="e1"))
        )
        other.create_publisher(Latent, "more", latched).publish(
            Latent(latent=LatentArray(encoder_id="e1"))
        )
        other.create_subscription(String, "/a/words", print, 1)
        other.create_publisher(String, "/b/words", 1)
        other.create_publisher(ArmState, topics.ARM_STATE, latched).publish(
            ArmState(taken_over=True, error_code=5, error_msg="dx is not finite")
        )
        other.create_publisher(EpisodeStatus, topics.EPISODE, latched)
        other.create_publisher(Float64, "number", 1)
        health = other.create_publisher(DiagnosticArray, "/diagnostics", latched)
        bad = DiagnosticStatus(level=DiagnosticStatus.ERROR, name="/planner", message="no model")
        health.publish(DiagnosticArray(status=[bad]))
        full = RecorderStatus(folder=str(tmp_path), state=RecorderStatus.FAULT, error_msg="full")
        other.create_publisher(RecorderStatus, topics.RECORDER_STATUS, latched).publish(full)
        graph.collect(Observation, topics.OBSERVATION, latched)
        with (
            background_node(lambda context: Node("stranger", context=context)) as stranger,
            background_node(lambda context: Listener(context=context)) as listener,
        ):
            stranger.create_publisher(String, "number", 1)  # another type

            def named():
                return {(f.check, f.subject) for f in diagnose(listener, tmp_path)}

            graph.wait(lambda: named() >= FAULTS, "all findings")
            words = next(f for f in diagnose(listener, tmp_path) if f.subject == "/a/words")
            assert "/other writes the same to /b/words" in words.cure
            assert not named() & {("clock", "/observation"), ("missing-topic", "/observation")}
            seen = listener.graph(ros_domain, "LOCALHOST")
            assert not any("doctor" in node for node in seen.nodes)


def diagnose(listener, folder):
    seen = listener.graph(1, "LOCALHOST")
    expected = Expected("camera", ("camera", "encoder", "view"))
    return findings(seen, Machine(cores=2), expected)


FAULTS = {
    ("missing-node", "view"),
    ("twice", "/planner"),
    ("missing-topic", "/image_raw"),
    ("missing-topic", "/plan"),
    ("no-writer", "/a/words"),
    ("qos", "/latent"),
    ("type", "/number"),
    ("encoder", "/plan"),
    ("taken-over", "arm"),
    ("arm", "arm"),
    ("unhealthy", "/planner"),
    ("stamp", "/observation"),
    ("slow", "/observation"),
    ("frozen", "/observation"),
    ("recorder", "recorder"),
}


def test_an_examination_has_domain_versions_and_disks_and_can_be_written(
    graph, ros_domain, tmp_path
):
    full = RecorderStatus(folder=str(tmp_path), state=RecorderStatus.FAULT, error_msg="full")
    graph.client.create_publisher(RecorderStatus, topics.RECORDER_STATUS, topics.LATCHED).publish(
        full
    )
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==0.0.1 \\\n    --hash=sha256:0\n")
    stacks = [Expected("camera", ("camera",)), Expected("sim", ("test_client",))]
    report = examine(stacks, 3.0, pins=[lock])
    assert (report.graph.domain, report.graph.discovery_range) == (ros_domain, "LOCALHOST")
    assert report.expected.stack == "sim"
    assert report.machine.free[str(tmp_path)] > 0
    assert {f.check for f in report.findings} >= {"version", "recorder"}
    assert json.loads(json.dumps(report.as_dict()))["healthy"] is False


def test_types_are_those_of_this_build(graph):
    graph.add(Node("encoder", context=graph.context)).create_publisher(Latent, "latent", 1)
    graph.wait(lambda: graph.client.count_publishers("/latent"), "the topic")
    with background_node(lambda context: Listener(context=context)) as listener:

        def latent():
            return listener.graph(1, "").topic("/latent")

        graph.wait(lambda: latent() and latent().writers, "the writer")
        (writer,) = latent().writers
    share = Path(get_package_share_directory("ptp_interfaces"))
    hashes = json.loads((share / "msg" / "Latent.json").read_text())["type_hashes"]
    assert writer.type == "ptp_interfaces/msg/Latent"
    assert writer.type_hash == hashes[0]["hash_string"]


def test_a_latched_message_from_before_is_not_news(graph):
    writer = graph.client.create_publisher(Latent, topics.LATENT, topics.LATCHED)
    writer.publish(Latent(latent=LatentArray(encoder_id="e1")))
    with background_node(lambda context: Listener(context=context)) as listener:

        def seen():
            return listener.graph(1, "")

        graph.wait(lambda: seen().encoders, "the latent")
        assert seen().stream("/latent").count == 0
        assert seen().stream("/latent").newest_age > 0.0
        assert seen().encoders == (("/latent", "e1"),)
        writer.publish(Latent(latent=LatentArray(encoder_id="e1")))
        graph.wait(lambda: seen().stream("/latent").count == 1, "the next")


def test_our_nodes_write_what_their_roles_say(graph, folder, tmp_path):
    networks = {"checkpoint": str(folder)}
    nodes = {
        EncoderNode: networks,
        PlannerNode: networks,
        PolicyNode: networks,
        LearnerNode: {**networks, "folder": str(tmp_path / "learner")},
        RecorderNode: {"folder": str(tmp_path / "session"), "min_free": 0},
        **{kind: {} for kind in (PracticeNode, TeleopNode, ViewNode)},
    }
    for kind, values in nodes.items():
        graph.add(kind(context=graph.context, parameter_overrides=parameters(values)))
    names = {"encoder", "planner", "policy", "practice", "teleop", "view", "learner", "recorder"}
    with background_node(lambda context: Listener(context=context)) as listener:

        def seen():
            return listener.graph(1, "")

        def known():
            return names == {node[1:] for node in seen().nodes} & set(ROLES)

        graph.wait(lambda: known() and "/policy" in seen().parameters, "the nodes")
        graph.wait(lambda: not list(missing_topics(seen())), "their topics")
        assert seen().parameters["/policy"] == {"checkpoint": str(folder)}


@pytest.mark.process
def test_threads_of_a_nodes_process_are_counted_and_its_domain_is_read():
    program = """
import hashlib, threading
def burn():
    while True:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 20_000)
for _ in range(3):
    threading.Thread(target=burn, daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
"""
    command = [sys.executable, "-c", program, "--ros-args", "-r", "__node:=burner"]
    env = {**os.environ, "ROS_DOMAIN_ID": "77", "ROS_AUTOMATIC_DISCOVERY_RANGE": "subnet"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as burner:
        try:
            burner.stdout.readline()
            observer = ProcessObserver()
            deadline = time.monotonic() + 20.0
            while True:
                machine = observer.machine()
                seen = [p for p in machine.processes if p.pid == burner.pid]
                if (seen and seen[0].busy_threads == 3) or time.monotonic() > deadline:
                    break
        finally:
            burner.kill()
    (process,) = seen
    assert (process.node, process.domain, process.discovery_range) == ("burner", 77, "SUBNET")
    assert process.busy_threads == 3
    assert process.cores > 0.0
    assert machine.cores == len(os.sched_getaffinity(0))
