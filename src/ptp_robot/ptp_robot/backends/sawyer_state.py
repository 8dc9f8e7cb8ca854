# SPDX-License-Identifier: Apache-2.0
"""State that a Sawyer and its gripper report on one connection, and bounds of commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ptp_robot.backends.backend import BackendError
from ptp_robot.backends.handshake import Handshakes
from ptp_robot.backends.sawyer_config import STROKE, SawyerConfig
from ptp_robot.backends.sawyer_messages import (
    COLLISION,
    ENDPOINT,
    GRIPPER_COMMAND,
    GRIPPER_STATE,
    JOINTS,
    LIMITS,
    STATE,
    BadMessage,
    JointLimits,
    RobotState,
    acknowledged,
    gripper_command,
    joints_of,
    limits_of,
    ros_time,
    signals_of,
    wrench_of,
)

__all__ = ["Gripper", "SawyerState", "bounded_target", "bounded_velocity"]

UNIT = 1e-6  # s; two commands never share a stamp, which is their number
CLOCK_STEP = 1.0  # s; a stamp further back than this means that the robot's clock was set


class Gripper:
    """State and requests of the gripper on one connection.

    A command is repeated until its stamp is among those that the gripper acknowledged.
    """

    def __init__(self, handshakes: Handshakes, patience: float, stroke: float = STROKE) -> None:
        """``patience`` [s] until a command counts as lost; ``stroke`` [m] between the fingers."""
        self._handshakes = handshakes
        self._patience = patience
        self._stroke = stroke
        self._message: Mapping[str, Any] = {}
        self._signals: dict[str, Any] = {}
        self._number = 0.0  # stamp of the last command

    def hear(self, message: Mapping[str, Any]) -> None:
        """Update with the gripper's state, perhaps only sent on changes. Raises BadMessage."""
        self._signals = signals_of(message)
        self._message = message

    def opening(self) -> float | None:
        """Measured opening, -1 open .. +1 closed; None: unknown."""
        position = self._signals.get("position_response_m")
        if isinstance(position, bool) or not isinstance(position, (int, float)):
            return None
        if not np.isfinite(position):
            return None
        return float(np.clip(1.0 - 2.0 * position / self._stroke, -1.0, 1.0))

    @property
    def calibrated(self) -> bool:
        """Whether it knows its end stops; without them it does not reach commanded openings."""
        return bool(self._signals.get("is_calibrated", True))

    def grip(self, opening: float, now: float, seconds: float) -> None:
        """Request an opening, -1 open .. +1 closed. ``seconds`` since the epoch.

        Raises BackendError: not a number, no gripper, or not ready.
        """
        if not np.isfinite(opening):
            raise BackendError(f"the gripper cannot be sent to {opening}")
        if not self._message:
            raise BackendError(
                "the gripper says nothing: check that it is mounted and powered, or set "
                '`gripper: "none"`'
            )
        if self._signals.get("has_error"):
            raise BackendError("the gripper reports an error: reboot it from the robot's menu")
        if not self.calibrated:
            raise BackendError(
                "the gripper is not calibrated: take away what it holds, then calibrate it, "
                "from the robot's menu or with `calibrate_gripper: true`"
            )
        position = self._stroke * (1.0 - float(np.clip(opening, -1.0, 1.0))) / 2.0
        self._set("position_m", "float", position, now, seconds)

    def calibrate(self, now: float, seconds: float) -> None:
        """Let it find its end stops, which takes seconds; nothing may be between the fingers."""
        self._set("calibrate", "bool", True, now, seconds)

    def _set(self, signal: str, kind: str, value: Any, now: float, seconds: float) -> None:
        self._number = max(seconds, self._number + UNIT)
        stamp = ros_time(self._number)
        self._handshakes.ask(
            "gripper",
            GRIPPER_COMMAND,
            gripper_command(stamp, signal, kind, value),
            lambda: acknowledged(self._message, stamp),
            now,
            self._patience,
            "gripper commands that were not acknowledged",
        )


