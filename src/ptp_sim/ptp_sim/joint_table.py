# SPDX-License-Identifier: Apache-2.0
"""The simulated arm behind a joint position controller: targets in, physics as time passes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ptp_sim.world import TableWorld

MOST = 0.1  # s of physics at once: a machine that is slower than the table loses time instead
CHAIN = 0.03  # rad: two commands in a row are no further apart, unless a new motion begins
STILL = 1e-9  # rad: of rounding on the way
START = 0.06  # rad: a command this near starts where the arm is


class JointTable:
    """Executes joint positions and gripper openings on a simulated table.

    Args:
        world: the table.
        leap: a command farther than this from where the arm is moves nothing [rad].

    """

    most = MOST

    def __init__(self, world: TableWorld, leap: float = 0.5) -> None:
        self._world = world
        self._leap = leap
        self._target: np.ndarray | None = None
        self.reset()

    def reset(self) -> None:
        """Note that the arm was moved by a reset: older commands are void, the gripper is open."""
        self._before = self._target  # what the arm was told last, before the reset
        self._target = self._world.arm.joint_positions()
        self._started = False  # a command has come since
        self._gripper = -1.0
        self._moved = False

    def command(self, q: Sequence[float]) -> str:
        """Go to joints (7,) [rad]. Returns why not, or an empty text."""
        target = np.asarray(q, dtype=np.float64)
        measured = self._world.arm.joint_positions()
        if target.shape != measured.shape:
            return f"a joint command has {len(measured)} positions, not {len(target)}"
        if not np.isfinite(target).all():
            return "a joint command is not finite"
        distance = float(np.abs(target - measured).max())
        if not self._started and distance > START and self._goes_on(target):
            return (
                f"a joint command is {distance:.2f} rad from where the arm is, and goes on from "
                "where it was before the reset"
            )
        if distance > self._leap:
            return (
                f"a joint command is {distance:.2f} rad from where the arm is: at most "
                f"{self._leap:g} rad are allowed at once"
            )
        way = float(np.abs(target - self._target).max())
        self._moved |= way > (STILL if self._started else START)
        self._target, self._started = target, True
        return ""

    def joints(self) -> tuple[np.ndarray, np.ndarray]:
        """Measured joints (7,) [rad] and their velocities (7,) [rad/s]."""
        return self._world.arm.joint_states()

    def _goes_on(self, target: np.ndarray) -> bool:
        """Whether a command goes on with a motion, or a rest, from before the reset."""
        if self._before is None or np.abs(target - self._before).max() > CHAIN:
            return False
        self._before = target
        return True

    def grip(self, opening: float) -> None:
        """Move the gripper: -1 open .. +1 closed."""
        self._moved |= opening != self._gripper
        self._gripper = opening

    def moved(self) -> bool:
        """Whether a command asked for motion since this was asked last."""
        moved, self._moved = self._moved, False
        return moved

    def advance(self, seconds: float) -> float:
        """Run the physics for so long, at most `most`; the time that is left, s."""
        arm, step = self._world.arm, self._world.config.time_step
        # The fingers may have come near the block since the command.
        arm.grip(self._gripper)
        arm.follow(self._target)
        steps = int(min(seconds, MOST) / step + 1e-9)
        self._world.run(steps)
        return seconds - steps * step
