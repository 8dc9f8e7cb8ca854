# SPDX-License-Identifier: Apache-2.0
"""Preflight of a real arm: collect facts, judge them, and send the report to the arm driver."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rclpy.duration import Duration
from rclpy.node import Node
from std_msgs.msg import String

from ptp_core.data.file_limits import MOST_WEIGHTS, OverBudget, read_bytes
from ptp_core.errors import CheckpointError, ConfigError, InputError
from ptp_core.training.manifest import read_contents
from ptp_nodes.camera.camera_alignment import read_reference, shift_between
from ptp_nodes.camera.camera_client import camera_client
from ptp_nodes.tools.doctor.doctor_checks import LEAST_FREE
from ptp_nodes.tools.doctor.doctor_facts import Expected, Finding, GraphFacts, short
from ptp_nodes.tools.doctor.examination import Examination, examine
from ptp_robot.robot_file import Limits, limits_digest, load_robot, read_kinematics
from ptp_ros import topics
from ptp_ros.node_main import background_node
from ptp_ros.topics import ARM_PREFLIGHT, LATCHED

VERSION = 1  # of the report
SLOW = 0.8  # share of a rate that is asked for
CAMERA_TOLERANCE = 2.0  # pixels that a corner of the image may have moved, as ptp camera align
GIB = 2**30
IMAGE_WITHIN = 5.0  # s to wait for an image
HEARD = 5.0  # s in which the driver takes the report
# What does not keep an arm from being enabled: it costs time, or enabling comes before it.
HINTS = ("version", "shared-memory", "load", "threads", "taken-over", "arm")


@dataclass(frozen=True)
class Robot:
    """The robot's file, as it is read here."""

    path: str
    backend: str
    limits: Limits
    digest: str  # of the limits, as the driver names them


@dataclass(frozen=True)
class Weights:
    """The checkpoint, as it is found here."""

    folder: str
    encoder_id: str = ""
    problem: str = ""  # a file that is missing, or is not the one that the manifest names


@dataclass(frozen=True)
class View:
    """The camera's image compared with its reference image."""

    reference: str = ""  # its file; empty: none was named
    pixels: float = math.nan  # that the corner moved which moved farthest
    advice: str = ""
    problem: str = ""  # why they cannot be compared


@dataclass(frozen=True)
class Facts:
    """Facts that a preflight checks."""

    graph: GraphFacts
    robot: Robot | None
    robot_problem: str  # why the robot's file cannot be read
    weights: Weights | None  # None: no node has a checkpoint
    view: View
    disk: str  # folder that is written to
    free: int  # bytes on its disk


@dataclass(frozen=True)
class Measure:
    """One number and its bounds; a value that is not known is out of them."""

    name: str
    value: float
    unit: str
    least: float = -math.inf
    most: float = math.inf
    why: str = ""
    cure: str = ""

    @property
    def ok(self) -> bool:
        """Whether it lies within its bounds."""
        return self.least <= self.value <= self.most

    def line(self) -> str:
        """One line for a person."""
        value = "not known" if math.isnan(self.value) else f"{self.value:.4g} {self.unit}"
        low, high = math.isfinite(self.least), math.isfinite(self.most)
        bound = f"at least {self.least:g}" * low + " and " * (low and high)
        bound += f"at most {self.most:g}" * high
        return f"{'ok  ' if self.ok else 'BAD '} {self.name}: {value} ({bound})"

    def finding(self) -> Finding:
        """What is wrong, for a number that is out of bounds."""
        return Finding("preflight", self.name, self.line()[5:], self.why, self.cure)


def measures(facts: Facts) -> tuple[Measure, ...]:
    """Every number of a preflight."""
    return (
        *_driver_measures(facts),
        *_stream_measures(facts),
        Measure(
            f"free disk of {facts.disk}",
            facts.free / GIB,
            "GiB",
            least=LEAST_FREE / GIB,
            why="When it is full, recording and learning stop",
            cure="Delete or move old sessions (ptp episodes drop), or record elsewhere",
        ),
        *_view_measures(facts.view),
    )


