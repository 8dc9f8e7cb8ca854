# SPDX-License-Identifier: Apache-2.0
"""Soak test: the practice stack with a fault every few seconds, and what was lost or unsafe."""

from __future__ import annotations

import contextlib
import math
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptp_interfaces.msg import CartesianDelta, PolicyUpdate
from ptp_interfaces.srv import Rearm

from ptp_core.episodes.bag_reader import read_confirmed
from ptp_core.episodes.message_definitions import Definitions
from ptp_core.episodes.session_store import Session
from ptp_core.errors import EpisodeError
from ptp_core.processes import on_a_leash
from ptp_nodes.tools.soak.soak_observer import STRAYS_AT_MOST, MemoryWatch, SoakObserver, observing
from ptp_robot.command import LONGEST

STOPPING = 15.0  # s that a stack may take to stop
NODE = re.compile(rb"__node:=(\w+)")
PAGE = os.sysconf("SC_PAGE_SIZE")
NODES = ("sim_bridge", "encoder", "planner", "policy", "recorder", "learner", "practice")
MOVERS = ("sim_bridge", "encoder", "policy", "practice")  # without one of them nothing may move
HOLDS_WITHIN = 0.3  # s
WATCHED = 0.9  # s after a kill, when no successor runs yet
PAUSE = 3.0  # s
ENCODES = 0.2  # s
STALLED = 2.0  # s
PROGRAMS, LOADED = 4, 20.0  # busy ones, for so many s
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
MOST_GROWTH = 0.10
TICK = 0.25  # s
SAMPLE = 5.0  # s between looks at the memory
START = 60.0  # s until the first episode must be recorded


class RunningStack:
    """`ptp up` of a stack, in the ROS domain of this process. Its lines go to ``log`` too.

    It ends with this process, however that ends.
    ``prefix``: a command that runs it somewhere else, such as in another network namespace.
    """

    def __init__(
        self, stack: str, words: Sequence[str], log: Path, prefix: Sequence[str] = ()
    ) -> None:
        self.lines: list[str] = []
        self._log = open(log, "a", encoding="utf-8")  # noqa: SIM115, closed by stop()
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "ptp_cli", "up", stack, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            **on_a_leash(),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def running(self) -> bool:
        """Whether the stack runs."""
        return self._process.poll() is None

    def nodes(self) -> dict[str, int]:
        """Process ids of the nodes by name."""
        mark = f"ROS_DOMAIN_ID={os.environ['ROS_DOMAIN_ID']}".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                match = NODE.search((folder / "cmdline").read_bytes())
                if match and mark in (folder / "environ").read_bytes().split(b"\0"):
                    found[match[1].decode()] = int(folder.name)
        return found

    def send(self, node: str, number: int) -> bool:
        """Send a signal to a node; False where it does not run."""
        pid = self.nodes().get(node)
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            return True
        return False

    def memory(self) -> dict[str, tuple[int, int]]:
        """Process id and resident memory [bytes] of each node."""
        found = {}
        for name, pid in self.nodes().items():
            with contextlib.suppress(OSError, IndexError):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                found[name] = pid, pages * PAGE
        return found

    def said(self, text: str, since: int = 0) -> int:
        """How many lines from number ``since`` on contain ``text``."""
        return sum(text in line for line in self.lines[since:])

    def wait_for(self, text: str, timeout: float, since: int = 0) -> bool:
        """Wait until a line contains ``text``, at most ``timeout`` s."""
        deadline = time.monotonic() + timeout
        while not self.said(text, since):
            if time.monotonic() > deadline or not self.running:
                return bool(self.said(text, since))
            time.sleep(0.05)
        return True

    def stop(self, number: int = signal.SIGINT) -> int:
        """Stop all; the exit status. Whoever was paused is woken up first."""
        for pid in self.nodes().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        if self.running:
            self._process.send_signal(number)
        try:
            status = self._process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            status = self._process.wait()
        self._reader.join(2.0)
        self._log.close()
        return status

    def _read(self) -> None:
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))
            with contextlib.suppress(ValueError):  # closed: it had its time
                self._log.write(line)
                self._log.flush()


@dataclass(frozen=True)
class Fault:
    """``do(stack, observer)`` does it and returns what must not have happened, or nothing."""

    name: str
    do: Callable[[RunningStack, SoakObserver], str]


