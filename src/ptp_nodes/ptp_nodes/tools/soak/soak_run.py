# SPDX-License-Identifier: Apache-2.0
"""Run of the soak test: the practice stack with a fault every few seconds, and the counts."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptp_core.episodes.bag_reader import read_confirmed
from ptp_core.episodes.message_definitions import Definitions
from ptp_core.episodes.session_store import Session
from ptp_core.errors import EpisodeError
from ptp_nodes.tools.soak.soak_faults import FAULTS, Fault
from ptp_nodes.tools.soak.soak_observer import STRAYS_AT_MOST, MemoryWatch, SoakObserver, observing
from ptp_nodes.tools.soak.soak_stack import RunningStack
from ptp_robot.observation_window import LONGEST

MOST_GROWTH = 0.10
TICK = 0.25  # s
SAMPLE = 5.0  # s between looks at the memory
START = 60.0  # s until the first episode must be recorded


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
