# SPDX-License-Identifier: Apache-2.0
"""The driver's hand on the back-end: motions, standing still, and the gripper."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np

from ptp_core.errors import PtpError
from ptp_robot.backends.backend import Backend, BackendError, JointReading, NoGripper
from ptp_robot.safety import Motion

__all__ = ["DriverError", "RobotLink"]

REPEAT = 1.0  # s between two orders to stand still: one may have been lost


class DriverError(PtpError):
    """What was asked of the driver cannot be done now; the text names cause and cure."""


class RobotLink:
    """Sends to one back-end. An order to stand still that did not get through is owed.

    ``top_speed`` (n,) [rad/s] is what a velocity interface is never sent more than; ``gain``
    [1/s] is how fast it makes up for what the arm lags behind.
    """

    def __init__(self, backend: Backend, top_speed: np.ndarray, gain: float) -> None:
        self.backend = backend
        self._top_speed = top_speed
        self._gain = gain
        self._still: float | None = None  # when it was last told to stand still; None: it moves
        self._owed = False
        self.gripper = -1.0  # opening sent last
        self._sent = False  # and it was

    def ask(self, call: Callable[[], None]) -> None:
        """Do as a person asks; what the back-end says against it is a DriverError."""
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
        """Stand still from now on."""
        self._still = now
        try:
            self.backend.hold()
            self._owed = False
        except BackendError:
            self._owed = True  # a robot without its link stops by itself; `keep` tells it again

    def keep(self, now: float, repeat: bool) -> None:
        """Say again what was not heard, and with ``repeat`` once in a while what was."""
        if self._still is None:
            return
        if self._owed or (repeat and now - self._still > REPEAT):
            self.hold(now)

    def grip(self, opening: float) -> None:
        """Send an opening that is new; where there is no gripper, to nobody.

        Every command has an opening, also for an arm without a gripper. BackendError: no link, or
        a gripper that does not answer.
        """
        if not self._sent or opening != self.gripper:
            with contextlib.suppress(NoGripper):
                self.backend.grip(opening)
            self.gripper, self._sent = opening, True

    def forget_gripper(self) -> None:
        """Somebody else may have moved it."""
        self._sent = False
