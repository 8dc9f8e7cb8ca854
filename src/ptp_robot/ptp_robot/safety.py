# SPDX-License-Identifier: Apache-2.0
"""Safety filter: joint positions for motions of the TCP, within limits of motion and force."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Literal

import numpy as np

from ptp_core.errors import InputError
from ptp_robot.action import CartesianDelta
from ptp_robot.command import Command, CommandCheck
from ptp_robot.kinematics import SawyerKinematics
from ptp_robot.robot_file import Limits

__all__ = [
    "Accepted",
    "ContactReaction",
    "ForceGuard",
    "JointBox",
    "JointGate",
    "Motion",
    "SafetyFilter",
    "Setpoint",
    "yaw_of",
]

SHRINKS = 4  # times that a step is halved to keep the box before it is given up
SLACK = 1e-9  # m
# The solver may miss by its tolerance; the setpoint stays that much inside of the box.
INSET = 2e-4  # m


class JointBox:
    """Where the tool point may be: the box, less the no-go boxes."""

    def __init__(self, limits: Limits) -> None:
        self.low, self.high = limits.box
        self._no_go = [(np.array(b[:3], float), np.array(b[3:], float)) for b in limits.no_go]

    def violation(self, position: np.ndarray) -> float:
        """How far a point (3,) is outside [m]; 0 inside."""
        outside = max(np.max(self.low - position), np.max(position - self.high), 0.0)
        for low, high in self._no_go:
            depth = min(np.min(position - low), np.min(high - position))
            outside = max(outside, depth)
        return float(outside)

    def room(self, position: np.ndarray, direction: np.ndarray) -> float:
        """Distance [m] to the nearest of the faces that a motion (3,) comes closer to."""
        gaps = np.where(direction > 0, self.high - position, position - self.low)
        gaps = gaps[np.abs(direction) > 1e-3]  # along a face is not towards it
        return float(max(gaps.min(), 0.0)) if gaps.size else math.inf


def remembered(kinematics: SawyerKinematics) -> Callable[[np.ndarray], tuple]:
    """`forward` with a cache of recent results, as each cycle needs the same ones repeatedly."""

    @lru_cache(maxsize=8)
    def look(key: bytes) -> tuple[np.ndarray, np.ndarray]:
        position, rotation = kinematics.forward(np.frombuffer(key))
        position.flags.writeable = rotation.flags.writeable = False  # others share them
        return position, rotation

    return lambda q: look(np.asarray(q, dtype=np.float64).tobytes())


class JointGate:
    """Shortens each step until it keeps every limit, and keeps its direction.

    A step goes straight towards its goal in joint space, by so much of the way that no joint is
    faster than its limit, faster by more than its acceleration, or nearer to its end than the
    margin; that the tool is not faster than its limits; and that the tool does not leave the box.
    A tool that starts outside of it comes no further out. Slowing down is not limited: an arm may
    always stop.
    """

    def __init__(self, kinematics: SawyerKinematics, limits: Limits) -> None:
        self.box = JointBox(limits)
        self.forward = remembered(kinematics)
        self._limits = limits
        self._low = kinematics.lower + limits.joint_margin
        self._high = kinematics.upper - limits.joint_margin
        self.top_speed = kinematics.velocity * limits.joint_speed_ratio  # (n,) rad/s
        self.acceleration = np.array(limits.joint_acceleration, dtype=np.float64)

    def step(
        self, q: np.ndarray, dq: np.ndarray, goal: np.ndarray, dt: float, ratio: float = 1.0
    ) -> np.ndarray:
        """Joints (n,) [rad] after ``dt`` [s] on the way from ``q``, moving with ``dq``, to goal.

        ``ratio``: part of the joints' speed limits.
        """
        way = goal - q
        if not np.isfinite(way).all() or dt <= 0.0:
            return q.copy()
        part = self._part(q, dq, way, dt, ratio)
        if part <= 0.0:
            return q.copy()
        position, rotation = self.forward(q)
        outside = self.box.violation(position)
        for _ in range(SHRINKS):
            reached = q + part * way
            there, turned = self.forward(reached)
            excess = self._excess(position, rotation, there, turned, dt)
            if excess > 1.0:
                part *= 0.999 / excess
                continue
            if self.box.violation(there) <= outside + (SLACK if outside else 0.0):
                return reached
            part *= 0.5
        return q.copy()

    def _part(
        self, q: np.ndarray, dq: np.ndarray, way: np.ndarray, dt: float, ratio: float
    ) -> float:
        """Largest part of the way that keeps the joints' limits."""
        away = np.abs(way)
        speed = np.minimum(self.top_speed * ratio, self._limits.joint_step / dt)
        along = np.maximum(dq * np.sign(way), 0.0)  # a joint that turns back starts from rest
        speed = np.minimum(speed, along + self.acceleration * dt)
        room = np.where(way > 0, self._high - q, q - self._low)
        most = np.minimum(speed * dt, np.maximum(room, 0.0))
        moving = away > 1e-12
        return min(1.0, float((most[moving] / away[moving]).min())) if moving.any() else 0.0

    def _excess(self, position, rotation, there, turned, dt: float) -> float:
        """How many times faster than allowed the tool would be."""
        fast = float(np.linalg.norm(there - position)) / (self._limits.speed * dt)
        cosine = 0.5 * (float(np.sum(rotation * turned)) - 1.0)
        angle = math.acos(min(max(cosine, -1.0), 1.0))
        return max(fast, angle / (self._limits.turn_speed * dt))


