# SPDX-License-Identifier: Apache-2.0
"""Twist teleoperation: velocities of another program, such as a VR headset's, to motions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ptp_core.errors import InputError
from ptp_robot.action import ActionScale
from ptp_robot.teleoperation import TeleopDevice

__all__ = ["Twist"]

EARLY = 0.1  # s that a stamp may lie ahead of our clock


class Twist(TeleopDevice):
    """Turns velocities in the base frame into moves; see `TeleopDevice`.

    Fresh stamps are the dead-man switch. A velocity whose stamp is older than
    ``patience``, or that is not finite, counts as released.

    Args:
        period: time of one command [s]: the motion is velocity times period.
        frame: that velocities must be in.
        scale: largest motion of one command.
        patience: how old a velocity may become [s].

    """

    def __init__(
        self,
        period: float,
        frame: str,
        scale: ActionScale | None = None,
        patience: float = 0.3,
    ) -> None:
        super().__init__(patience)
        self._frame = frame
        scale = scale or ActionScale()
        self._to_action = period / np.array([*[scale.translation] * 3, scale.rotation])

    @staticmethod
    def describe() -> str:
        """One line for the person behind the other program."""
        return (
            "linear x, y, z: forward, left, up [m/s]; angular z: turn left [rad/s]; each needs a "
            "fresh stamp; nothing for a while: the arm holds"
        )

    def read(
        self, frame: str, linear: Sequence[float], yaw_rate: float, age: float, now: float
    ) -> None:
        """Take a velocity (3,) [m/s] and [rad/s] with a stamp ``age`` [s] old.

        Raises InputError for one in another frame, stale, from the future or not finite; it
        counts as released.
        """
        velocity = np.array([*linear, yaw_rate], dtype=np.float64)
        self._let_go()
        if frame != self._frame:
            raise InputError(f'the velocity is in frame "{frame}"; "{self._frame}" is expected')
        if not np.isfinite(velocity).all():
            raise InputError("the velocity is not finite")
        if not -EARLY <= age <= self._patience:
            when = f"{age:.2f} s old" if age > 0 else f"{-age:.2f} s ahead"
            raise InputError(
                f"the velocity's stamp is {when}; at most {self._patience:g} s old is allowed: "
                "stamp each one when it is sent, and set both machines' clocks"
            )
        # Its time starts at the stamp, so that a delay does not extend the motion.
        self._take(velocity * self._to_action, now - max(age, 0.0))

    def read_gripper(self, gripper: float) -> None:
        """Take an opening, -1 open to +1 closed, for the moves from now on; InputError."""
        if not (np.isfinite(gripper) and -1.0 <= gripper <= 1.0):
            raise InputError(f"the gripper is {gripper:g}; it lies between -1 and 1")
        self._gripper = float(gripper)
