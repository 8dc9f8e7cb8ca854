# SPDX-License-Identifier: Apache-2.0
"""Facts of the doctor as plain values: of a graph, and of this machine (Linux, /proc)."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from ptp_ros import topics
from ptp_ros.middleware import left_behind

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")
BUSY = 0.1  # of a core that a busy thread used,
STARVED = 0.5  # or share of the time in which it could run, if it had to wait for a core
PARTS = {"numpy": "numpy", "torch": "torch", "ros-rclpy": "rclpy"}  # locked -> without wheels


@dataclass(frozen=True)
class Endpoint:
    """A writer or reader of a topic."""

    node: str  # full name, /namespace/name
    type: str  # package/msg/Name
    type_hash: str  # RIHS01_...: differs where the definitions differ


@dataclass(frozen=True)
class Mismatch:
    """A writer and a reader with incompatible QoS."""

    writer: str  # full names of nodes
    reader: str
    reason: str  # text of the middleware


@dataclass(frozen=True)
class TopicFacts:
    """Writers and readers of a topic. The doctor's own readers are not counted."""

    name: str
    writers: tuple[Endpoint, ...] = ()
    readers: tuple[Endpoint, ...] = ()
    mismatches: tuple[Mismatch, ...] = ()


@dataclass(frozen=True)
class Stream:
    """Statistics of a topic while the doctor listened. Times in seconds."""

    name: str
    type: str
    seconds: float  # listened
    count: int  # messages published meanwhile; a latched one from before is not counted
    newest_age: float | None = None  # of the newest message at the end; None: nothing came at all
    transfer: float | None = None  # least arrival - leaving, on the clocks of both machines
    stamp_age: float | None = None  # median of arrival - stamp in the header
    same: int = 0  # longest row of images with equal content
    images: int = 0

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.count / self.seconds if self.seconds > 0.0 else 0.0


@dataclass(frozen=True)
class Recorder:
    """State of the recorder."""

    folder: str
    fault: str  # empty: none
    dropped: int
    bytes_free: int


@dataclass(frozen=True)
class Driver:
    """Newest state of the arm driver; the fields are those of the DriverState message."""

    state: str
    reason: str
    backend: str
    interface: str
    reference: str
    limits: str
    robot_enabled: bool
    joint_margin: float
    condition: float
    reading_age: float
    loop_rate: float
    loop_worst: float


@dataclass(frozen=True)
class GraphFacts:
    """Facts about the graph of one ROS domain, collected for ``seconds``."""

    domain: int
    discovery_range: str
    seconds: float
    nodes: tuple[str, ...] = ()  # full names; one that runs twice is there twice
    topics: tuple[TopicFacts, ...] = ()
    streams: tuple[Stream, ...] = ()
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by full name
    encoders: tuple[tuple[str, str], ...] = ()  # (what names it, encoder id)
    acting: bool = False  # an episode acts throughout
    taken_over: bool = False
    arm_error: str = ""
    travelled: float = 0.0  # m that the tool moved
    recorder: Recorder | None = None
    driver: Driver | None = None
    errors: tuple[tuple[str, str], ...] = ()  # (node, message) of level ERROR on /diagnostics

    def topic(self, name: str) -> TopicFacts | None:
        """The topic of that full name, or None."""
        return next((topic for topic in self.topics if topic.name == name), None)

    def stream(self, name: str) -> Stream | None:
        """Statistics of the topic of that full name, or None."""
        return next((stream for stream in self.streams if stream.name == name), None)


@dataclass(frozen=True)
class ProcessFacts:
    """A node's process on this machine."""

    pid: int
    node: str  # its name, without namespace
    domain: int
    discovery_range: str
    busy_threads: int  # that worked much of the time, or would have if they had a core
    cores: float  # used, on average
    waiting: float  # share of the time in which a thread that could run had no core


@dataclass(frozen=True)
class Machine:
    """Facts about the machine that the doctor runs on."""

    cores: int
    processes: tuple[ProcessFacts, ...] = ()
    others: float = 0.0  # cores that all other programs used, on average
    installed: Mapping[str, str] = field(default_factory=dict)  # version of each distribution
    locked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # versions the lock allows
    shared_memory: tuple[str, ...] = ()  # segments that no process has open
    shared_bytes: int = 0  # of these
    free: Mapping[str, int] = field(default_factory=dict)  # folder -> bytes free on its disk


