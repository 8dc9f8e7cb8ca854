# SPDX-License-Identifier: Apache-2.0
"""What the arm driver needs of a robot. Each back-end keeps to it; one contract test says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

__all__ = ["Backend", "BackendError", "Interface", "JointReading", "NoGripper"]

Interface = Literal["position", "velocity"]


class BackendError(RuntimeError):
    """A robot cannot be reached, or did not do as told; the text names cause and cure."""


class NoGripper(BackendError):
    """This robot's file says that it has none: whoever asks for an opening asks in vain."""


@dataclass(frozen=True)
class JointReading:
    """What a robot last said of itself. Arrays are float64, in the order of `joint_names`."""

    stamp: float  # when the joints were received, steady clock [s]
    q: np.ndarray  # (7,) rad, measured
    dq: np.ndarray  # (7,) rad/s, measured
    enabled: bool  # the motors are on and follow commands
    trouble: str = ""  # why the robot itself refuses to move, with the cure; empty: it does not
    gripper: float | None = None  # measured opening: -1 open .. +1 closed; None: not measured
    wrench: np.ndarray | None = None  # (6,) N and N m at the tool in the base frame, raw


class Backend(Protocol):
    """One robot. All methods return at once; what came of them is seen in later readings.

    The driver calls it from one thread. A back-end that receives in another thread hands over
    under its own lock. Nothing is ever queued for a robot that is not there: `command` either
    reaches the robot now or raises.
    """

    name: str
    interface: Interface
    joint_names: tuple[str, ...]

    def connect(self) -> None:
        """Begin to connect, and go on trying. BackendError: it never can (a wrong setting)."""

    def close(self) -> None:
        """Let the arm stand still and let go of the link. Twice is once."""

    def reading(self) -> JointReading | None:
        """The newest reading; None while the link is down, and until its first whole one.

        A reading whose joints are missing or not finite never gets here: it is dropped, counted
        and named in `problems`.
        """

    def problems(self) -> dict[str, int]:
        """What was wrong with the robot's messages so far: text to count."""

    def enable(self) -> None:
        """Ask for motors on. BackendError where the robot's state forbids it (e-stop pressed)."""

    def disable(self) -> None:
        """Ask for motors off."""

    def stop(self) -> None:
        """Stop in the hardest way the robot has. Never raises."""

    def clear(self) -> None:
        """Ask the robot to forget its errors. BackendError where its state forbids it."""

    def command(self, q: np.ndarray, dq: np.ndarray) -> None:
        """Be at ``q`` (7,) [rad], moving with ``dq`` (7,) [rad/s], at the next control period.

        A "position" back-end sends q, a "velocity" one dq. BackendError: the link is down, or
        the numbers are not finite; then nothing is sent.
        """

    def hold(self) -> None:
        """Stand still where the arm is. BackendError: the link is down."""

    def grip(self, opening: float) -> None:
        """Move the gripper: -1 open .. +1 closed. BackendError: no link; NoGripper."""