def kill(node: str) -> Fault:
    """Kill a node with SIGKILL; if the node moves the arm, the arm must soon hold position."""

    def do(stack: RunningStack, observer: SoakObserver) -> str:
        if not stack.send(node, signal.SIGKILL):
            return ""
        began = time.monotonic()
        # On a machine so busy that a step takes longer, the one under way may end later, as the
        # law of ages has it; and word of it comes later.
        within = min(max(HOLDS_WITHIN, 3 * observer.period()), LONGEST)
        time.sleep(WATCHED)
        within += observer.lag(since=began)
        late = observer.moves_between(began + within, began + WATCHED)
        if node in MOVERS and late:
            after = ", ".join(f"{moment - began:.2f}" for moment in late)
            return f"the arm moved {after} s after {node} was killed"
        return ""

    return Fault(f"kill {node}", do)


def pause(node: str) -> Fault:
    """Let a node stall: images, codes or records stay away, and come back late."""

    def do(stack: RunningStack, observer: SoakObserver) -> str:
        if stack.send(node, signal.SIGSTOP):
            time.sleep(PAUSE)
            stack.send(node, signal.SIGCONT)
        return ""

    return Fault(f"stall {node}", do)


def stop_kill_continue(stack: RunningStack, observer: SoakObserver) -> str:
    """The policy stalls, the encoder dies meanwhile, and the policy goes on with what it has."""
    if not stack.send("policy", signal.SIGSTOP):
        return ""
    began = time.monotonic()
    time.sleep(ENCODES)  # the encoder's last word waits for the policy
    stack.send("encoder", signal.SIGKILL)
    time.sleep(STALLED)
    stack.send("policy", signal.SIGCONT)
    time.sleep(WATCHED)
    late = [(when - began, age) for when, age in list(observer.answers) if when > began]
    late = [f"{when:.2f} s, observation {age:.2f} s old" for when, age in late if age > LONGEST]
    return f"the arm moved: {'; '.join(late)}" if late else ""


def load(stack: RunningStack, observer: SoakObserver) -> str:
    """Other programs want the processors: four that never wait, for 20 s."""
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(PROGRAMS)]
    try:
        time.sleep(LOADED)
    finally:
        for program in busy:
            program.kill()
            program.wait()
    return ""


def nonsense(stack: RunningStack, observer: SoakObserver) -> str:
    """Send invalid commands: not finite, far too large, in another frame."""
    seq = observer.newest.observation_seq
    for fields in (
        {"dx": math.nan},
        {"dz": math.inf, "observation_seq": seq},
        {"dx": 5.0, "observation_seq": seq},
        {"dyaw": -3.0, "observation_seq": seq},
        {"gripper": 7.0, "observation_seq": seq},
        {"source": 9},
    ):
        observer.command(**fields)
    observer.command(frame="moon", observation_seq=seq, dx=0.01)
    return ""


def stale(stack: RunningStack, observer: SoakObserver) -> str:
    """Commands that answer old observations, twice each, out of order, and one yet to come."""
    seq = observer.newest.observation_seq
    for old in (1, 40, 7, 40, 3, 200):
        observer.command(dx=0.05, observation_seq=max(seq - old, 1))
    observer.command(dx=0.05, observation_seq=seq + 1000)
    return ""


def person(stack: RunningStack, observer: SoakObserver) -> str:
    """An operator takes over the arm, moves it, releases it, and rearms the policy."""
    before = observer.disobeyed
    for _ in range(15):
        observer.command(
            source=CartesianDelta.TELEOP, dead_man=True, dz=0.005, gripper=observer.newest.gripper
        )
        time.sleep(0.1)
    observer.command(source=CartesianDelta.TELEOP, dead_man=False)
    time.sleep(0.5)
    for _ in range(20):
        if observer.rearm.service_is_ready():
            observer.rearm.call_async(Rearm.Request())
            time.sleep(0.3)
            if not observer.taken_over:
                break
        time.sleep(0.2)
    moved = observer.disobeyed - before
    return f"the policy moved the arm {moved} times while a person had it" if moved else ""


def weights(stack: RunningStack, observer: SoakObserver) -> str:
    """Publish damaged weights."""
    update = PolicyUpdate(version=10**6, encoder_id="0" * 64, sha256="0" * 64)
    update.weights.frombytes(b"nonsense" * 100)
    observer.updates.publish(update)
    return ""


FAULTS = (
    *(kill(node) for node in NODES),
    *(pause(node) for node in ("sim_bridge", "encoder", "recorder")),
    Fault("stop policy, kill encoder, continue", stop_kill_continue),
    Fault("load", load),
    Fault("nonsense commands", nonsense),
    Fault("stale commands", stale),
    Fault("a person takes over", person),
    Fault("damaged weights", weights),
)


@dataclass(frozen=True)
class SoakSettings:
    """Settings of a soak test."""

    seconds: float
    every: float  # s between faults
    seed: int
    checkpoint: str  # folder
    out: Path
    max_steps: int  # control steps an episode
    faults: tuple[Fault, ...] = FAULTS