@dataclass(frozen=True)
class Expected:
    """Nodes that a stack always has."""

    stack: str
    nodes: tuple[str, ...]  # names, without namespace


@dataclass(frozen=True)
class Finding:
    """One problem. ``check`` names the rule, ``subject`` the node, topic or file."""

    check: str
    subject: str
    what: str
    why: str  # it matters
    cure: str

    def line(self) -> str:
        """The finding in one line."""
        return f"{self.check}: {self.what}. {self.why}. {self.cure}."


@dataclass(frozen=True)
class Role:
    """Role of a node in the graph."""

    absent: str  # what does not happen without it
    writes: tuple[str, ...]  # relative names of topics that it always has


ROLES = {
    "sim_bridge": Role(
        "There is no table: nothing is seen and nothing moves",
        (topics.OBSERVATION, topics.IMAGE_RAW, topics.ARM_STATE, topics.JOINT_STATES),
    ),
    "joint_bridge": Role(
        "There is no simulated arm: nothing is seen and nothing moves",
        (topics.OBSERVATION, topics.IMAGE_RAW, topics.JOINT_STATES),
    ),
    "camera": Role("Nothing is seen", (topics.OBSERVATION, topics.IMAGE_RAW)),
    "arm_driver": Role("Nothing moves", (topics.ARM_STATE, topics.DRIVER_STATE)),
    "operator": Role("Nobody sets scenes up or judges them", (topics.OPERATOR_PROMPT,)),
    "encoder": Role("Images do not become latents: the policy is blind", (topics.LATENT,)),
    "planner": Role("Nobody finds subgoals, practice waits", (topics.PLAN,)),
    "policy": Role("Nobody follows the plan", (topics.POLICY_COMMAND, topics.STEP)),
    "practice": Role("No episode begins", (topics.EPISODE, topics.GOAL_IMAGE)),
    "recorder": Role("Nothing is kept", (topics.RECORDER_STATUS,)),
    "learner": Role("The policy does not get better", (topics.POLICY_UPDATE,)),
    "teleop": Role("A person cannot move the arm", (topics.TELEOP_COMMAND,)),
    "view": Role("RViz has no images, markers or path", (topics.VIEW_IMAGE, topics.VIEW_MARKERS)),
}

# Topics that mean nothing unless somebody reads them, and what does not happen then.
NEED_A_READER = {
    topics.POLICY_COMMAND: "No arm obeys",
    topics.TELEOP_COMMAND: "No arm obeys the person",
    topics.OBSERVATION: "Nobody encodes what is seen",
}
# Topics that nodes read when somebody writes them; else they do without.
MAY_LACK_A_WRITER = (
    topics.ARM_PREFLIGHT,
    topics.POLICY_UPDATE,
    topics.LEARNER_DUE,
    topics.ALIVE,
    topics.IMAGE_RAW,
    topics.DRIVER_STATE,
    topics.GOAL_IMAGE,
    topics.JOINT_STATES,
    topics.RECORDER_STATUS,
    topics.ROBOT_DESCRIPTION,
    topics.SCRIPT_COMMAND,
    topics.TELEOP_COMMAND,
)
# Images and what is made of each of them, by whom: (source, product, node).
CHAIN = (
    (topics.OBSERVATION, topics.LATENT, "encoder"),
    (topics.LATENT, topics.STEP, "policy"),
)


def resolve(node: str, name: str) -> str:
    """Full name of a relative topic of the node with this full name."""
    return f"{node.rpartition('/')[0]}/{name}"


def short(node: str) -> str:
    """A node's name without its namespace."""
    return node.rpartition("/")[2]


@dataclass(frozen=True)
class _Usage:
    """Times of a process's threads so far, s: on a core, and waiting for one."""

    ran: dict[str, float]
    waited: dict[str, float]