class ContactReaction(IntEnum):
    """Reactions to the contact force."""

    FREE = 0
    WARN = 1  # no motion further into the contact
    RETREAT = 2  # stop and go up
    STOP = 3  # the robot's hardest stop


class ForceGuard:
    """Evaluates raw wrenches; the wrench at rest in free space is the weight of the tool.

    The wrench is the one that acts on the tool, in the base frame: a tool pressed onto the table
    is pushed up. Estimates from joint torques are off by several newtons.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._offset: np.ndarray | None = None
        self._samples: list[np.ndarray] = []
        self._since: float | None = None  # when the first of them came
        self._wanted = False
        self._time: float | None = None
        self.wrench = np.zeros(6)  # N and N m, tared and low-passed
        self.valid = False

    @property
    def taring(self) -> bool:
        """Whether it is taring, for which the arm must hold position."""
        return self._since is not None

    def tare(self) -> None:
        """Take the next wrenches as the weight of the tool."""
        self._samples, self._since, self._wanted = [], None, True

    def update(self, raw: np.ndarray | None, now: float) -> ContactReaction:
        """Update with the newest wrench (6,); None or not finite: none is measured."""
        if raw is None or not np.isfinite(raw).all():
            self.valid, self._time, self._since = False, None, None
            return ContactReaction.FREE
        if self._wanted:
            if self._since is None:
                self._samples, self._since = [], now
            self._samples.append(np.array(raw, dtype=np.float64))
            if now - self._since < self._limits.tare_time:
                return ContactReaction.FREE
            self._offset = np.mean(self._samples, axis=0)
            self._wanted, self._since, self._time = False, None, None
        if self._offset is None:
            return ContactReaction.FREE
        felt = raw - self._offset
        if self._time is None:
            self.wrench = felt
        else:
            dt = max(now - self._time, 0.0)
            share = 1.0 - math.exp(-2.0 * math.pi * self._limits.force_cutoff * dt)
            self.wrench = self.wrench + share * (felt - self.wrench)
        self.valid, self._time = True, now
        return self._touch()

    @property
    def force(self) -> float:
        """Contact force [N]; 0 where none is measured."""
        return float(np.linalg.norm(self.wrench[:3])) if self.valid else 0.0

    def into_contact(self, motion: np.ndarray) -> np.ndarray:
        """The motion (3,) without its component against the contact force."""
        direction = self.wrench[:3] / max(self.force, 1e-9)
        against = min(float(motion @ direction), 0.0)
        return motion - against * direction

    def _touch(self) -> ContactReaction:
        levels = (self._limits.force_warn, self._limits.force_retreat, self._limits.force_stop)
        return ContactReaction(sum(self.force > level for level in levels))


def yaw_of(rotation: np.ndarray) -> float:
    """Yaw [rad] of a tool that points down, from its rotation (3, 3) in the base frame."""
    return math.atan2(-rotation[1, 0], -rotation[0, 0])


class Setpoint:
    """The setpoint, and how commands move it.

    ``measured``: measured pose plus motion, as in the simulator, the demonstrations and
    other stacks. ``setpoint``: the last setpoint plus motion, so that a lag of the arm neither
    shrinks motions nor lets the arm creep; the leash keeps it near the arm, and a setpoint
    beyond it restarts from the measured pose.
    """

    def __init__(self, reference: Literal["setpoint", "measured"], limits: Limits) -> None:
        low, high = limits.box
        self._low, self._high = low + INSET, high - INSET
        self._reference = reference
        self._leash, self._leash_turn = limits.leash, limits.leash_turn
        self.position = np.zeros(3)  # m, base frame
        self.yaw = 0.0  # rad

    def anchor(self, position: np.ndarray, yaw: float) -> None:
        """Set it to the tool's pose, or to the nearest point of the box."""
        self.position, self.yaw = np.clip(position, self._low, self._high), yaw

    def add(self, delta: CartesianDelta, position: np.ndarray, yaw: float) -> bool:
        """Add a motion, with the tool measured at this pose; whether it was cut short."""
        away = self.position - position
        turned = math.remainder(self.yaw - yaw, 2 * math.pi)
        lost = np.linalg.norm(away) > self._leash or abs(turned) > self._leash_turn
        if lost or self._reference == "measured":
            away, turned = np.zeros(3), 0.0
        away = away + delta.translation
        length = float(np.linalg.norm(away))
        if length > self._leash:
            away *= self._leash / length
        turn = turned + delta.dyaw
        held = min(max(turn, -self._leash_turn), self._leash_turn)
        wanted = position + away
        self.position = np.clip(wanted, self._low, self._high)
        self.yaw = yaw + held
        cut = np.abs(self.position - wanted).max() > 2 * INSET
        return bool(length > self._leash or held != turn or cut)


