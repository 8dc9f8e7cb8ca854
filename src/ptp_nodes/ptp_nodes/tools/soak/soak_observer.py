# SPDX-License-Identifier: Apache-2.0
"""Observer of arm, recordings and memory, in a process without faults."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import rclpy
from geometry_msgs.msg import Point
from ptp_interfaces.msg import ArmState, CartesianDelta, PolicyUpdate, RecorderStatus
from ptp_interfaces.srv import Rearm
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from ptp_robot.action import Workspace
from ptp_ros.topics import (
    ARM_STATE,
    BASE_FRAME,
    COMMANDS,
    COMMANDS_FROM,
    LATCHED,
    POLICY_UPDATE,
    REARM,
    RECORDER_STATUS,
    RECORDS,
)

SETTLED = 20.0  # s after its start, when a process has loaded what it needs
LEAST = 3  # samples that a part of the run needs


@dataclass
class _Life:
    """One process."""

    pid: int
    began: float
    samples: list[tuple[float, int]] = field(default_factory=list)


class MemoryWatch:
    """Takes samples of each node's memory; a node may be several processes in turn."""

    def __init__(self) -> None:
        self._lives: dict[str, list[_Life]] = {}

    def sample(self, now: float, memory: dict[str, tuple[int, int]]) -> None:
        """``memory`` as `RunningStack.memory` gives it, at ``now`` [s]."""
        for node, (pid, size) in memory.items():
            lives = self._lives.setdefault(node, [])
            if not lives or lives[-1].pid != pid:
                lives.append(_Life(pid, now))
            if now - lives[-1].began >= SETTLED:
                lives[-1].samples.append((now, size))

    def figures(self) -> dict[str, dict[str, float]]:
        """First and last third of the run by node: median MiB each, and the growth.

        A node without enough samples in either third is left out.
        """
        found = {}
        for node, lives in self._lives.items():
            samples = np.array([sample for life in lives for sample in life.samples], float)
            if not len(samples):
                continue
            times, sizes = samples.T
            begin, end = times.min(), times.max()
            third = (end - begin) / 3
            early, late = sizes[times <= begin + third], sizes[times >= end - third]
            if min(len(early), len(late)) < LEAST or third <= 0:
                continue
            first, last = float(np.median(early)), float(np.median(late))
            found[node] = {
                "early_mib": first / 2**20,
                "late_mib": last / 2**20,
                "growth": last / first - 1.0,
            }
        return found

    def growth(self) -> float:
        """Growth of all nodes together; NaN without enough samples."""
        figures = self.figures().values()
        early = sum(figure["early_mib"] for figure in figures)
        return sum(figure["late_mib"] for figure in figures) / early - 1.0 if early else np.nan


RECENT = 20  # motions
LOOK = 0.02  # s between looks at how late this process is
ROUNDING = 1e-6  # m
STRAYS_AT_MOST = 0.02  # m by which what it touches may push the tool out of the box


class SoakObserver(Node):
    """Counts motions, setpoints outside the workspace and episodes; sends what is asked."""

    def __init__(self, **options) -> None:
        super().__init__("soak", **options)
        self.moves: deque[float] = deque(maxlen=10_000)  # arrival of states with motion [s]
        self.answers: deque[tuple[float, float]] = deque(maxlen=10_000)  # of policies: when, age
        self.lags: deque[tuple[float, float]] = deque(maxlen=1000)  # when, how late
        self.states = 0
        self.outside = 0  # states whose setpoint is outside the workspace
        self.strayed = 0.0  # farthest that the measured tool was outside, m
        self.oldest = 0.0  # s, age of the oldest observation that a policy's motion answered
        self.disobeyed = 0  # motions of a policy while a person has the arm
        self.recorded = 0  # highest number of confirmed episodes that was announced
        self.folder = ""
        self.taken_over = False
        self.newest = ArmState()
        self._seq = 0
        self._box = Workspace()
        self._commands = [
            self.create_publisher(CartesianDelta, topic, COMMANDS) for topic in COMMANDS_FROM
        ]
        self.updates = self.create_publisher(PolicyUpdate, POLICY_UPDATE, LATCHED)
        self.rearm = self.create_client(Rearm, REARM)
        self.create_subscription(ArmState, ARM_STATE, self._state, RECORDS)
        self.create_subscription(RecorderStatus, RECORDER_STATUS, self._recorder, LATCHED)

    def _state(self, state: ArmState) -> None:
        self.states += 1
        self.outside += not self._box.contains(_array(state.setpoint.position), ROUNDING)
        measured = _array(state.pose.position)
        away = float(np.linalg.norm(measured - self._box.clip(measured)))
        self.strayed = max(self.strayed, away)
        if state.moved:
            self.moves.append(time.monotonic())
            if state.command.source == CartesianDelta.POLICY:
                self.answers.append((self.moves[-1], state.latency))
                self.oldest = max(self.oldest, state.latency)
                self.disobeyed += self.taken_over and state.taken_over
        self.taken_over = state.taken_over
        self.newest = state

    def _recorder(self, status: RecorderStatus) -> None:
        self.recorded = max(self.recorded, status.episodes)
        self.folder = status.folder or self.folder

    def moves_between(self, begin: float, end: float) -> list[float]:
        """When states with motion arrived between two times of the steady clock [s]."""
        return [moment for moment in list(self.moves) if begin < moment < end]

    def period(self) -> float:
        """Time from one of the newest motions to the next, s; 0 where there are too few."""
        newest = list(self.moves)[-RECENT:]
        return float(np.median(np.diff(newest))) if len(newest) == RECENT else 0.0

    def lag(self, since: float) -> float:
        """By how much this process was late at most since a time of the steady clock [s]."""
        return max((late for when, late in list(self.lags) if when > since), default=0.0)

    def command(self, frame: str = BASE_FRAME, **fields) -> CartesianDelta:
        """Send a command on its source's topic, the policy's where it has none; returns it."""
        self._seq += 1
        message = CartesianDelta(seq=self._seq)
        message.header.frame_id = frame
        message.header.stamp = self.get_clock().now().to_msg()
        for name, value in fields.items():
            setattr(message, name, value)
        known = message.source < len(self._commands)
        self._commands[message.source if known else CartesianDelta.POLICY].publish(message)
        return message


def _array(point: Point) -> np.ndarray:
    return np.array([point.x, point.y, point.z])


@contextlib.contextmanager
def observing(domain: int) -> Iterator[SoakObserver]:
    """An Observer on a ROS domain, spinning in a thread while the block runs."""
    context = Context()
    rclpy.init(
        args=[], context=context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO
    )
    observer = SoakObserver(context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(observer)

    ending = threading.Event()

    def spin() -> None:
        with contextlib.suppress(ExternalShutdownException):
            while not ending.is_set() and context.ok():
                executor.spin_once()

    def look() -> None:
        due = time.monotonic() + LOOK
        while not ending.wait(max(due - time.monotonic(), 0.0)):
            now = time.monotonic()
            observer.lags.append((now, now - due))
            due = now + LOOK

    thread = threading.Thread(target=spin, name="observer", daemon=True)
    thread.start()
    threading.Thread(target=look, name="lag", daemon=True).start()
    try:
        yield observer
    finally:
        ending.set()
        executor.create_task(lambda: None)  # wakes it; shut down while it spins, it may fail
        thread.join(5.0)
        executor.shutdown()
        observer.destroy_node()
        rclpy.try_shutdown(context=context)