def findings(facts: Facts) -> tuple[Finding, ...]:
    """Findings that forbid to enable the arm."""
    return (
        *_driver_findings(facts),
        *_weights_findings(facts),
        *(measure.finding() for measure in measures(facts) if not measure.ok),
    )


def report(facts: Facts, others: tuple[Finding, ...], now: float) -> str:
    """The report as the driver reads it (JSON): it may be enabled while this is fresh and ok.

    ``others`` are findings of the whole graph. ``now`` is the time, s since 1970.
    """
    wrong = (*findings(facts), *others)
    driver = facts.graph.driver
    return json.dumps(
        {
            "version": VERSION,
            "ok": not wrong,
            "stamp": now,
            "limits": "" if driver is None else driver.limits,
            "backend": "" if driver is None else driver.backend,
            "encoder": "" if facts.weights is None else facts.weights.encoder_id,
            "findings": [finding.line() for finding in wrong],
            "measures": {m.name: m.value for m in measures(facts) if math.isfinite(m.value)},
        }
    )


def encoder_of(folder: str) -> str:
    """The encoder that a checkpoint's manifest names; empty: none can be read."""
    try:
        return read_contents(folder).encoder_id
    except CheckpointError:
        return ""


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
            if hashlib.sha256(read_bytes(path, MOST_WEIGHTS)).hexdigest() != sha256:
                problem = f"{path.name} is not the file that manifest.json names (sha256 differs)"
    except (OSError, OverBudget, CheckpointError) as error:
        problem = f"it cannot be read ({type(error).__name__}: {error})"
    return Weights(folder, encoder, problem)


def see(reference: str, domain: int | None = None) -> View:
    """The camera's next image against the reference, where one is named."""
    if not reference:
        return View()
    try:
        wanted = read_reference(reference)
        with camera_client(domain) as images:
            shift = shift_between(wanted, images.next_raw_image(IMAGE_WITHIN))
    except InputError as error:
        return View(reference, problem=str(error))
    problem = "" if shift.is_sure else shift.line()
    pixels = shift.farthest if shift.is_sure else float("nan")
    return View(reference, pixels, shift.advice(), problem)


def tell(text: str, domain: int | None = None, patience: float = HEARD) -> bool:
    """Publish the report for the driver; returns whether a node received it."""
    with background_node(lambda context: _Teller(context=context), domain) as node:
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


def _driver_measures(facts: Facts) -> Iterator[Measure]:
    driver, robot = facts.graph.driver, facts.robot
    if driver is None or robot is None:
        return
    limits = robot.limits
    stale = driver.reading_age if driver.reading_age >= 0.0 else math.nan
    yield Measure(
        "age of joint positions",
        stale,
        "s",
        most=limits.joints_timeout,
        why="The driver holds on positions that are older",
        cure="Look at the robot's network and at what publishes its joints",
    )
    yield Measure(
        "driver's loop",
        driver.loop_rate,
        "Hz",
        least=0.9 / limits.period,
        why="Steps come late and watchdogs with them",
        cure="Give the driver a core: end what else runs",
    )
    yield Measure(
        "driver's longest cycle",
        driver.loop_worst,
        "s",
        most=limits.overrun,
        why="A longer one is a fault in motion",
        cure="Give the driver a core: end what else runs",
    )
    yield Measure(
        "joints from their ends",
        driver.joint_margin,
        "rad",
        least=limits.joint_margin,
        why="The arm cannot move away from there under its limits",
        cure="Move the arm by hand, away from the end of its joints",
    )
    if driver.condition == 0.0:
        return  # the driver looks at it from the moment that it is enabled
    yield Measure(
        "condition of the Jacobian",
        driver.condition,
        "",
        most=limits.condition_hold,
        why="Near a singularity the driver holds",
        cure="Move the arm by hand, to its home pose",
    )


