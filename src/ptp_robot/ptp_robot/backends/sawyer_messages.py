# SPDX-License-Identifier: Apache-2.0
"""Topics and messages of a Sawyer: what may be sent to which, and the JSON of rosbridge.

Names and types: Rethink's intera_core_msgs and SDK. Stamps are those of ROS 1, numbers may be
missing or null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ptp_core.data.file_limits import parse_json

__all__ = [
    "COLLISION",
    "COMMAND",
    "COMMAND_TIMEOUT",
    "ENABLE",
    "ENDPOINT",
    "GRIPPER_COMMAND",
    "GRIPPER_STATE",
    "JOINTS",
    "LIMITS",
    "POSITION_MODE",
    "RESET",
    "SAWYER",
    "SPEED_RATIO",
    "STATE",
    "STOP",
    "TIME_SERVICE",
    "VELOCITY_MODE",
    "AllowList",
    "BadMessage",
    "Forbidden",
    "JointLimits",
    "RobotState",
    "acknowledged",
    "gripper_command",
    "joint_command",
    "joints_of",
    "limits_of",
    "ros_time",
    "seconds_of",
    "signals_of",
    "wrench_of",
]

# subscribed
JOINTS = "/robot/joint_states"
STATE = "/robot/state"
LIMITS = "/robot/joint_limits"
ENDPOINT = "/robot/limb/right/endpoint_state"
COLLISION = "/robot/limb/right/collision_detection_state"
GRIPPER_STATE = "/io/end_effector/right_gripper/state"

# published
ENABLE = "/robot/set_super_enable"
RESET = "/robot/set_super_reset"
STOP = "/robot/set_super_stop"
COMMAND = "/robot/limb/right/joint_command"
COMMAND_TIMEOUT = "/robot/limb/right/joint_command_timeout"
SPEED_RATIO = "/robot/limb/right/set_speed_ratio"
GRIPPER_COMMAND = "/io/end_effector/right_gripper/command"

TIME_SERVICE = "/rosapi/get_time"  # harmless: measures the round trip


class Forbidden(ValueError):
    """A message that the allow-list does not have: a programming error."""


@dataclass(frozen=True)
class AllowList:
    """Topics to types: what may be subscribed to and published, and services that may be called.

    The robot's ``suppress_*`` topics turn its own safety off. No list may have them.
    """

    heard: Mapping[str, str]
    sent: Mapping[str, str]
    latched: frozenset[str] = frozenset()  # of ``sent``: latched, for a robot that connects later
    services: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        for name in (*self.sent, *self.services):
            if "suppress" in name.lower():
                raise Forbidden(f"{name} turns a safety function of the robot off; never sent")
        if stray := self.latched - self.sent.keys():
            raise Forbidden(f"latched, but not sent: {', '.join(sorted(stray))}")

    def check(self, operation: str, name: str) -> None:
        """Raise Forbidden unless this operation of the rosbridge protocol may name this topic."""
        of = {
            "subscribe": self.heard,
            "advertise": self.sent,
            "publish": self.sent,
            "call_service": self.services,
        }
        if name not in of.get(operation, ()):
            raise Forbidden(f"{operation} {name} is not in the allow-list and was not sent")


SAWYER = AllowList(
    heard={
        JOINTS: "sensor_msgs/JointState",
        STATE: "intera_core_msgs/RobotAssemblyState",
        LIMITS: "intera_core_msgs/JointLimits",
        ENDPOINT: "intera_core_msgs/EndpointState",
        COLLISION: "intera_core_msgs/CollisionDetectionState",
        GRIPPER_STATE: "intera_core_msgs/IODeviceStatus",
    },
    sent={
        ENABLE: "std_msgs/Bool",
        RESET: "std_msgs/Empty",
        STOP: "std_msgs/Empty",
        COMMAND: "intera_core_msgs/JointCommand",
        COMMAND_TIMEOUT: "std_msgs/Float64",
        SPEED_RATIO: "std_msgs/Float64",
        GRIPPER_COMMAND: "intera_core_msgs/IOComponentCommand",
    },
    latched=frozenset({COMMAND_TIMEOUT, SPEED_RATIO}),
    services=frozenset({TIME_SERVICE}),
)

LONGEST = 10_000  # characters of a signal's data

# intera_core_msgs/JointCommand
POSITION_MODE = 1
VELOCITY_MODE = 2

# intera_core_msgs/RobotAssemblyState.estop_button
UNPRESSED, PRESSED, UNKNOWN, RELEASED = range(4)
# ... .estop_source
SOURCES = {
    1: "by the red button",
    2: "by an unknown source",
    3: "by a fault of a joint",
    4: "by the robot's own program",
}


class BadMessage(ValueError):
    """A message of the robot lacks something or is not finite; it is dropped."""


@dataclass(frozen=True)
class JointLimits:
    """Limits in the order of the arm's joints: (7,) rad, rad, rad/s."""

    lower: np.ndarray
    upper: np.ndarray
    velocity: np.ndarray

    def narrowed(self, other: JointLimits) -> JointLimits:
        """The narrower of both, joint by joint."""
        return JointLimits(
            np.maximum(self.lower, other.lower),
            np.minimum(self.upper, other.upper),
            np.minimum(self.velocity, other.velocity),
        )


