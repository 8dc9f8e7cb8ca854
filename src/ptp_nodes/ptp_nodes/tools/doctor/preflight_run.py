# SPDX-License-Identifier: Apache-2.0
"""Run of the preflight: collects its facts and sends the result to the arm driver."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from rclpy.duration import Duration
from rclpy.node import Node
from std_msgs.msg import String

from ptp_core.errors import CheckpointError, ConfigError, InputError
from ptp_core.training.manifest import read_contents
from ptp_nodes.camera.camera_alignment import read_reference, shift_between
from ptp_nodes.camera.camera_client import looker
from ptp_nodes.tools.doctor.examination import Examination, examine
from ptp_nodes.tools.doctor.graph_facts import Expected, Finding, GraphFacts, short
from ptp_nodes.tools.doctor.preflight_measures import (
    Facts,
    Robot,
    View,
    Weights,
    encoder_of,
    report,
)
from ptp_robot.robot_file import limits_digest, load_robot, read_kinematics
from ptp_ros.background_node import node_aside
from ptp_ros.topics import ARM_PREFLIGHT, LATCHED

PICTURE = 5.0  # s to wait for a picture
HEARD = 5.0  # s in which the driver takes the report
# What does not keep an arm from being enabled: it costs time, or enabling comes before it.
HINTS = ("version", "shared-memory", "load", "threads", "taken-over", "arm")


@dataclass(frozen=True)
class Preflight:
    """What was seen, and the report of it."""

    facts: Facts
    seen: Examination
    text: str  # JSON, as the driver reads it

    @property
    def wrong(self) -> list[str]:
        """Findings that forbid to enable the arm; empty: none."""
        return json.loads(self.text)["findings"]

    @property
    def hints(self) -> list[str]:
        """The other findings."""
        return [finding.line() for finding in self.seen.findings if _is_hint(finding)]


def preflight(
    expected: Expected,
    seconds: float,
    *,
    robot: str = "",
    checkpoint: str = "",
    reference: str = "",
    disk: str = "",
    domain: int | None = None,
    pins: tuple[Path, ...] = (),
) -> Preflight:
    """Look for ``seconds`` and judge. Files that are not named are those that the nodes name."""
    view = see(reference, domain)
    seen = examine([expected], seconds, domain, pins)
    graph = seen.graph
    robot = robot or _parameter(graph, "arm_driver", "robot_file")
    folder = checkpoint or _parameter(graph, "policy", "checkpoint")
    found, problem = read_robot(robot)
    disk = disk or (graph.recorder.folder if graph.recorder else os.getcwd())
    facts = Facts(
        graph=graph,
        robot=found,
        robot_problem=problem,
        weights=check_weights(folder) if folder else None,
        view=view,
        disk=disk,
        free=shutil.disk_usage(_existing(disk)).free,
    )
    others = tuple(finding for finding in seen.findings if not _is_hint(finding))
    return Preflight(facts, seen, report(facts, others, time.time()))


def read_robot(path: str) -> tuple[Robot | None, str]:
    """The robot's file, or why it cannot be read."""
    if not path:
        return None, "nobody names one"
    try:
        config = load_robot(path)
        arm = read_kinematics(config)
    except ConfigError as error:
        return None, str(error)
    return Robot(path, config.name, config.limits, limits_digest(config, arm)), ""


def check_weights(folder: str) -> Weights:
    """Whether every file of a checkpoint is the one that its manifest names."""
    encoder, problem = encoder_of(folder), ""
    try:
        for path, sha256 in read_contents(folder).files.items():
            if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                problem = f"{path.name} is not the file that manifest.json names (sha256 differs)"
    except (OSError, CheckpointError) as error:
        problem = f"it cannot be read ({type(error).__name__}: {error})"
    return Weights(folder, encoder, problem)


def see(reference: str, domain: int | None = None) -> View:
    """The camera's next picture against the reference, where one is named."""
    if not reference:
        return View()
    try:
        wanted = read_reference(reference)
        with looker(domain) as eyes:
            shift = shift_between(wanted, eyes.next_picture(PICTURE))
    except InputError as error:
        return View(reference, problem=str(error))
    problem = "" if shift.is_sure else shift.line()
    pixels = shift.farthest if shift.is_sure else float("nan")
    return View(reference, pixels, shift.advice(), problem)


def tell(text: str, domain: int | None = None, patience: float = HEARD) -> bool:
    """Publish the report for the driver; returns whether a node received it."""
    with node_aside(lambda context: _Teller(context=context), domain) as node:
        deadline = time.monotonic() + patience
        while not node.reports.get_subscription_count():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        node.reports.publish(String(data=text))
        return node.reports.wait_for_all_acked(Duration(seconds=patience))


class _Teller(Node):
    def __init__(self, **options) -> None:
        super().__init__(f"preflight_{os.getpid()}", start_parameter_services=False, **options)
        self.reports = self.create_publisher(String, ARM_PREFLIGHT, LATCHED)


def _is_hint(finding: Finding) -> bool:
    # The driver's own complaints are judged by its state: disabled is no fault here.
    its_own = finding.check == "unhealthy" and short(finding.subject) == "arm_driver"
    return finding.check in HINTS or its_own


def _parameter(graph: GraphFacts, node: str, name: str) -> str:
    for full, values in graph.parameters.items():
        if short(full) == node and values.get(name):
            return str(values[name])
    return ""


def _existing(folder: str) -> Path:
    """The nearest folder above that exists."""
    path = Path(folder).absolute()
    while not path.is_dir():
        path = path.parent
    return path
