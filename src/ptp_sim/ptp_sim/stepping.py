# SPDX-License-Identifier: Apache-2.0
"""Which command the simulated arm carries out, and when: one control step an observation."""

from __future__ import annotations

from ptp_core.errors import InputError
from ptp_core.numbering import first_number as first_number
from ptp_robot.action import ActionScale, CartesianDelta

MODES = ("lock_step", "real_time")
MARGIN = 1.0 + 1e-9  # of rounding, on the largest motion


def simulated_time(number: int, step_seconds: float) -> int:
    """Time of an observation in lock-step, ns: steps of equal length since number 0."""
    # In whole picoseconds: numbers are too large for the digits of a float.
    return number * round(step_seconds * 1e12) // 1000


class CommandGate:
    """Counts observations and says whether a command may move the arm.

    An observation is answered at most once. In ``lock_step`` only the newest counts. In
    ``real_time`` an answer may also come up to ``patience`` observations late; it then moves the
    arm before the next picture. The first observation has the number ``before`` + 1.
    """

    def __init__(
        self, mode: str, patience: int = 0, limits: ActionScale | None = None, before: int = 0
    ) -> None:
        if mode not in MODES:
            raise InputError(f'mode "{mode}" is unknown: use one of {", ".join(MODES)}')
        self.mode = mode
        self.observation_seq = before  # of the newest observation
        self._patience = patience if mode == "real_time" else 0
        self._limits = limits or ActionScale()
        self._before = before  # the number before the first
        self._answered = before
        self._moved = False

    def observed(self) -> int:
        """A new picture was taken: its number."""
        self.observation_seq += 1
        self._moved = False
        return self.observation_seq

    def reset(self) -> int:
        """The scene was set up anew: number of its first picture; older answers are void."""
        self._answered = self.observation_seq
        return self.observed()

    def admits(self, observation_seq: int) -> bool:
        """Whether a command that answers this observation is carried out now.

        0 answers none (teleoperation) and is carried out once a picture.
        """
        if self._moved or self.observation_seq == self._before:
            return False
        if observation_seq == 0:
            return True
        oldest = max(self._answered + 1, self.observation_seq - self._patience)
        return oldest <= observation_seq <= self.observation_seq

    def moved(self, observation_seq: int) -> None:
        """The command was carried out."""
        self._moved = True
        self._answered = observation_seq or self.observation_seq

    def check(self, frame: str, expected: str, dx, dy, dz, dyaw, gripper) -> CartesianDelta:
        """The motion of a command, m and rad. Raises InputError with what is wrong with it."""
        if frame != expected:
            raise InputError(f'the command is in frame "{frame}"; "{expected}" is expected')
        try:
            delta = CartesianDelta(dx, dy, dz, dyaw, gripper)
        except ValueError as error:
            raise InputError(f"the command is not finite: {error}") from None
        most = self._limits.translation
        if max(abs(dx), abs(dy), abs(dz)) > most * MARGIN:
            raise InputError(
                f"the command asks for ({dx:.3f}, {dy:.3f}, {dz:.3f}) m; at most {most:g} m along "
                "each axis are allowed in one step"
            )
        if abs(dyaw) > self._limits.rotation * MARGIN:
            raise InputError(
                f"the command asks for {dyaw:.3f} rad; at most {self._limits.rotation:.3f} rad "
                "are allowed in one step"
            )
        if abs(gripper) > 1.0:
            raise InputError(f"the command's gripper is {gripper:g}; it lies between -1 and 1")
        return delta
