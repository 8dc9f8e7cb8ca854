# SPDX-License-Identifier: Apache-2.0
"""A simulated Sawyer behind a fake rosbridge: its messages, its joints, and faults on request."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ptp_core.data.file_limits import parse_json
from ptp_description import sawyer_urdf_path
from ptp_robot.backends import sawyer_messages as topics
from ptp_robot.backends.sawyer_messages import POSITION_MODE, VELOCITY_MODE, ros_time
from ptp_robot.backends.sawyer_state import STROKE
from ptp_robot.fakes.fake_rosbridge import FakeRosbridge
from ptp_robot.kinematics import ARM_JOINTS, REST_CONFIGURATION, SawyerKinematics

__all__ = [
    "FAULTS",
    "FIELDS",
    "OTHER_TOPICS",
    "FakeArm",
    "FakeIntera",
    "device_status",
    "endpoint_state",
    "joint_limits",
    "joint_states",
]

# Fields of the types that may be published to the robot.
FIELDS = {
    "std_msgs/Bool": frozenset({"data"}),
    "std_msgs/Empty": frozenset(),
    "std_msgs/Float64": frozenset({"data"}),
    "intera_core_msgs/JointCommand": frozenset(
        {"header", "mode", "names", "position", "velocity", "acceleration", "effort"}
    ),
    "intera_core_msgs/IOComponentCommand": frozenset({"time", "op", "args"}),
}
# Topics of the robot that must not be published to.
OTHER_TOPICS = {
    f"/robot/limb/right/suppress_{name}": "std_msgs/Empty"
    for name in (
        *("collision_avoidance", "contact_safety", "cuff_interaction"),
        *("gravity_compensation", "hand_overwrench_safety", "squish_safety"),
    )
}


def joint_states(
    header: Mapping[str, Any], names: Sequence[str], q: np.ndarray, dq: np.ndarray
) -> dict[str, Any]:
    """sensor_msgs/JointState: the arm's joints (7,) among the head's and the torso's."""
    return {
        "header": dict(header),
        "name": ["head_pan", *names, "torso_t0"],
        "position": _numbers([0.0, *q, 0.0]),
        "velocity": _numbers([0.0, *dq, 0.0]),
        "effort": [0.0] * (len(names) + 2),
    }


def joint_limits(
    names: Sequence[str], lower: np.ndarray, upper: np.ndarray, velocity: np.ndarray
) -> dict[str, Any]:
    """intera_core_msgs/JointLimits."""
    return {
        "joint_names": ["head_pan", *names],
        "position_lower": _numbers([-5.0952, *lower]),
        "position_upper": _numbers([0.9064, *upper]),
        "velocity": _numbers([1.8, *velocity]),
        "accel": [10.0] * (len(names) + 1),
        "effort": [8.0, 80.0, 80.0, 40.0, 40.0, 9.0, 9.0, 9.0],
    }


def endpoint_state(
    header: Mapping[str, Any], position: np.ndarray, rotation: np.ndarray, wrench: np.ndarray
) -> dict[str, Any]:
    """intera_core_msgs/EndpointState: pose (3,), (3, 3) and wrench (6,) of the hand."""
    still = {"linear": _vector(np.zeros(3)), "angular": _vector(np.zeros(3))}
    return {
        "header": dict(header),
        "pose": {"position": _vector(position), "orientation": _quaternion(rotation)},
        "twist": still,
        "wrench": {"force": _vector(wrench[:3]), "torque": _vector(wrench[3:])},
        "valid": True,
    }


def device_status(
    time: Mapping[str, int], signals: Mapping[str, Any], commands: Sequence[Mapping[str, int]]
) -> dict[str, Any]:
    """intera_core_msgs/IODeviceStatus of the gripper: signals by name, stamps of commands."""
    ready = {"tag": "ready", "id": "", "detail": ""}
    kinds = {bool: "bool", int: "int", float: "float"}
    return {
        "time": dict(time),
        "device": {"name": "right_gripper", "status": ready},
        "ports": [],
        "signals": [
            {
                "name": name,
                "format": json.dumps({"type": kinds[type(value)], "role": "output"}),
                "data": json.dumps([value]),
                "status": ready,
            }
            for name, value in signals.items()
        ],
        "commands": [dict(stamp) for stamp in commands],
        "responses": [],
    }


