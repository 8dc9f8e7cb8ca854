# SPDX-License-Identifier: Apache-2.0
"""Sends the driver's commands to the back-end: motions, holding position, and the gripper."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np

from ptp_core.errors import PtpError
from ptp_robot.backends.backend import Backend, BackendError, JointReading, NoGripper
from ptp_robot.safety import Motion

__all__ = ["DriverError", "RobotLink"]

REPEAT = 1.0  # s between two hold commands, as one may be lost


class DriverError(PtpError):
    """The driver cannot do a request now; the text names cause and cure."""


class RobotLink:
    """Sends to one back-end. A hold command that could not be sent is repeated.

    ``top_speed`` (n,) [rad/s] is what a velocity interface is never sent more than; ``gain``
    [1/s] is how fast it makes up for what the arm lags behind.
    """

    def __init__(self, backend: Backend, top_speed: np.ndarray, gain: float) -> None:
        self.backend = backend
        self._top_speed = top_speed
        self._gain = gain
        self._still: float | None = None  # time of the last hold command; None: it moves
        self._owed = False
        self.gripper = -1.0  # opening sent last
        self._sent = False  # and it was

    def ask(self, call: Callable[[], None]) -> None:
        """Run a person's request; BackendError becomes DriverError."""
        try:
            call()
        except BackendError as error:
            raise DriverError(str(error)) from error

    def send(self, motion: Motion, reading: JointReading) -> None:
        """Move. BackendError: the link is down."""
        self._still, self._owed = None, False
        speed = motion.dq + self._gain * (motion.q - reading.q)
        self.backend.command(motion.q, np.clip(speed, -self._top_speed, self._top_speed))

    def hold(self, now: float) -> None:
        """Hold position from now on."""
        self._still = now
        try:
            self.backend.hold()
            self._owed = False
        except BackendError:
            self._owed = True  # a robot without its link stops by itself; `keep` tells it again

    def keep(self, now: float, repeat: bool) -> None:
        """Repeat a failed hold command; with ``repeat`` also others, every `REPEAT` s."""
        if self._still is None:
            return
        if self._owed or (repeat and now - self._still > REPEAT):
            self.hold(now)

    def grip(self, opening: float) -> None:
        """Send an opening if it is new; do nothing without a gripper.

        Every command has an opening, also for an arm without a gripper. BackendError: no link, or
        a gripper that does not answer.
        """
        if not self._sent or opening != self.gripper:
            with contextlib.suppress(NoGripper):
                self.backend.grip(opening)
            self.gripper, self._sent = opening, True

    def forget_gripper(self) -> None:
        """Send the next opening in any case: the gripper may have been moved otherwise."""
        self._sent = False
