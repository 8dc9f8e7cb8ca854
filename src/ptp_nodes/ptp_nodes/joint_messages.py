# SPDX-License-Identifier: Apache-2.0
"""From joint states by name to whole readings of one arm; what is wrong with them is counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from sensor_msgs.msg import JointState

from ptp_nodes.ros2_control_config import Ros2ControlConfig

RESTART = 1.0  # s: a stamp that goes back by more is of a driver that was started again


@dataclass(frozen=True)
class Joints:
    """What one message says of the arm."""

    stamp: float  # when it was received, steady clock [s]
    q: np.ndarray  # (n,) rad
    dq: np.ndarray  # (n,) rad/s
    gripper: float | None  # -1 open .. +1 closed


class JointReader:
    """Keeps the newest whole reading. Messages may have other joints, too, in any order."""

    def __init__(self, config: Ros2ControlConfig, problems: Counter[str]) -> None:
        self._config = config
        self._problems = problems
        self.forget()

    def forget(self) -> None:
        """Nothing was heard yet."""
        self.newest: Joints | None = None
        self._sent: int | None = None  # stamp of the newest message, ns
        self._gripper: float | None = None

    def read(self, message: JointState, now: float) -> None:
        """Take a message in that was received at ``now``, or count what is wrong with it."""
        index = {name: i for i, name in enumerate(message.name)}
        self._read_gripper(message, index)
        found = [index[name] for name in self._config.joints if name in index]
        if not found:
            return  # of other joints altogether, such as a gripper's
        if problem := self._wrong(message, index, found):
            self._problems[problem] += 1
            return
        q = np.array([message.position[i] for i in found])
        dq = self._speeds(message, found, q, now)
        if not (np.isfinite(q).all() and np.isfinite(dq).all()):
            self._problems["joint positions that are not finite"] += 1
            return
        self._sent = _nanoseconds(message)
        self.newest = Joints(now, q, dq, self._gripper)

    def _wrong(self, message: JointState, index: dict[str, int], found: list[int]) -> str:
        missing = [name for name in self._config.joints if name not in index]
        if missing:
            return f"joint states without {', '.join(missing)}"
        if len(message.position) != len(message.name):
            return "joint states with more names than positions"
        sent = _nanoseconds(message)
        if sent and self._sent is not None and -RESTART * 1e9 < sent - self._sent <= 0:
            return "joint states that are not newer than the one before"
        return ""

    def _speeds(
        self, message: JointState, found: list[int], q: np.ndarray, now: float
    ) -> np.ndarray:
        """Measured speeds, or differences where the robot measures none."""
        if len(message.velocity) == len(message.name):
            return np.array([message.velocity[i] for i in found])
        before = self.newest
        if before is None or now <= before.stamp:
            return np.zeros_like(q)
        sent, last = _nanoseconds(message), self._sent
        seconds = (sent - last) * 1e-9 if sent and last and sent > last else now - before.stamp
        return (q - before.q) / seconds

    def _read_gripper(self, message: JointState, index: dict[str, int]) -> None:
        place = index.get(self._config.gripper_joint)
        if place is None or place >= len(message.position):
            return
        open_, closed = self._config.gripper_reads
        share = (message.position[place] - open_) / (closed - open_)
        if np.isfinite(share):
            self._gripper = float(np.clip(2.0 * share - 1.0, -1.0, 1.0))


def _nanoseconds(message: JointState) -> int:
    stamp = message.header.stamp
    return stamp.sec * 10**9 + stamp.nanosec