class FakeArm:
    """Seven joints. A velocity ends by the robot's own timeout; a position has no timeout.

    Time is that of `advance`.
    """

    def __init__(
        self, q: Sequence[float], lower: np.ndarray, upper: np.ndarray, velocity: np.ndarray
    ) -> None:
        """Start at q (7,) [rad]; limits (7,) in rad, rad, rad/s."""
        self.q = np.array(q, dtype=np.float64)
        self.dq = np.zeros_like(self.q)
        self.lower, self.upper, self.velocity = lower, upper, velocity
        self.timeout = 0.2  # s, the robot's default
        self.speed_ratio = 0.3  # the robot's default; position mode alone
        self._target: np.ndarray | None = None
        self._wanted = np.zeros_like(self.q)
        self._left = 0.0  # s that the velocity still holds

    def move(self, dq: np.ndarray) -> None:
        """Follow dq (7,) [rad/s] until the timeout."""
        self._wanted = np.clip(dq, -self.velocity, self.velocity)
        self._target, self._left = None, self.timeout

    def go(self, q: np.ndarray) -> None:
        """Go to q (7,) [rad]."""
        self._target = np.clip(q, self.lower, self.upper)
        self._left = 0.0

    def halt(self) -> None:
        """Hold position, and drop the command."""
        self._target, self._left = None, 0.0
        self.dq = np.zeros_like(self.q)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        if self._target is not None:
            reach = self.speed_ratio * self.velocity * seconds
            step = np.clip(self._target - self.q, -reach, reach)
        else:
            moving = min(self._left, seconds)
            self._left -= moving
            step = self._wanted * moving
        before = self.q
        self.q = np.clip(before + step, self.lower, self.upper)
        self.dq = (self.q - before) / seconds


FAULTS = {
    "drop_link": "connections are cut, and none is answered",
    "stall_link": "rosbridge hangs: connections stay, nothing moves on them",
    "freeze_joints": "no joint states come",
    "repeat_joints": "the last joint states come again and again",
    "miss_joint": "joint states lack right_j3",
    "nan_joints": "joint states hold what is no number",
    "silent_state": "no robot state comes",
    "press_estop": "the emergency stop is pressed; mended: released, stopped until reset",
    "collide": "the arm feels a collision",
    "disable_motors": "somebody else turned the motors off",
    "robot_error": "a joint has a fault; mended: it can be reset",
    "refuse_enable": "motors do not go on when asked",
    "slow_ack": "motors go on 2 s late, the gripper answers 1 s late",
    "deaf_gripper": "the gripper takes no command",
}
PERIOD = 0.01  # s between joint states (robot's default)
STATE_EVERY = 5  # periods
GRIPPER_EVERY = 10  # periods
GRIPPER_SPEED = 0.1  # m/s
LATE_LOOP = 0.02  # s that are caught up with
LATE_MOTORS = 2.0  # s
LATE_GRIPPER = 1.0  # s
UNPRESSED, PRESSED, UNKNOWN, RELEASED = range(4)  # of the emergency stop button