def _stream_measures(facts: Facts) -> Iterator[Measure]:
    graph, robot = facts.graph, facts.robot
    camera = _newest(graph, topics.OBSERVATION)
    latents = _newest(graph, topics.LATENT)
    wanted = [v["rate"] for v in graph.parameters.values() if "rate" in v]
    rate = camera.rate if camera is not None else 0.0
    yield Measure(
        "images",
        rate,
        "Hz",
        least=SLOW * (min(wanted) if wanted else 1.0),
        why="The policy acts on old images",
        cure="Look at the camera's cable, light and log",
    )
    yield Measure(
        "latents",
        latents.rate if latents is not None else 0.0,
        "Hz",
        least=SLOW * rate if rate else 1.0,
        why="The policy is blind between them",
        cure="Start the encoder, or free the cores for it",
    )
    oldest = robot.limits.command_age if robot is not None else 0.3
    for name, stream in (("images", camera), ("latents", latents)):
        age = None if stream is None else stream.stamp_age
        yield Measure(
            f"age of {name} on arrival",
            math.nan if age is None else age,
            "s",
            least=-oldest,
            most=oldest,
            why="The driver refuses answers to what is too old",
            cure="Free the cores, look at the network, and set both machines' clocks (chrony)",
        )
    apart = [s.transfer for s in graph.streams if s.transfer is not None]
    ahead = robot.limits.command_ahead if robot is not None else 0.1
    yield Measure(
        "offset of the clocks",
        max((abs(offset) for offset in apart), default=math.nan),
        "s",
        most=ahead,
        why="The driver refuses commands from the future, and fresh ones count as stale",
        cure="Synchronise the clocks (chrony), then start the nodes again",
    )


def _view_measures(view: View) -> Iterator[Measure]:
    if view.reference:
        yield Measure(
            "camera from its reference",
            view.pixels,
            "pixels",
            most=CAMERA_TOLERANCE,
            why=view.problem or "The policy has learned what the camera saw from where it stood",
            cure=view.advice or "Put the camera back: ptp camera align shows how far it is off",
        )


def _driver_findings(facts: Facts) -> Iterator[Finding]:
    driver, robot = facts.graph.driver, facts.robot
    if driver is None:
        yield Finding(
            "preflight",
            "arm_driver",
            "The arm driver says nothing of itself",
            "Nothing would stop the arm",
            "Start it: ptp up real",
        )
        return
    if driver.state in ("DISCONNECTED", "FAULT"):
        yield Finding(
            "preflight",
            "arm_driver",
            f"The driver is in {driver.state}: {driver.reason or 'no reason given'}",
            "It cannot be enabled",
            "Do what the reason says; a fault is cleared with ptp arm clear-fault",
        )
    if robot is None:
        yield Finding(
            "preflight",
            "robot file",
            f"The robot's file cannot be read: {facts.robot_problem}",
            "Nobody can say which limits are in force",
            "Name it with --robot, on the machine that has it",
        )
    elif (robot.backend, robot.digest) != (driver.backend, driver.limits):
        yield Finding(
            "preflight",
            robot.path,
            f"The driver keeps limits {driver.limits} of {driver.backend}, {robot.path} has "
            f"{robot.digest} of {robot.backend}",
            "The limits that were read are not those in force",
            "Start the driver again with this file, or name its file with --robot",
        )


def _weights_findings(facts: Facts) -> Iterator[Finding]:
    weights = facts.weights
    if weights is not None and weights.problem:
        yield Finding(
            "preflight",
            weights.folder,
            f"The checkpoint is not whole: {weights.problem}",
            "Nobody knows what the policy would do",
            "Restore the whole folder from one source",
        )


def _newest(graph: GraphFacts, name: str):
    found = [s for s in graph.streams if short(s.name) == name and s.count]
    return max(found, key=lambda stream: stream.count, default=None)


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
