# SPDX-License-Identifier: Apache-2.0
"""State that a Sawyer and its gripper report on one connection, and what depends on it.

That is settings of the back-end, requests that are repeated until the state shows their effect,
and bounds of commands. Sources: Rethink's SDK and documentation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from ptp_core.config.loading import require
from ptp_core.errors import ConfigError
from ptp_robot.backends.backend import BackendError, Interface
from ptp_robot.backends.sawyer_messages import (
    COLLISION,
    ENABLE,
    ENDPOINT,
    GRIPPER_COMMAND,
    GRIPPER_STATE,
    JOINTS,
    LIMITS,
    RESET,
    STATE,
    STOP,
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

__all__ = [
    "FASTEST",
    "REQUESTS",
    "STROKE",
    "Gripper",
    "Handshakes",
    "Problems",
    "Request",
    "SawyerConfig",
    "SawyerState",
    "bounded_target",
    "bounded_velocity",
]

STROKE = 0.041667  # m between the fingers, open (Rethink's SDK and URDF)
# Hard maxima: no setting goes beyond.
FASTEST = 0.5  # of the joints' top speeds, velocity mode
FASTEST_POSITION = 0.3  # the robot's own default speed ratio, position mode
LARGEST_STEP = 0.02  # rad a command, position mode
KINDS = 50  # different texts that are counted: a robot may put numbers into them
PATIENCE = 3.0  # s without messages until that is a problem
UNIT = 1e-6  # s; two commands never share a stamp, which is their number
CLOCK_STEP = 1.0  # s; a stamp further back than this means that the robot's clock was set


@dataclass(frozen=True, kw_only=True)
class SawyerConfig:
    """Where rosbridge runs, and how the arm is driven through it."""

    host: str = "localhost"  # of rosbridge_server, on the robot's network; not the robot itself
    port: int = 9090  # rosbridge's default
    interface: Interface = "velocity"
    # "velocity": the arm stops by itself when commands stop. "position": to see it move for the
    # first time; it is slow, but finishes its way to the last command whatever happens.
    speed_ratio: float = 0.3  # of the joints' top speeds (Sawyer's default)
    step: float = LARGEST_STEP  # rad, position mode: largest from command to command
    leash: float = 0.1  # rad, position mode: largest distance of a command from the arm
    command_timeout: float = 0.2  # s, velocity mode: set in the robot, its own watchdog
    silence: float = 0.2  # s without joint states after which commands are refused
    state_silence: float = 1.0  # s without robot state until that is trouble
    repeat: float = 0.1  # s between repetitions of a request (SDK)
    patience: float = 5.0  # s until a request for motors on, off or a reset failed (SDK)
    gripper: Literal["electric", "none"] = "electric"  # Rethink's, or no gripper
    gripper_stroke: float = STROKE  # m between the fingers, open
    gripper_patience: float = 2.0  # s until a command of the gripper counts as lost (SDK: 2 to 5)
    calibrate_gripper: bool = False  # when motors go on, where it is not yet
    reconnect_first: float = 0.2  # s until a lost link is tried again
    reconnect_longest: float = 2.0  # s between later tries

    def __post_init__(self) -> None:
        if not self.host or "/" in self.host or ":" in self.host:
            raise ConfigError(
                f'SawyerConfig.host is "{self.host}"; give a name or an IP address alone, the '
                "port has its own setting"
            )
        require(self, "port", 1, 65535)
        require(self, "speed_ratio", 0.01, FASTEST)
        if self.interface == "position":
            require(self, "speed_ratio", 0.1, FASTEST_POSITION)
        require(self, "step", 1e-4, LARGEST_STEP)
        require(self, "leash", self.step, 0.2)
        require(self, "command_timeout", 0.05, 0.5)
        require(self, "silence", 0.03, 0.5)
        require(self, "state_silence", 0.1, 5.0)
        require(self, "repeat", 0.02, 0.5)
        require(self, "patience", 1.0, 30.0)
        require(self, "gripper_stroke", 0.005, 0.2)
        require(self, "gripper_patience", 1.0, 10.0)
        require(self, "reconnect_first", 0.01, 2.0)
        require(self, "reconnect_longest", self.reconnect_first, 10.0)


class Problems:
    """Text to count. Times are of one steady clock [s]."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._missing: float | None = None  # since when

    def count(self, text: str) -> None:
        """One more of these."""
        if text in self._counts or len(self._counts) < KINDS:
            self._counts[text] += 1

    def miss(self, text: str, now: float) -> None:
        """No message arrives: count that once for each outage, after `PATIENCE`."""
        if self._missing is None:
            self._missing = now
        elif now - self._missing > PATIENCE:
            self._missing = np.inf
            self.count(text)

    def found(self) -> None:
        """Messages arrive again."""
        self._missing = None

    def so_far(self) -> dict[str, int]:
        """All counts."""
        return dict(self._counts)


class Request(NamedTuple):
    """A message, and what to say when the robot did not answer it in time [s]."""

    topic: str
    message: Mapping[str, Any]
    failure: str


REQUESTS = {
    "enable": Request(
        ENABLE,
        {"data": True},
        "the robot did not turn its motors on within {:g} s: look at its screen, clear the fault, "
        "then enable again",
    ),
    "disable": Request(
        ENABLE,
        {"data": False},
        "the robot did not turn its motors off within {:g} s: press the emergency stop",
    ),
    "stop": Request(STOP, {}, "the robot did not stop within {:g} s: press the emergency stop"),
    "reset": Request(
        RESET,
        {},
        "the robot did not forget its error within {:g} s: read its log, restart the robot",
    ),
}


class Handshakes:
    """Pending requests, at most one for each name; a new one replaces the old.

    ``every`` is the time between repetitions [s]. Times are of one steady clock [s]; it moves
    only when `due` is called.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._requests: dict[str, _Request] = {}

    def ask(
        self,
        name: str,
        topic: str,
        message: Mapping[str, Any],
        done: Callable[[], bool],
        now: float,
        patience: float,
        failure: str = "",
    ) -> None:
        """Send ``message`` until ``done()``; after ``patience`` [s] report ``failure``."""
        self._requests[name] = _Request(topic, message, done, now, now + patience, failure)

    def drop(self, name: str | None = None) -> None:
        """Drop one request, or all."""
        if name is None:
            self._requests.clear()
        else:
            self._requests.pop(name, None)

    def pending(self, name: str) -> bool:
        """Whether this request is pending."""
        return name in self._requests

    def due(self, now: float) -> tuple[list[tuple[str, Mapping[str, Any]]], dict[str, str]]:
        """What to send now, as topics and messages; and name to text of what failed."""
        send, failed = [], {}
        for name, request in list(self._requests.items()):
            if request.done():
                del self._requests[name]
            elif now >= request.until:
                failed[name] = request.failure
                del self._requests[name]
            elif now >= request.again:
                request.again = now + self._every
                send.append((request.topic, request.message))
        return send, failed


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


@dataclass
class _Request:
    topic: str
    message: Mapping[str, Any]
    done: Callable[[], bool]
    again: float  # when to send next
    until: float
    failure: str