class FakeIntera:
    """The robot and the rosbridge before it. Time is that of `advance`."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        start: Sequence[float] = REST_CONFIGURATION,
        gripper: Literal["ready", "uncalibrated", "none"] = "ready",
        narrower: float = 0.0,
    ) -> None:
        """Start at joints (7,) [rad].

        A gripper that is not calibrated does not know its end stops, as after power-up.
        ``narrower``: by how much the robot's own joint limits are [rad] than those of the URDF.
        """
        self._lock = threading.RLock()
        self._hand = SawyerKinematics.from_urdf(sawyer_urdf_path(), tip="right_hand")
        lower, upper = self._hand.lower + narrower, self._hand.upper - narrower
        self.arm = FakeArm(start, lower, upper, self._hand.velocity)
        self._epoch, self._time = time.time(), 0.0
        self._periods = 0
        self._faults: set[str] = set()
        self._enabled = self._stopped = self._error = False
        self._button, self._source = UNPRESSED, 0
        self._enabling: float | None = None  # when the motors go on
        self._repeated: dict[str, Any] | None = None
        self._wrench = np.zeros(6)
        self._opening = self._wanted = STROKE  # m
        self._gripper = gripper != "none"
        self._calibrated = gripper == "ready"
        self._taken: deque[dict[str, int]] = deque(maxlen=10)  # stamps of gripper commands
        self._due: list[tuple[float, dict[str, Any]]] = []  # gripper commands on their way
        self.bridge = FakeRosbridge(
            {**topics.SAWYER.heard, **topics.SAWYER.sent, **OTHER_TOPICS},
            FIELDS,
            self.take,
            {topics.TIME_SERVICE: lambda _: {"time": ros_time(self._epoch + self._time)}},
            host,
            port,
        )

    def start(self) -> None:
        """Start the server. Raises OSError: the port is taken."""
        self.bridge.start()
        arm = self.arm
        limits = joint_limits(ARM_JOINTS, arm.lower, arm.upper, arm.velocity)
        self.bridge.publish(topics.LIMITS, limits, latch=True)
        self._tell_gripper()

    def stop(self) -> None:
        """Stop the server. Calling it twice is allowed."""
        self.bridge.stop()

    def advance(self, seconds: float) -> None:
        """Let the robot's time pass, in its own periods."""
        for _ in range(round(seconds / PERIOD)):
            with self._lock:
                self._step()

    def run(self, ended: threading.Event) -> None:
        """Follow the clock until ``ended`` is set; a busy machine loses time."""
        due = time.monotonic() + PERIOD
        while not ended.wait(max(due - time.monotonic(), 0.0)):
            self.advance(PERIOD)
            due = max(due + PERIOD, time.monotonic() - LATE_LOOP)

    def joints(self) -> np.ndarray:
        """Joints of the arm: (7,) rad."""
        with self._lock:
            return self.arm.q.copy()

    @property
    def opening(self) -> float:
        """Distance between the fingers [m]."""
        with self._lock:
            return self._opening

    @property
    def enabled(self) -> bool:
        """Whether its motors are on."""
        with self._lock:
            return self._enabled

    @property
    def faults(self) -> list[str]:
        """Faults that are on."""
        with self._lock:
            return sorted(self._faults)

    def push(self, wrench: Sequence[float]) -> None:
        """Let the hand measure this wrench (6,) [N, N m] from now on."""
        with self._lock:
            self._wrench = np.array(wrench, dtype=np.float64)

    def fault(self, name: str) -> None:
        """Start one of FAULTS. Raises ValueError for another."""
        self._known(name)
        with self._lock:
            self._faults.add(name)
            if name in ("press_estop", "robot_error"):
                pressed = name == "press_estop"
                self._button, self._source = (PRESSED, 1) if pressed else (UNKNOWN, 3)
                self._error = self._error or not pressed
                self._halt(stopped=True)
            elif name == "disable_motors":
                self._halt()
            elif name == "repeat_joints":
                self._repeated = self._joint_states()
        if name == "drop_link":
            self.bridge.drop()
        elif name == "stall_link":
            self.bridge.stall()

    def mend(self, name: str) -> None:
        """End a fault; its effects may last. Raises ValueError for no fault."""
        self._known(name)
        with self._lock:
            if name == "press_estop" and self._button == PRESSED:
                self._button = RELEASED
                self._tell_state()
            self._faults.discard(name)
        if name == "drop_link":
            self.bridge.restore()
        elif name == "stall_link":
            self.bridge.resume()

    # Behaviour of the robot

    def _known(self, name: str) -> None:
        if name not in FAULTS:
            raise ValueError(f'no fault "{name}": use one of {", ".join(FAULTS)}')

    def _step(self) -> None:
        self._time += PERIOD
        self._periods += 1
        if self._enabling is not None and self._time >= self._enabling:
            self._enabled, self._enabling = True, None
            self._tell_state()
        self.arm.advance(PERIOD)
        for due, command in self._due[:]:
            if self._time >= due:
                self._due.remove((due, command))
                self._obey_gripper(command)
        step = GRIPPER_SPEED * PERIOD
        self._opening += float(np.clip(self._wanted - self._opening, -step, step))
        if "freeze_joints" not in self._faults:
            repeated = "repeat_joints" in self._faults and self._repeated
            self.bridge.publish(topics.JOINTS, repeated or self._joint_states())
        position, rotation = self._hand.forward(self.arm.q)
        endpoint = endpoint_state(self._header(), position, rotation, self._wrench)
        self.bridge.publish(topics.ENDPOINT, endpoint)
        if self._periods % STATE_EVERY == 0:
            self._tell_state()
        if self._periods % GRIPPER_EVERY == 0:
            self._tell_gripper()

    def _header(self, frame: str = "base") -> dict[str, Any]:
        stamp = ros_time(self._epoch + self._time)
        return {"seq": self._periods, "stamp": stamp, "frame_id": frame}

    def _joint_states(self) -> dict[str, Any]:
        q = self.arm.q * (np.nan if "nan_joints" in self._faults else 1.0)
        message = joint_states(self._header(""), ARM_JOINTS, q, self.arm.dq)
        if "miss_joint" in self._faults:
            index = message["name"].index("right_j3")
            for key in ("name", "position", "velocity", "effort"):
                del message[key][index]
        return message

    def _tell_state(self) -> None:
        if "silent_state" not in self._faults:
            state = {
                "homed": True,
                "ready": self._enabled,
                "enabled": self._enabled,
                "stopped": self._stopped,
                "error": self._error,
                "lowVoltage": False,
                "estop_button": self._button,
                "estop_source": self._source,
            }
            self.bridge.publish(topics.STATE, state)
        collides = {"header": self._header(), "collision_state": "collide" in self._faults}
        self.bridge.publish(topics.COLLISION, collides)

    def _tell_gripper(self) -> None:
        if not self._gripper:
            return
        signals = {
            "position_m": self._wanted,
            "position_response_m": self._opening,
            "is_moving": self._opening != self._wanted,
            "is_calibrated": self._calibrated,
            "has_error": False,
        }
        stamp = ros_time(self._epoch + self._time)
        status = device_status(stamp, signals, self._taken)
        self.bridge.publish(topics.GRIPPER_STATE, status, latch=True)

    def _halt(self, stopped: bool = False) -> None:
        self._enabled, self._enabling = False, None
        self._stopped = self._stopped or stopped
        self.arm.halt()
        self._tell_state()

    # Messages to the robot

    def take(self, topic: str, message: dict[str, Any]) -> None:
        """Handle a message; the bridge passes on those of all clients."""
        with self._lock:
            if topic == topics.COMMAND:
                self._take_command(message)
            elif topic == topics.ENABLE:
                self._take_enable(message["data"])
            elif topic == topics.STOP:
                if not self._stopped:
                    self._button, self._source = UNKNOWN, 2
                self._halt(stopped=True)
            elif topic == topics.RESET:
                self._take_reset()
            elif topic == topics.COMMAND_TIMEOUT:
                self.arm.timeout = min(max(message["data"], 0.0), 1.0)
            elif topic == topics.SPEED_RATIO:
                self.arm.speed_ratio = min(max(message["data"], 0.0), 1.0)
            elif topic == topics.GRIPPER_COMMAND:
                late = LATE_GRIPPER if "slow_ack" in self._faults else 0.0
                if self._gripper and "deaf_gripper" not in self._faults:
                    self._due.append((self._time + late, message))

    def _take_enable(self, on: bool) -> None:
        if not on:
            self._halt()
        elif not (self._stopped or self._error or self._enabled):
            late = LATE_MOTORS if "slow_ack" in self._faults else 0.0
            if "refuse_enable" not in self._faults and self._enabling is None:
                self._enabling = self._time + late

    def _take_reset(self) -> None:
        if self._button == PRESSED or "robot_error" in self._faults:
            return
        self._stopped = self._error = False
        self._button, self._source = UNPRESSED, 0
        self._halt()

    def _take_command(self, message: dict[str, Any]) -> None:
        if not self._enabled or sorted(message["names"]) != sorted(ARM_JOINTS):
            return
        order = [message["names"].index(name) for name in ARM_JOINTS]
        if message["mode"] == VELOCITY_MODE:
            self.arm.move(np.array(message["velocity"], dtype=np.float64)[order])
        elif message["mode"] == POSITION_MODE:
            self.arm.go(np.array(message["position"], dtype=np.float64)[order])

    def _obey_gripper(self, command: dict[str, Any]) -> None:
        if command["time"] not in self._taken:
            self._taken.append(command["time"])
            signals = parse_json(command["args"])["signals"]
            if "position_m" in signals and self._calibrated:
                wanted = float(signals["position_m"]["data"][0])
                self._wanted = min(max(wanted, 0.0), STROKE)
            if signals.get("calibrate", {}).get("data") == [True]:
                self._calibrated = True
        self._tell_gripper()


def _numbers(values: Sequence[float]) -> list[float | None]:
    """Numbers; rosbridge writes null for what is not finite."""
    return [float(value) if math.isfinite(value) else None for value in values]


def _vector(values: np.ndarray) -> dict[str, float]:
    return dict(zip("xyz", map(float, values)))


def _quaternion(rotation: np.ndarray) -> dict[str, float]:
    """Unit quaternion: the eigenvector of the largest eigenvalue (Bar-Itzhack 2000)."""
    r = rotation
    k = np.zeros((4, 4))
    k[:3, :3] = r + r.T - np.trace(r) * np.eye(3)
    k[3, :3] = k[:3, 3] = (r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1])
    k[3, 3] = np.trace(r)
    return dict(zip("xyzw", map(float, np.linalg.eigh(k)[1][:, -1])))