NEAR = 2e-5  # m, and ten times as much in rad: arrived
# Way of one solve, for which the solver's pull to the rest posture was chosen.
PULL_WAY, PULL_TURN = 0.015, 0.1  # m, rad
ESCAPE = 0.1  # part of the speed with which a singularity is left


@dataclass(frozen=True)
class Accepted:
    """A command as it is executed."""

    delta: CartesianDelta
    clamped: bool  # reduced to the limits, the leash or the box


@dataclass(frozen=True)
class Motion:
    """Commanded joints at the end of this cycle."""

    q: np.ndarray  # (n,) rad
    dq: np.ndarray  # (n,) rad/s
    arrived: bool = False  # nothing is left to do
    reason: str = ""  # why the arm makes no progress, if it makes none


class SafetyFilter:
    """Keeps the last commanded joints, and computes the next small step from them.

    `seed` it from measured joints whenever the arm was not under its command: at the start and
    after every hold. Frames are the kinematics' base.
    """

    def __init__(
        self,
        kinematics: SawyerKinematics,
        limits: Limits,
        reference: Literal["setpoint", "measured"] = "setpoint",
        frame: str = "base",
    ) -> None:
        self.arm = kinematics
        self.limits = limits
        self.gate = JointGate(kinematics, limits)
        self.setpoint = Setpoint(reference, limits)
        self._check = CommandCheck(limits, frame)
        self.q = kinematics.rest_configuration.copy()  # told last
        self.dq = np.zeros_like(self.q)
        self._speed = self._turning = 0.0  # of the tool in the last cycle, m/s and rad/s
        self.condition = 0.0  # of the Jacobian
        self.residual = 0.0  # of the last solution, m

    def seed(self, q: np.ndarray) -> None:
        """Start from measured joints (n,) [rad], at rest."""
        self.q = np.array(q, dtype=np.float64)
        self.rest()
        self.setpoint.anchor(*self.pose(self.q))
        self.condition = self._condition(self.q)

    def rest(self) -> None:
        """The arm is at rest: the next step starts at speed 0."""
        self.dq = np.zeros_like(self.q)
        self._speed = self._turning = 0.0

    def pose(self, q: np.ndarray) -> tuple[np.ndarray, float]:
        """Tool point (3,) [m] and yaw [rad] at joints q."""
        position, rotation = self.gate.forward(q)
        return position, yaw_of(rotation)

    def outside(self, q: np.ndarray) -> float:
        """How far the tool is out of the box at joints q [m]."""
        return self.gate.box.violation(self.gate.forward(q)[0])

    def margin(self, q: np.ndarray) -> float:
        """From joints q to the nearest end of a joint [rad]."""
        return float(np.minimum(q - self.arm.lower, self.arm.upper - q).min())

    def check(self, command: Command, now: float) -> Accepted:
        """The motion of a command, clamped to the limits. InputError: refused, with the reason."""
        return Accepted(*self._check.check(command, now))

    def accept(self, checked: Accepted, q: np.ndarray) -> Accepted:
        """Add a motion to the setpoint, with joints q measured. InputError: refused, and why."""
        position, yaw = self.pose(q)
        outside = self.gate.box.violation(position)
        if outside > self.limits.leave:
            raise InputError(
                f"the tool is {outside * 1e3:.0f} mm outside of the workspace: send it home "
                "(arm/reset_pose) or move it back by hand"
            )
        short = self.setpoint.add(checked.delta, position, yaw)
        return Accepted(checked.delta, checked.clamped or short)

    def follow(self, dt: float, shape: Callable[[np.ndarray], np.ndarray] | None = None) -> Motion:
        """Compute one cycle of ``dt`` [s] towards the setpoint.

        ``shape`` may take parts of the motion (3,) [m] away, such as one into a contact.
        """
        position, yaw = self.pose(self.q)
        way = self.setpoint.position - position
        if shape is not None:
            way = shape(way)
            way = np.clip(position + way, *self._around(position)) - position
            self.setpoint.position = position + way  # what is taken away does not wait either
        distance = float(np.linalg.norm(way))
        turn = math.remainder(self.setpoint.yaw - yaw, 2 * math.pi)
        if distance < NEAR and abs(turn) < 10 * NEAR:
            return self._stand(arrived=True)
        dt = min(dt, self.limits.period)
        if dt <= 0.0:
            return self._stand()
        target, yaw_target = self._ahead(position, way, distance, yaw, turn, dt)
        # The pull to the rest posture goes with the way, not with time.
        part = math.dist(target, position) / PULL_WAY + abs(yaw_target - yaw) / PULL_TURN
        pull = self.arm.config.rest_gain * min(part, 1.0)
        result = self.arm.solve(self.q, target, yaw_target, rest_gain=pull)
        self.residual = result.position_error
        if (
            result.position_error > self.limits.ik_residual
            or result.rotation_error > self.limits.ik_rotation
        ):
            missed = result.position_error * 1e3
            return self._stand(f"out of reach: inverse kinematics misses by {missed:.1f} mm")
        before = self.condition
        ahead = self._condition(result.q)
        if ahead >= self.limits.condition_hold and ahead >= before:
            return self._stand(f"near a singularity: the condition number is {ahead:.0f}")
        motion = self._go(self.gate.step(self.q, self.dq, result.q, dt), dt)
        same = np.array_equal(self.q, result.q)
        self.condition = ahead if same else self._condition(self.q)
        return motion

    def toward(self, goal: np.ndarray, dt: float, ratio: float = 1.0) -> Motion:
        """One cycle straight towards joints ``goal`` (n,), at ``ratio`` of the joints' limits."""
        dt = min(dt, self.limits.period)
        way = goal - self.q
        if np.abs(way).max() < 1e-5:
            return self._stand(arrived=True)
        if dt <= 0.0:
            return self._stand()
        # Slow down in time: no joint may be faster than it can stop before the goal.
        brake = np.sqrt(2.0 * self.gate.acceleration / np.maximum(np.abs(way), 1e-12)) * dt
        near = self.q + way * min(1.0, float(brake.min()))
        motion = self._go(self.gate.step(self.q, self.dq, near, dt, ratio), dt)
        self.condition = self._condition(self.q)
        return motion

    def _ahead(self, position, way, distance, yaw, turn, dt) -> tuple[np.ndarray, float]:
        """Where the tool shall be after this cycle."""
        limits = self.limits
        slow = self._slow()
        if distance > 0.0 and limits.soft_band > 0.0:
            room = self.gate.box.room(position, way / distance)
            slow = min(slow, max(room / limits.soft_band, 0.25))
        speed = _profile(distance, self._speed, limits.speed * slow, limits.acceleration, dt)
        rate = _profile(
            abs(turn), self._turning, limits.turn_speed * slow, limits.turn_acceleration, dt
        )
        step = min(speed * dt, distance)
        target = position + way * (step / distance) if distance > 0.0 else position
        return target, yaw + math.copysign(min(rate * dt, abs(turn)), turn)

    def _around(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The box, grown to hold this point."""
        box = self.gate.box
        return np.minimum(box.low, position), np.maximum(box.high, position)

    def _slow(self) -> float:
        """Part of the speed that is left near a singularity."""
        low, high = self.limits.condition_slow, self.limits.condition_hold
        if self.condition <= low:
            return 1.0
        return max((high - self.condition) / max(high - low, 1e-9), ESCAPE)

    def _go(self, q: np.ndarray, dt: float) -> Motion:
        before, turned_before = self.pose(self.q)
        if np.array_equal(q, self.q):
            return self._stand("held back by a limit of the box or of a joint")
        self.dq = (q - self.q) / dt
        self.q = q
        after, turned = self.pose(q)
        self._speed = float(np.linalg.norm(after - before)) / dt
        self._turning = abs(math.remainder(turned - turned_before, 2 * math.pi)) / dt
        return Motion(q.copy(), self.dq.copy())

    def _stand(self, reason: str = "", arrived: bool = False) -> Motion:
        self.rest()
        return Motion(self.q.copy(), self.dq.copy(), arrived, reason)

    def _condition(self, q: np.ndarray) -> float:
        values = np.linalg.svd(self.arm.jacobian(q), compute_uv=False)
        return float(values[0] / max(values[-1], 1e-9))


def _profile(distance: float, speed: float, top: float, acceleration: float, dt: float) -> float:
    """Speed of this cycle: no faster than top, than sped up to, than can be stopped in time."""
    return min(top, speed + acceleration * dt, math.sqrt(2.0 * acceleration * distance))