@dataclass(frozen=True)
class RobotState:
    """The robot's state from /robot/state."""

    enabled: bool
    stopped: bool
    error: bool
    low_voltage: bool
    estop_button: int
    estop_source: int

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> RobotState:
        """Read intera_core_msgs/RobotAssemblyState. Raises BadMessage."""
        flags = [message.get(key) for key in ("enabled", "stopped", "error", "lowVoltage")]
        numbers = [message.get(key) for key in ("estop_button", "estop_source")]
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)
        if not (whole and all(isinstance(flag, bool) for flag in flags)):
            raise BadMessage("robot state lacks a field")
        return cls(*flags, *numbers)

    @property
    def pressed(self) -> bool:
        """Whether the emergency stop button is down."""
        return self.estop_button == PRESSED

    @property
    def healthy(self) -> bool:
        """Whether there is no error that a reset would clear."""
        return not (self.stopped or self.error) and self.estop_button in (UNPRESSED, UNKNOWN)

    def trouble(self) -> str:
        """Why the robot refuses to move, with the cure; empty: it does not."""
        if self.pressed:
            return (
                "the emergency stop is pressed: see that nobody is in reach, turn the button to "
                "release it, then clear the fault and enable"
            )
        if self.estop_button == RELEASED:
            return (
                "the emergency stop was released, but the robot is still stopped: clear the "
                "fault, then enable"
            )
        if self.stopped:
            source = SOURCES.get(self.estop_source, "by software")
            return f"the robot was stopped {source}: clear the fault, then enable"
        if self.error:
            return (
                "the robot reports an error of a part: clear the fault; if it comes back, read "
                "the robot's own log and restart the robot"
            )
        if self.low_voltage:
            return "the robot runs on low voltage: check its power supply, then restart it"
        return ""


def ros_time(seconds: float) -> dict[str, int]:
    """Time of ROS 1 from seconds since the epoch."""
    whole = math.floor(seconds)
    more, nanoseconds = divmod(round((seconds - whole) * 1e9), 10**9)
    return {"secs": whole + more, "nsecs": nanoseconds}


def seconds_of(time: Any) -> float:
    """Seconds of a time of ROS 1. Raises BadMessage."""
    try:
        seconds = float(time["secs"]) + 1e-9 * float(time["nsecs"])
    except (TypeError, KeyError, ValueError) as error:
        raise BadMessage("a stamp is not of ROS 1 (secs, nsecs)") from error
    if not math.isfinite(seconds):
        raise BadMessage("a stamp is not finite")
    return seconds


def joints_of(
    message: Mapping[str, Any], names: Sequence[str]
) -> tuple[float, np.ndarray, np.ndarray]:
    """Stamp [s], positions (7,) [rad] and speeds (7,) [rad/s] of the named joints.

    The message holds other joints, too (head, torso), in any order. Raises BadMessage.
    """
    header = message.get("header")
    stamp = seconds_of(header.get("stamp") if isinstance(header, Mapping) else None)
    q = _by_name(message, "name", "position", names, "joint states")
    return stamp, q, _by_name(message, "name", "velocity", names, "joint states")


