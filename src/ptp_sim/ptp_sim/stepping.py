# SPDX-License-Identifier: Apache-2.0
"""Command gate of the simulated arm: one command and control step for each observation."""

from __future__ import annotations

from ptp_core.errors import InputError
from ptp_robot.action import ActionScale, CartesianDelta
from ptp_robot.command import LONGEST, REMEMBERED, ObservationWindow
from ptp_robot.command import first_number as first_number

MODES = ("lock_step", "real_time")
MARGIN = 1.0 + 1e-9  # of rounding, on the largest motion


def simulated_time(number: int, step_seconds: float) -> int:
    """Time of an observation in lock-step, ns: steps of equal length since number 0."""
    # In whole picoseconds: numbers are too large for the digits of a float.
    return number * round(step_seconds * 1e12) // 1000


class CommandGate:
    """Counts observations and says whether a command may move the arm.

    The `ObservationWindow` decides which observations may be answered, by age and number. Once a
    command has moved the arm, no other does until the next image. In ``real_time`` answers may be
    ``patience`` observations late. In ``lock_step`` nothing moves between two images of one
    scene, so an answer to either counts; and the limit on age, ``age`` [s] else, follows the
    latency of answers, up to `LONGEST`. The first observation has the number ``before`` + 1. Times
    are of the steady clock [s].
    """

    def __init__(
        self,
        mode: str,
        patience: int = 0,
        limits: ActionScale | None = None,
        before: int = 0,
        age: float = 0.3,
    ) -> None:
        if mode not in MODES:
            raise InputError(f'mode "{mode}" is unknown: use one of {", ".join(MODES)}')
        self.mode = mode
        self.observation_seq = before  # of the newest observation
        self._lock_step = mode == "lock_step"
        most = LONGEST if self._lock_step else None
        self._window = ObservationWindow(age, most, REMEMBERED if self._lock_step else patience)
        self._limits = limits or ActionScale()
        self._moved = True  # nothing moves before the first image

    @property
    def age_limit(self) -> float:
        """Age at which an observation is too old to be answered [s]."""
        return self._window.limit

    def observed(self, now: float) -> int:
        """A new image was taken: its number."""
        self.observation_seq += 1
        self._moved = False
        self._window.observed(self.observation_seq, now)
        return self.observation_seq

    def reset(self, now: float) -> int:
        """The scene was reset: return the number of its first image; older answers are void."""
        self._window.void()
        return self.observed(now)

    def close(self) -> None:
        """There is no scene: nothing moves until a reset."""
        self._window.void()
        self._moved = True

    @property
    def is_open(self) -> bool:
        """Whether a command may be executed before the next image."""
        return not self._moved

    def arrived(self, observation_seq: int, now: float) -> str:
        """An answer arrived: why it moves nothing; empty: it may. 0 is no observation."""
        return self._window.arrived(observation_seq, now)

    def refusal(self, observation_seq: int, now: float) -> str:
        """Why an answer is not executed at ``now``; empty: it may be."""
        return self._window.refusal(observation_seq, now)

    def age(self, observation_seq: int, now: float) -> float:
        """Time since an observation was taken [s]; 0: it is not known."""
        return self._window.age(observation_seq, now)

    def moved(self, observation_seq: int, now: float) -> None:
        """A command that answers this observation (0: none) was executed."""
        self._moved = True
        all_of_it = self._lock_step or not observation_seq
        self._window.moved(self.observation_seq if all_of_it else observation_seq, now)

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