class ProcessObserver:
    """Looks at the machine twice; what happened in between are the facts."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._total = _machine_cpu()
        self._before = {pid: _usage(pid) for pid in node_processes()}

    def machine(self, folders: Iterable[str] = (), pins: Iterable[Path] = ()) -> Machine:
        """Facts since the start.

        ``folders`` are those whose disks matter; ``pins`` are files that pin versions.
        """
        seconds = max(time.monotonic() - self._began, 1e-3)
        processes = []
        for pid, (name, environ) in node_processes().items():
            before, after = self._before.get(pid), _usage(pid)
            if before is not None and after is not None:
                processes.append(_process(pid, name, environ, before, after, seconds))
        ours = sum(process.cores for process in processes)
        segments = left_behind()
        return Machine(
            cores=len(os.sched_getaffinity(0)),
            processes=tuple(processes),
            others=max(0.0, (_machine_cpu() - self._total) / seconds - ours),
            installed=_installed(),
            locked=_locked(pins),
            shared_memory=tuple(path.name for path in segments),
            shared_bytes=sum(path.stat().st_size for path in segments if path.exists()),
            free={f: shutil.disk_usage(f).free for f in folders if f and os.path.isdir(f)},
        )


def node_processes() -> dict[int, tuple[str, dict[str, str]]]:
    """Process id -> (node name, environment) of ROS nodes whose processes we may read."""
    found = {}
    for path in PROC.glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if "--ros-args" not in words:
                continue
            (name,) = [w.partition(":=")[2] for w in words if w.startswith("__node:=")][:1]
            pairs = (path / "environ").read_bytes().decode(errors="replace").split("\0")
        except (OSError, ValueError):
            continue
        environ = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        found[int(path.name)] = name, environ
    return found


def _process(
    pid: int, name: str, environ: dict[str, str], before: _Usage, after: _Usage, seconds: float
) -> ProcessFacts:
    ran = {thread: t - before.ran.get(thread, 0.0) for thread, t in after.ran.items()}
    waited = {thread: t - before.waited.get(thread, 0.0) for thread, t in after.waited.items()}
    busy = sum(
        ran[thread] >= BUSY * seconds or ran[thread] + waited[thread] >= STARVED * seconds
        for thread in ran
    )
    used, lost = sum(ran.values()), sum(waited.values())
    domain = environ.get("ROS_DOMAIN_ID", "0")
    return ProcessFacts(
        pid=pid,
        node=name,
        domain=int(domain) if domain.isdigit() else 0,
        discovery_range=environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET").upper(),
        busy_threads=busy,
        cores=used / seconds,
        waiting=lost / (lost + used) if lost + used > 0.0 else 0.0,
    )


def _usage(pid: int) -> _Usage | None:
    """Times of a process; None where it has ended."""
    usage = _Usage({}, {})
    for task in PROC.glob(f"{pid}/task/*"):
        try:
            ran, waited, _ = (task / "schedstat").read_text().split()
        except (OSError, ValueError):
            continue
        usage.ran[task.name], usage.waited[task.name] = int(ran) * 1e-9, int(waited) * 1e-9
    return usage if usage.ran or (PROC / str(pid)).is_dir() else None


def _machine_cpu() -> float:
    """CPU time of everything, s: user, nice, system, irq, softirq of /proc/stat."""
    words = (PROC / "stat").read_text().split("\n", 1)[0].split()[1:]
    return sum(int(words[column]) for column in (0, 1, 2, 5, 6)) / TICK


def _installed() -> dict[str, str]:
    found = {}
    for locked, plain in PARTS.items():
        for name in (locked, plain):
            try:
                found[plain] = metadata.version(name)
                break
            except metadata.PackageNotFoundError:
                continue
    return found


def _locked(pins: Iterable[Path]) -> dict[str, tuple[str, ...]]:
    """Versions that the files pin; a lock has one of a package for each range of Pythons."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in pins if path.is_file())
    found = re.findall(r'^(?:\w+ = ")?([\w.-]+)==([\w.+-]+)', text, flags=re.MULTILINE)
    versions = {
        plain: tuple(version for name, version in found if name == locked)
        for locked, plain in PARTS.items()
    }
    return {name: allowed for name, allowed in versions.items() if allowed}
