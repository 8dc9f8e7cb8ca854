# SPDX-License-Identifier: Apache-2.0
"""What the doctor sees, as plain values. Gathering fills them in, the checks read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Endpoint:
    """A writer or reader of a topic."""

    node: str  # full name, /namespace/name
    type: str  # package/msg/Name
    type_hash: str  # RIHS01_...: differs where the definitions differ


@dataclass(frozen=True)
class Mismatch:
    """A writer and a reader that never get together."""

    writer: str  # full names of nodes
    reader: str
    reason: str  # as the middleware puts it


@dataclass(frozen=True)
class Topic:
    """Who writes and who reads a topic. The doctor's own readers are not counted."""

    name: str
    writers: tuple[Endpoint, ...] = ()
    readers: tuple[Endpoint, ...] = ()
    mismatches: tuple[Mismatch, ...] = ()


@dataclass(frozen=True)
class Stream:
    """What came on a topic while the doctor listened. Times in seconds."""

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
    """What the recorder says of itself."""

    folder: str
    fault: str  # empty: none
    dropped: int
    bytes_free: int


@dataclass(frozen=True)
class Driver:
    """What the arm driver said last of itself; see the DriverState message for the fields."""

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
class Graph:
    """The graph of one ROS domain, watched for ``seconds``."""

    domain: int
    discovery_range: str
    seconds: float
    nodes: tuple[str, ...] = ()  # full names; one that runs twice is there twice
    topics: tuple[Topic, ...] = ()
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

    def topic(self, name: str) -> Topic | None:
        """The topic of that full name, if anybody has it."""
        return next((topic for topic in self.topics if topic.name == name), None)

    def stream(self, name: str) -> Stream | None:
        """What came on the topic of that full name."""
        return next((stream for stream in self.streams if stream.name == name), None)


@dataclass(frozen=True)
class Process:
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
    """The machine that the doctor runs on."""

    cores: int
    processes: tuple[Process, ...] = ()
    others: float = 0.0  # cores that all other programs used, on average
    installed: Mapping[str, str] = field(default_factory=dict)  # version of each distribution
    locked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # versions the lock allows
    shared_memory: tuple[str, ...] = ()  # segments that no process has open
    shared_bytes: int = 0  # of these
    free: Mapping[str, int] = field(default_factory=dict)  # folder -> bytes free on its disk


@dataclass(frozen=True)
class Expected:
    """What a stack always has."""

    stack: str
    nodes: tuple[str, ...]  # names, without namespace


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. ``check`` names the rule, ``subject`` the node, topic or file."""

    check: str
    subject: str
    what: str
    why: str  # it matters
    cure: str

    def line(self) -> str:
        """All of it in one line."""
        return f"{self.check}: {self.what}. {self.why}. {self.cure}."
