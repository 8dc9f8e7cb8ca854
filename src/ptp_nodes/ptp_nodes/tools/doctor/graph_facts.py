# SPDX-License-Identifier: Apache-2.0
"""Facts about a graph as plain values, and the role of each of our nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ptp_ros import topics


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
    same: int = 0  # longest row of pictures with equal content
    pictures: int = 0

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
    "encoder": Role("Pictures do not become latents: the policy is blind", (topics.LATENT,)),
    "planner": Role("Nobody finds subgoals, practice waits", (topics.PLAN,)),
    "policy": Role("Nobody follows the plan", (topics.POLICY_COMMAND, topics.STEP)),
    "practice": Role("No episode begins", (topics.EPISODE, topics.GOAL_IMAGE)),
    "recorder": Role("Nothing is kept", (topics.RECORDER_STATUS,)),
    "learner": Role("The policy does not get better", (topics.POLICY_UPDATE,)),
    "teleop": Role("A person cannot move the arm", (topics.TELEOP_COMMAND,)),
    "view": Role(
        "RViz has no pictures, markers or path", (topics.VIEW_IMAGE, topics.VIEW_MARKERS)
    ),
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
    topics.RECORDER_STATUS,
    topics.SCRIPT_COMMAND,
    topics.TELEOP_COMMAND,
)
# Pictures and what is made of each of them, by whom: (source, product, node).
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