@dataclass
class SoakReport:
    """Result of a soak test."""

    seconds: float = 0.0
    faults: Counter = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    confirmed: int = 0  # episodes that the recorder announced
    lost: int = 0  # of them, not there or not readable at the end
    outside: int = 0  # states whose setpoint is outside the workspace
    strayed: float = 0.0  # farthest that the measured tool was outside, m
    oldest: float = 0.0  # age of the oldest observation that a policy's motion answered, s
    states: int = 0
    restarts: int = 0
    growth: float = math.nan
    memory: dict[str, Any] = field(default_factory=dict)
    ended_early: bool = False

    @property
    def passed(self) -> bool:
        """Whether the test passed."""
        grew = self.growth > MOST_GROWTH  # False where it was too short to tell
        strayed = self.strayed > STRAYS_AT_MOST
        wrong = self.lost or self.outside or strayed or self.oldest > LONGEST or self.complaints
        return bool(self.confirmed) and not (wrong or self.ended_early or grew)

    def as_dict(self) -> dict[str, Any]:
        """Flat figures for a JSON file."""
        return {
            "passed": self.passed,
            "seconds": self.seconds,
            "faults": dict(sorted(self.faults.items())),
            "complaints": self.complaints,
            "episodes_confirmed": self.confirmed,
            "episodes_lost": self.lost,
            "arm_states": self.states,
            "outside_workspace": self.outside,
            "strayed": self.strayed,
            "oldest_answered": self.oldest,
            "restarts": self.restarts,
            "memory_growth": None if math.isnan(self.growth) else self.growth,
            "memory": self.memory,
            "ended_early": self.ended_early,
        }


def soak(
    settings: SoakSettings,
    domain: int,
    progress: Callable[[float, str], None] = lambda seconds, what: None,
) -> SoakReport:
    """Run it; the stack is stopped at the end, however that comes. ``progress`` hears seconds."""
    report, memory = SoakReport(), MemoryWatch()
    settings.out.mkdir(parents=True, exist_ok=True)
    words = [
        f"checkpoint:={settings.checkpoint}",
        f"output:={settings.out / 'practice'}",
        f"max_steps:={settings.max_steps}",
        "episodes:=100000",
        f"seed:={settings.seed}",
        "record_images:=false",
        "learn_from:=all",
    ]
    with observing(domain) as observer:
        stack = RunningStack("practice", words, settings.out / "nodes.log")
        try:
            _wait_for_first(stack, observer, progress)
            _harm(settings, stack, observer, memory, report, progress)
        finally:
            report.ended_early = not stack.running
            stack.stop()
            report.restarts = stack.said("starting it again")
            report.confirmed, report.outside = observer.recorded, observer.outside
            report.states, report.strayed = observer.states, observer.strayed
            report.oldest = observer.oldest
            report.lost = lost_episodes(Path(observer.folder), observer.recorded)
            report.growth, report.memory = memory.growth(), memory.figures()
    return report


def lost_episodes(folder: Path, count: int, first: int = 0) -> int:
    """How many of a session's episodes ``first`` to ``count`` - 1 are missing or unreadable."""
    if count <= first:
        return 0
    session, definitions = Session(folder), Definitions()
    entries = {entry.number: entry for entry in session.entries()}
    lost = 0
    for number in range(first, count):
        try:
            read_confirmed(session, entries[number], definitions)
        except (KeyError, EpisodeError):
            lost += 1
    return lost


def _wait_for_first(stack: RunningStack, observer: SoakObserver, progress) -> None:
    deadline = time.monotonic() + START
    while not observer.recorded and stack.running and time.monotonic() < deadline:
        progress(0.0, "the first episode")
        time.sleep(TICK)


def _harm(
    settings: SoakSettings,
    stack: RunningStack,
    observer: SoakObserver,
    memory: MemoryWatch,
    report: SoakReport,
    progress: Callable[[float, str], None],
) -> None:
    rng = random.Random(settings.seed)
    bag: list[Fault] = []
    began = time.monotonic()
    due, look = began + settings.every / 2, began
    what = ""
    while (now := time.monotonic()) - began < settings.seconds and stack.running:
        report.seconds = now - began
        progress(report.seconds, what)
        if now >= look:
            memory.sample(now, stack.memory())
            look = now + SAMPLE
        if now >= due:
            if not bag:  # each fault once, in random order, before any comes again
                bag = rng.sample(settings.faults, len(settings.faults))
            fault = bag.pop()
            what = fault.name
            complaint = fault.do(stack, observer)
            report.faults[fault.name] += 1
            if complaint:
                report.complaints.append(f"{report.seconds:.0f} s, {fault.name}: {complaint}")
            due += settings.every
        time.sleep(TICK)
    report.seconds = time.monotonic() - began