def limits_of(message: Mapping[str, Any], names: Sequence[str]) -> JointLimits:
    """The robot's own limits of the named joints. Raises BadMessage."""
    lower, upper, velocity = (
        _by_name(message, "joint_names", key, names, "joint limits")
        for key in ("position_lower", "position_upper", "velocity")
    )
    if not ((lower < upper).all() and (velocity > 0.0).all()):
        raise BadMessage("joint limits are empty")
    return JointLimits(lower, upper, velocity)


def wrench_of(message: Mapping[str, Any]) -> np.ndarray | None:
    """Force [N] and torque [N m] at the tool (6,); None: not valid now. Raises BadMessage."""
    if not message.get("valid"):
        return None
    try:
        wrench = message["wrench"]
        numbers = [wrench[part][axis] for part in ("force", "torque") for axis in "xyz"]
    except (TypeError, KeyError) as error:
        raise BadMessage("endpoint state lacks its wrench") from error
    return _finite(numbers, "endpoint state")


def joint_command(
    mode: int, names: Sequence[str], values: np.ndarray, seconds: float
) -> dict[str, Any]:
    """intera_core_msgs/JointCommand: values (7,) are rad in POSITION_MODE, rad/s in VELOCITY_MODE.

    ``seconds`` since the epoch are its stamp.
    """
    numbers = [float(value) for value in values]
    return {
        "header": {"seq": 0, "stamp": ros_time(seconds), "frame_id": ""},
        "mode": mode,
        "names": list(names),
        "position": numbers if mode == POSITION_MODE else [],
        "velocity": numbers if mode == VELOCITY_MODE else [],
        "acceleration": [],
        "effort": [],
    }


def gripper_command(
    stamp: Mapping[str, int], signal: str, kind: str, value: Any
) -> dict[str, Any]:
    """intera_core_msgs/IOComponentCommand that sets a signal; ``stamp`` is its number."""
    signals = {signal: {"format": {"type": kind}, "data": [value]}}
    return {"time": dict(stamp), "op": "set", "args": json.dumps({"signals": signals})}


def acknowledged(message: Mapping[str, Any], stamp: Mapping[str, int]) -> bool:
    """Whether an intera_core_msgs/IODeviceStatus says that it took the command of that stamp."""
    commands = message.get("commands")
    return isinstance(commands, list) and dict(stamp) in commands


def signals_of(message: Mapping[str, Any]) -> dict[str, Any]:
    """First value of each signal of an intera_core_msgs/IODeviceStatus. Raises BadMessage."""
    signals = {}
    try:
        for signal in message["signals"]:
            data = parse_json(signal["data"], LONGEST)
            signals[signal["name"]] = data[0] if isinstance(data, list) and data else None
    except (TypeError, KeyError, ValueError) as error:
        raise BadMessage("gripper state cannot be read") from error
    return signals


def _by_name(
    message: Mapping[str, Any], names_key: str, key: str, wanted: Sequence[str], what: str
) -> np.ndarray:
    names, values = message.get(names_key), message.get(key)
    if not (isinstance(names, list) and isinstance(values, list)):
        raise BadMessage(f"{what} lack {names_key} or {key}")
    try:
        found = dict(zip(names, values))  # only the arm's joints must be whole
    except TypeError as error:
        raise BadMessage(f"{what} hold a name that is none") from error
    missing = [name for name in wanted if name not in found]
    if missing:
        raise BadMessage(f"{what} lack the {key} of {', '.join(missing)}")
    return _finite([found[name] for name in wanted], what)


def _finite(numbers: Sequence[Any], what: str) -> np.ndarray:
    try:
        array = np.array(numbers, dtype=np.float64)  # null, rosbridge's NaN, becomes NaN
    except (TypeError, ValueError) as error:
        raise BadMessage(f"{what} hold what is no number") from error
    if array.ndim != 1 or not np.isfinite(array).all():
        raise BadMessage(f"{what} are not finite")
    return array