class SawyerState:
    """The newest message of each kind. Times are of the back-end's steady clock [s]."""

    def __init__(self, connection: int, names: Sequence[str], gripper: Gripper) -> None:
        self.connection = connection
        self.gripper = gripper
        self.state: RobotState | None = None
        self.state_at = -np.inf
        self.q = np.zeros(len(names))
        self.dq = np.zeros(len(names))
        self.joints_at: float | None = None  # None: never yet
        self.limits: JointLimits | None = None
        self._names = names
        self._collides = False
        self._stamp = 0.0  # of the joints, by the robot's clock
        self._wrench: np.ndarray | None = None
        self._wrench_at = -np.inf

    @property
    def whole(self) -> bool:
        """Whether joints and state are known."""
        return self.joints_at is not None and self.state is not None

    @property
    def stopped(self) -> bool:
        """Whether the robot reports that it is stopped."""
        return self.state is not None and self.state.stopped

    def trouble(self) -> str:
        """Why the robot refuses to move, with the cure; empty: it does not."""
        trouble = "" if self.state is None else self.state.trouble()
        if not trouble and self._collides:
            return "the robot feels a collision: free the arm, clear the fault, then enable"
        return trouble

    def take(self, topic: str, message: Mapping[str, Any], now: float) -> None:
        """Read a message. BadMessage leaves the state unchanged."""
        if topic == JOINTS:
            self._take_joints(message, now)
        elif topic == STATE:
            self.state, self.state_at = RobotState.of(message), now
        elif topic == ENDPOINT:
            self._wrench, self._wrench_at = wrench_of(message), now
        elif topic == GRIPPER_STATE:
            self.gripper.hear(message)
        elif topic == COLLISION:
            self._collides = bool(message.get("collision_state"))
        elif topic == LIMITS:
            self.limits = limits_of(message, self._names)

    def wrench(self, now: float, patience: float) -> np.ndarray | None:
        """Wrench (6,) [N, N m]; None: not measured within ``patience`` [s]."""
        return self._wrench if now - self._wrench_at <= patience else None

    def _take_joints(self, message: Mapping[str, Any], now: float) -> None:
        stamp, q, dq = joints_of(message, self._names)
        # A robot or server that hangs may repeat messages; they must not count as new.
        if stamp and self._stamp - CLOCK_STEP < stamp <= self._stamp:
            raise BadMessage("joint states that are no newer than the last")
        self._stamp, self.q, self.dq, self.joints_at = stamp, q, dq, now


def bounded_velocity(
    dq: np.ndarray, here: np.ndarray, limits: JointLimits, config: SawyerConfig
) -> np.ndarray:
    """Velocity (7,) [rad/s]: dq, at most the speed ratio of each joint's top speed.

    A joint that is measured, here (7,) [rad], at or beyond its limit goes no further.
    """
    fastest = config.speed_ratio * limits.velocity
    velocity = np.clip(dq, -fastest, fastest)
    outward = ((here <= limits.lower) & (velocity < 0.0)) | (
        (here >= limits.upper) & (velocity > 0.0)
    )
    return np.where(outward, 0.0, velocity)


def bounded_target(
    q: np.ndarray,
    last: np.ndarray,
    here: np.ndarray,
    limits: JointLimits,
    config: SawyerConfig,
) -> tuple[np.ndarray, bool]:
    """Target (7,) [rad] towards q, and whether it falls short of it.

    It is a small step from the last target, near the measured arm and within the joints' limits,
    as the robot goes there even if the link is lost.
    """
    target = np.clip(q, last - config.step, last + config.step)
    target = np.clip(target, here - config.leash, here + config.leash)
    target = np.clip(target, limits.lower, limits.upper)
    return target, bool(np.abs(target - q).max() > 1e-9)
