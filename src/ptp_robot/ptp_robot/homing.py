# SPDX-License-Identifier: Apache-2.0
"""Homing: open the gripper, lift, move, verify, through the same safety filter as any motion."""

from __future__ import annotations

from enum import Enum

import numpy as np

from ptp_robot.backends.backend import JointReading
from ptp_robot.robot_file import HomingConfig
from ptp_robot.safety import Motion, SafetyFilter

__all__ = ["Homing", "HomingPhase"]

SAMPLES = 64  # tool points checked along a joint motion before it begins
STUCK = 0.5  # s without progress until another way is tried


class HomingPhase(Enum):
    """Phases of homing."""

    GRIP = "opens the gripper"
    LIFT = "lifts"
    CARRY = "moves in a straight line"
    MOVE = "moves its joints"
    VERIFY = "comes to rest"
    DONE = "is home"


class Homing:
    """One way home. Make it with the filter seeded from the measured joints.

    The joints go straight home where the tool stays in the box on that way; else the tool first
    goes there in a straight line. An arm that starts outside of the box comes no further out.
    """

    def __init__(self, config: HomingConfig, safety: SafetyFilter, now: float) -> None:
        self._config = config
        self._safety = safety
        self._home = np.array(config.joints, dtype=np.float64)
        limit = safety.limits.joint_speed_ratio
        self._ratio = min(1.0, config.speed_ratio / limit)
        self._began = self._entered = now
        self._moved = now  # when the arm last made progress
        self.phase = HomingPhase.GRIP

    def step(self, reading: JointReading, now: float, dt: float) -> Motion | None:
        """The next motion; None: hold position, for now or (phase DONE) for good.

        Raises TimeoutError with what the arm could not do.
        """
        if now - self._began > self._config.timeout:
            raise TimeoutError(self._late(reading))
        if self.phase is HomingPhase.GRIP:
            if now - self._entered < self._config.grip_time:
                return None
            self._safety.seed(reading.q)  # it may have been pushed meanwhile
            self._lift(now)
        if self.phase is HomingPhase.LIFT:
            motion = self._safety.follow(dt)
            if not self._over(motion, now):
                return motion
            self._move_or_carry(now)
        if self.phase is HomingPhase.CARRY:
            motion = self._safety.follow(dt)
            if not self._over(motion, now):
                return motion
            self._enter(HomingPhase.MOVE, now)
        if self.phase is HomingPhase.MOVE:
            motion = self._safety.toward(self._home, dt, self._ratio)
            if not motion.arrived:
                return motion
            self._enter(HomingPhase.VERIFY, now)
        if self.phase is HomingPhase.VERIFY and self._is_home(reading):
            self._enter(HomingPhase.DONE, now)
        if self.phase is HomingPhase.DONE:
            return None
        return self._safety.toward(self._home, dt, self._ratio)

    def _lift(self, now: float) -> None:
        safety = self._safety
        position, yaw = safety.pose(safety.q)
        top = safety.gate.box.high[2]
        raised = position.copy()
        raised[2] = max(position[2], min(position[2] + self._config.lift, top))
        safety.setpoint.anchor(raised, yaw)
        # What lies above the box needs no lift; the anchor would lower it.
        self._enter(HomingPhase.LIFT, now)
        if position[2] >= top:
            self._move_or_carry(now)

    def _move_or_carry(self, now: float) -> None:
        safety = self._safety
        start = safety.outside(safety.q)
        way = self._home - safety.q
        parts = np.linspace(0.0, 1.0, SAMPLES)
        if all(safety.outside(safety.q + part * way) <= start + 1e-9 for part in parts):
            self._enter(HomingPhase.MOVE, now)
            return
        safety.setpoint.anchor(*safety.pose(self._home))
        self._enter(HomingPhase.CARRY, now)

    def _enter(self, phase: HomingPhase, now: float) -> None:
        self.phase, self._entered, self._moved = phase, now, now

    def _over(self, motion: Motion, now: float) -> bool:
        """Whether this part of the way is done, or cannot be."""
        if motion.arrived:
            return True
        if not motion.reason:
            self._moved = now
        return now - self._moved > STUCK

    def _is_home(self, reading: JointReading) -> bool:
        config = self._config
        near = np.abs(reading.q - self._home).max() < config.joint_tolerance
        return bool(near and np.abs(reading.dq).max() < config.speed_tolerance)

    def _late(self, reading: JointReading) -> str:
        off = np.abs(reading.q - self._home)
        return (
            f"the arm is not home after {self._config.timeout:g} s: it {self.phase.value}, joint "
            f"{int(off.argmax())} is {off.max():.3f} rad off; move it clear by hand"
        )
