# SPDX-License-Identifier: Apache-2.0
"""Faults that the soak test injects into a stack."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from ptp_interfaces.msg import CartesianDelta, PolicyUpdate
from ptp_interfaces.srv import Rearm

from ptp_nodes.tools.soak.soak_observer import SoakObserver
from ptp_nodes.tools.soak.soak_stack import RunningStack
from ptp_robot.observation_window import LONGEST

NODES = ("sim_bridge", "encoder", "planner", "policy", "recorder", "learner", "practice")
MOVERS = ("sim_bridge", "encoder", "policy", "practice")  # without one of them nothing may move
HOLDS_WITHIN = 0.3  # s
WATCHED = 0.9  # s after a kill, when no successor runs yet
PAUSE = 3.0  # s
ENCODES = 0.2  # s
STALLED = 2.0  # s
PROGRAMS, LOADED = 4, 20.0  # busy ones, for so many s
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"


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
    """Let a node stall: pictures, codes or records stay away, and come back late."""

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
