# SPDX-License-Identifier: Apache-2.0
"""The `Backend` protocol between arm driver and robot; `backend_contract` tests it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

__all__ = ["Backend", "BackendError", "Interface", "JointReading", "NoGripper"]

Interface = Literal["position", "velocity"]


class BackendError(RuntimeError):
    """A robot cannot be reached, or did not follow; the text names cause and cure."""


class NoGripper(BackendError):
    """The robot's file says that it has no gripper, so that openings cannot be commanded."""


@dataclass(frozen=True)
class JointReading:
    """The newest state of a robot. Arrays are float64, in the order of `joint_names`."""

    stamp: float  # when the joints were received, steady clock [s]
    q: np.ndarray  # (7,) rad, measured
    dq: np.ndarray  # (7,) rad/s, measured
    enabled: bool  # the motors are on and follow commands
    trouble: str = ""  # why the robot refuses to move, with the cure; empty: it does not refuse
    gripper: float | None = None  # measured opening: -1 open .. +1 closed; None: not measured
    wrench: np.ndarray | None = None  # (6,) N and N m at the tool in the base frame, raw


class Backend(Protocol):
    """One robot. All methods return at once; later readings show their effect.

    The driver calls it from one thread. A back-end that receives in another thread hands data
    over under its own lock. Nothing is queued for an unreachable robot: `command` either reaches
    the robot now or raises.
    """

    name: str
    interface: Interface
    joint_names: tuple[str, ...]

    def connect(self) -> None:
        """Begin to connect, and keep trying. BackendError: it never can (a wrong setting)."""

    def close(self) -> None:
        """Hold position and close the link. Calling it twice is allowed."""

    def reading(self) -> JointReading | None:
        """The newest reading; None while the link is down, and until its first whole one.

        A message whose joints are missing or not finite is dropped, and counted in `problems`.
        """

    def problems(self) -> dict[str, int]:
        """Faults of the robot's messages so far: text to count."""

    def enable(self) -> None:
        """Request motors on. BackendError where the robot's state forbids it (e-stop pressed)."""

    def disable(self) -> None:
        """Request motors off."""

    def stop(self) -> None:
        """Stop with the robot's hardest stop. Never raises."""

    def clear(self) -> None:
        """Ask the robot to clear its errors. BackendError where its state forbids it."""

    def command(self, q: np.ndarray, dq: np.ndarray) -> None:
        """Command joints ``q`` (7,) [rad] and velocities ``dq`` (7,) [rad/s] for the next period.

        A "position" back-end sends q, a "velocity" one dq. BackendError: the link is down, or
        the numbers are not finite; then nothing is sent.
        """

    def hold(self) -> None:
        """Hold position. BackendError: the link is down."""

    def grip(self, opening: float) -> None:
        """Move the gripper: -1 open .. +1 closed. BackendError: no link; NoGripper."""
