# SPDX-License-Identifier: Apache-2.0
"""The table environment behind the arm driver: every step passes through it, in process.

Driver, back-end and physics share a clock that runs as fast as the machine can. So the behaviour
of the real-time graph can be measured over many episodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ptp_core.config.loading import from_dict
from ptp_core.errors import InputError
from ptp_robot.action import CartesianDelta
from ptp_robot.arm_driver import ArmDriver
from ptp_robot.backends.backend import BackendError, Interface, JointReading
from ptp_robot.command import Command, CommandSource
from ptp_robot.kinematics import ARM_JOINTS
from ptp_robot.robot_file import RobotConfig, load_robot, read_kinematics
from ptp_sim.env import TableEnv
from ptp_sim.joint_table import JointTable

PERIOD = 0.01  # s of the driver's clock between two of its cycles


class TableBackend:
    """The simulated table as a back-end; see `ptp_robot.backends.backend.Backend`."""

    name = "sim_joint"
    interface: Interface = "position"
    joint_names = ARM_JOINTS

    def __init__(self, table: JointTable) -> None:
        self.time = 0.0  # s, set by whoever lets time pass
        self._table = table
        self._enabled = False

    def connect(self) -> None:
        """It is there."""

    def close(self) -> None:
        """It stays."""

    def reading(self) -> JointReading | None:
        """The joints as they are now."""
        q, dq = self._table.joints()
        return JointReading(self.time, q, dq, self._enabled)

    def problems(self) -> dict[str, int]:
        """None."""
        return {}

    def enable(self) -> None:
        """Take commands."""
        self._enabled = True

    def disable(self) -> None:
        """Take none."""
        self._enabled = False
        self.hold()

    def stop(self) -> None:
        """As disable."""
        self.disable()

    def clear(self) -> None:
        """There is nothing to clear."""

    def command(self, q: np.ndarray, dq: np.ndarray) -> None:
        """Go to q."""
        if self._enabled and (refused := self._table.command(q)):
            raise BackendError(refused)

    def hold(self) -> None:
        """Stay here."""
        self._table.command(self._table.joints()[0])

    def grip(self, opening: float) -> None:
        """Move the gripper."""
        self._table.grip(opening)


class DrivenEnv(TableEnv):
    """`TableEnv` whose commands are validated, limited and interpolated by the arm driver.

    Args:
        robot: the robot's file, as the driver takes it.
        rate: commands a second of the driver's clock [Hz].
        speed: simulated seconds a second of that clock; 0: a control step of `TableEnv` for each
            command, as the joint_bridge node has it.
        world: see `TableEnv`.

    """

    def __init__(
        self, robot: RobotConfig, rate: float = 10.0, speed: float = 0.0, **world
    ) -> None:
        super().__init__(**world)
        self._robot = robot
        self._kinematics = read_kinematics(robot)
        self._cycles = round(1.0 / (rate * PERIOD))
        self._speed = speed or rate * self.world.step_seconds

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Set up a scene with a driver that is enabled; see `TableEnv.reset`."""
        first = super().reset(seed=seed, options=options)
        self._table = JointTable(self.world)
        self._backend = TableBackend(self._table)
        self.driver = ArmDriver(self._backend, self._kinematics, self._robot)
        self._left, self._number = 0.0, 0
        self._cycle()
        self.driver.enable(self._backend.time)
        self._cycle(moving=False)
        return first

    def apply(self, delta: CartesianDelta):
        """Send a command in SI units; returns what `step` returns. InputError: it is refused."""
        self._number += 1
        # The table did not move while the policy computed: the driver knows where it stopped.
        self._cycle(moving=False)
        now = self._backend.time
        self.driver.observed(self._number, now)
        command = Command(
            source=CommandSource.POLICY,
            seq=self._number,
            frame="base",
            age=0.0,
            observation_seq=self._number,
            **vars(delta),
        )
        if refused := self.driver.command(command, now):
            raise InputError(f"the driver refuses: {refused}")
        for _ in range(self._cycles):
            self._cycle()
        return self.look()

    def _cycle(self, moving: bool = True) -> None:
        """One cycle of the driver, and the physics of its time."""
        self._backend.time += PERIOD
        self.driver.step(self._backend.time)
        if moving:
            self._left = self._table.advance(self._left + PERIOD * self._speed)


def make_env(robot: str | Mapping[str, Any], **options) -> DrivenEnv:
    """Make the table behind the driver with a robot's file, or with what stands in one.

    Commands take it: ``--env ptp_sim.driven_env:make_env --env-arg robot=FILE``. Raises
    ConfigError for an invalid robot.
    """
    config = load_robot(robot) if isinstance(robot, str) else from_dict(RobotConfig, dict(robot))
    return DrivenEnv(config, **options)
