# SPDX-License-Identifier: Apache-2.0
"""Preflight checks: numbers with their bounds, and the findings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

from ptp_core.errors import CheckpointError
from ptp_core.training.manifest import read_contents
from ptp_nodes.tools.doctor.flow_checks import LEAST_FREE
from ptp_nodes.tools.doctor.graph_facts import Finding, GraphFacts, short
from ptp_robot.limits import Limits
from ptp_ros import topics

VERSION = 1  # of the report
SLOW = 0.8  # share of a rate that is asked for
CAMERA_TOLERANCE = 2.0  # pixels that a corner of the picture may have moved, as ptp camera align
GIB = 2**30


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
        "pictures",
        rate,
        "Hz",
        least=SLOW * (min(wanted) if wanted else 1.0),
        why="The policy acts on old pictures",
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
    for name, stream in (("pictures", camera), ("latents", latents)):
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


def findings(facts: Facts) -> tuple[Finding, ...]:
    """Findings that forbid to enable the arm."""
    return (
        *_driver_findings(facts),
        *_weights_findings(facts),
        *(measure.finding() for measure in measures(facts) if not measure.ok),
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


def _newest(graph: GraphFacts, name: str):
    found = [s for s in graph.streams if short(s.name) == name and s.count]
    return max(found, key=lambda stream: stream.count, default=None)
