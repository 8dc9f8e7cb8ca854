# SPDX-License-Identifier: Apache-2.0
"""Back-end for an arm under ros2_control, over its topics. The simulated table uses it, too."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from geometry_msgs.msg import WrenchStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from ptp_core.config.loading import require
from ptp_core.errors import ConfigError
from ptp_robot.backends.backend import BackendError, Interface, JointReading, NoGripper
from ptp_robot.kinematics import ARM_JOINTS
from ptp_ros.streams import Streams
from ptp_ros.topics import ARM_COMMANDS, COMMANDS, JOINT_STATES, LATCHED, SENSOR

__all__ = ["Ros2ControlBackend", "Ros2ControlConfig"]


@dataclass(frozen=True, kw_only=True)
class Ros2ControlConfig:
    """Names of topics, joints and services; names without / are in the node's namespace.

    Sources: documentation of ros2_controllers (Jazzy), joint_state_broadcaster,
    forward_command_controller and joint_trajectory_controller.
    """

    name: str = "ros2_control"  # how the driver calls this robot
    joints: tuple[str, ...] = ARM_JOINTS  # from the base to the tool
    joint_states: str = JOINT_STATES  # sensor_msgs/JointState
    controller: Literal["forward", "trajectory"] = "forward"  # what takes the positions
    commands: str = ARM_COMMANDS  # its topic: Float64MultiArray, or JointTrajectory
    trajectory_time: float = 0.05  # s in which the trajectory controller goes to a point
    silent_after: float = 0.3  # s without joint states until the link counts as down
    moved: float = 0.05  # rad that the arm may differ from where it holds, until it holds anew
    gripper_commands: str = ""  # Float64MultiArray with one number; empty: no gripper
    gripper_sends: tuple[float, ...] = (-1.0, 1.0)  # that number for open, and for closed
    gripper_joint: str = ""  # in the joint states; empty: the gripper is not measured
    gripper_reads: tuple[float, ...] = (0.0, 1.0)  # its position when open, and when closed
    wrench: str = ""  # geometry_msgs/WrenchStamped; empty: none
    wrench_frame: str = "tool0"  # frame of the wrench that turns with the tool
    base_frame: str = "base"  # frame of a wrench that does not
    enabled: str = ""  # std_msgs/Bool, latched: motors on; empty: hearing joint states counts
    enable_service: str = ""  # std_srvs/Trigger for motors on; empty: none
    disable_service: str = ""  # for motors off
    stop_service: str = ""  # for the robot's own stop
    clear_service: str = ""  # for the robot to forget its errors

    def __post_init__(self) -> None:
        require(self, "trajectory_time", 0.005, 1.0)
        require(self, "silent_after", 0.02, 10.0)
        require(self, "moved", 0.001, 0.2)
        if not self.joints or len(set(self.joints)) != len(self.joints):
            raise ConfigError(f"joints are {list(self.joints)}: name each once")
        for name in ("gripper_sends", "gripper_reads"):
            pair = getattr(self, name)
            if len(pair) != 2 or pair[0] == pair[1]:
                raise ConfigError(f"{name} is {list(pair)}: give two numbers, open and closed")

    def services(self) -> tuple[str, ...]:
        """Names of the services, empty ones too."""
        return self.enable_service, self.disable_service, self.stop_service, self.clear_service


RESTART = 1.0  # s: a stamp that goes back by more is of a driver that was started again
STOPPED = "stopped by software: clear the fault, then enable"
# A command that does not arrive at once must never arrive. Otherwise the middleware would deliver
# the last one when a broken link is restored.
PRESENT = QoSProfile(
    reliability=COMMANDS.reliability,
    durability=COMMANDS.durability,
    history=COMMANDS.history,
    depth=COMMANDS.depth,
    lifespan=Duration(seconds=0.1),
)


@dataclass(frozen=True)
class Joints:
    """Robot state of one message."""

    stamp: float  # when it was received, steady clock [s]
    q: np.ndarray  # (n,) rad
    dq: np.ndarray  # (n,) rad/s
    gripper: float | None  # -1 open .. +1 closed


class JointReader:
    """Keeps the newest complete reading. Messages may have other joints, too, in any order."""

    def __init__(self, config: Ros2ControlConfig, problems: Counter[str]) -> None:
        self._config = config
        self._problems = problems
        self.forget()

    def forget(self) -> None:
        """Discard the robot state."""
        self.newest: Joints | None = None
        self._sent: int | None = None  # stamp of the newest message, ns
        self._gripper: float | None = None

    def read(self, message: JointState, now: float) -> None:
        """Read a message that was received at ``now``, or count its problem."""
        index = {name: i for i, name in enumerate(message.name)}
        self._read_gripper(message, index)
        found = [index[name] for name in self._config.joints if name in index]
        if not found:
            return  # of other joints altogether, such as a gripper's
        if problem := self._wrong(message, index, found):
            self._problems[problem] += 1
            return
        q = np.array([message.position[i] for i in found])
        dq = self._speeds(message, found, q, now)
        if not (np.isfinite(q).all() and np.isfinite(dq).all()):
            self._problems["joint positions that are not finite"] += 1
            return
        self._sent = _nanoseconds(message)
        self.newest = Joints(now, q, dq, self._gripper)

    def _wrong(self, message: JointState, index: dict[str, int], found: list[int]) -> str:
        missing = [name for name in self._config.joints if name not in index]
        if missing:
            return f"joint states without {', '.join(missing)}"
        if len(message.position) != len(message.name):
            return "joint states with more names than positions"
        sent = _nanoseconds(message)
        if sent and self._sent is not None and -RESTART * 1e9 < sent - self._sent <= 0:
            return "joint states that are not newer than the one before"
        return ""

    def _speeds(
        self, message: JointState, found: list[int], q: np.ndarray, now: float
    ) -> np.ndarray:
        """Measured speeds, or differences where the robot measures none."""
        if len(message.velocity) == len(message.name):
            return np.array([message.velocity[i] for i in found])
        before = self.newest
        if before is None or now <= before.stamp:
            return np.zeros_like(q)
        sent, last = _nanoseconds(message), self._sent
        seconds = (sent - last) * 1e-9 if sent and last and sent > last else now - before.stamp
        return (q - before.q) / seconds

    def _read_gripper(self, message: JointState, index: dict[str, int]) -> None:
        place = index.get(self._config.gripper_joint)
        if place is None or place >= len(message.position):
            return
        open_, closed = self._config.gripper_reads
        share = (message.position[place] - open_) / (closed - open_)
        if np.isfinite(share):
            self._gripper = float(np.clip(2.0 * share - 1.0, -1.0, 1.0))


class Ros2ControlBackend:
    """Joint states in, joint positions out; see `ptp_robot.backends.backend.Backend`.

    Messages are received in a thread of their own. No controller of ros2_control stops by itself
    when positions end to come (forward_command_controller has no watchdog, and the trajectory
    controller's is off by default): the arm moves to the last one. So each position must be safe,
    and `hold` repeats the position that the arm must hold.

    Args:
        node: that the topics belong to.
        config: names of topics and joints.
        tool: rotation (3, 3) in the base frame of the frame that the wrench is measured in, at
            joints (n,) [rad]. None: only a wrench in the base frame is taken.
        clock: steady clock [s].

    """

    interface: Interface = "position"

    def __init__(
        self,
        node: Node,
        config: Ros2ControlConfig | None = None,
        tool: Callable[[np.ndarray], np.ndarray] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config = config or Ros2ControlConfig()
        self.name = config.name
        self.joint_names = config.joints
        self.sent = 0  # commands, so far
        self._node, self._tool, self._clock = node, tool, clock
        self._lock = threading.Lock()
        self._problems: Counter[str] = Counter()
        self._reader = JointReader(config, self._problems)
        self._motors: bool | None = None  # as the robot reports; None: no report yet
        # When, as measured (6,), and whether that is in the tool's frame.
        self._wrench: tuple[float, np.ndarray, bool] | None = None
        self._released = self._stopped = False
        self._hold: np.ndarray | None = None  # position that the arm must hold
        self._open = False
        self._ends: list = []

    # Interface for the driver

    def connect(self) -> None:
        """Begin to listen."""
        if self._open:
            return
        node, config = self._node, self.config
        self._streams = Streams(node)
        subscribe = self._streams.subscribe
        self._ends = [subscribe(JointState, config.joint_states, self._heard, SENSOR)]
        if config.wrench:
            self._ends.append(subscribe(WrenchStamped, config.wrench, self._felt, SENSOR))
        if config.enabled:
            self._ends.append(subscribe(Bool, config.enabled, self._told, LATCHED))
        kind = Float64MultiArray if config.controller == "forward" else JointTrajectory
        self._commands = node.create_publisher(kind, config.commands, PRESENT)
        self._grips = None
        if config.gripper_commands:
            self._grips = node.create_publisher(
                Float64MultiArray, config.gripper_commands, PRESENT
            )
        self._services = {
            name: node.create_client(Trigger, name) for name in config.services() if name
        }
        self._open = True
        self._streams.start()

    def close(self) -> None:
        """Let the arm hold position, and remove the topics."""
        if not self._open:
            return
        with contextlib.suppress(BackendError):
            self.hold()
        self._open = False
        self._streams.stop()
        for subscription in self._ends:
            self._node.destroy_subscription(subscription)
        for publisher in (self._commands, self._grips):
            if publisher is not None:
                self._node.destroy_publisher(publisher)
        for client in self._services.values():
            self._node.destroy_client(client)
        with self._lock:
            self._reader.forget()

    def reading(self) -> JointReading | None:
        """The newest robot state; None if none arrived for `silent_after` seconds."""
        now = self._clock()
        with self._lock:
            heard = self._reader.newest
            if not self._open or heard is None or now - heard.stamp > self.config.silent_after:
                return None
            wrench, motors = self._wrench, self._motors
        on = bool(motors) if self.config.enabled else True
        return JointReading(
            stamp=heard.stamp,
            q=heard.q,
            dq=heard.dq,
            enabled=on and not self._released and not self._stopped,
            trouble=STOPPED if self._stopped else "",
            gripper=heard.gripper,
            wrench=self._in_base(wrench, heard.q, now),
        )

    def problems(self) -> dict[str, int]:
        """Counts of problems in the robot's messages."""
        with self._lock:
            return dict(self._problems)

    def enable(self) -> None:
        """Ask the robot for motors on, where it can be asked; else take commands again."""
        self._reach()
        if self._stopped:
            raise BackendError(STOPPED)
        self._released = False
        if self.config.enable_service:
            self._ask(self.config.enable_service)
        elif self.config.enabled and not self._motors:
            raise BackendError(
                f"{self.config.enabled} says that the motors are off, and no enable_service is "
                "set: switch them on at the robot"
            )

    def disable(self) -> None:
        """Ask the robot for motors off, where it can be asked; stand still, take no commands."""
        self.hold()
        self._released = True
        if self.config.disable_service:
            self._ask(self.config.disable_service)

    def stop(self) -> None:
        """Stand still, take no commands until cleared, and call the robot's own stop."""
        with contextlib.suppress(BackendError):
            self._reach()
            self._stopped = True
            self._hold = None  # where it is, not where it was meant to stay
            self._send(self._stay())
        with contextlib.suppress(BackendError):
            if self._open and self.config.stop_service:
                self._ask(self.config.stop_service)

    def clear(self) -> None:
        """Forget the stop, and ask the robot to forget its errors."""
        self._reach()
        self._stopped = False
        if self.config.clear_service:
            self._ask(self.config.clear_service)

    def command(self, q: np.ndarray, dq: np.ndarray) -> None:
        """Send q; dq is not sent, the controllers find their own speed."""
        self._reach()
        q, dq = np.asarray(q, dtype=np.float64), np.asarray(dq, dtype=np.float64)
        wanted = (len(self.joint_names),)
        if q.shape != wanted or dq.shape != wanted:
            raise BackendError(f"a command has {wanted} numbers twice, not {q.shape}, {dq.shape}")
        if not (np.isfinite(q).all() and np.isfinite(dq).all()):
            raise BackendError("a command that is not finite is not sent")
        if self._stopped:
            raise BackendError(STOPPED)
        if self._released:
            raise BackendError("the arm was disabled: enable it first")
        self._hold = None
        self._send(q)

    def hold(self) -> None:
        """Stay where the arm is, or where it was when it was told so first."""
        self._reach()
        self._send(self._stay())

    def grip(self, opening: float) -> None:
        """Send the opening in the units of the gripper's controller."""
        self._reach()
        if self._grips is None:
            raise NoGripper("no gripper: set gripper_commands of the back-end")
        if not np.isfinite(opening):
            raise BackendError("an opening that is not finite is not sent")
        open_, closed = self.config.gripper_sends
        share = (min(max(float(opening), -1.0), 1.0) + 1.0) / 2.0
        self._grips.publish(Float64MultiArray(data=[open_ + share * (closed - open_)]))
        self.sent += 1

    # Out

    def _reach(self) -> None:
        """Raise BackendError where a command would reach nobody."""
        if not self._open:
            raise BackendError("the back-end is not connected")
        if self.reading() is None:
            raise BackendError(
                f"no joint states on {self.config.joint_states} for {self.config.silent_after:g} "
                "s: start the robot's driver and its joint_state_broadcaster"
            )
        if not self._commands.get_subscription_count():
            raise BackendError(
                f"no controller listens to {self.config.commands}: activate it (ros2 control "
                "switch_controllers), or correct the name"
            )

    def _stay(self) -> np.ndarray:
        """Where to hold; anew, where somebody has moved the arm since."""
        with self._lock:
            q = self._reader.newest.q
        if self._hold is None or np.abs(q - self._hold).max() > self.config.moved:
            self._hold = q.copy()
        return self._hold

    def _send(self, q: Sequence[float]) -> None:
        positions = [float(value) for value in q]
        if self.config.controller == "forward":
            self._commands.publish(Float64MultiArray(data=positions))
        else:
            # Without velocities: a point that ends in motion is refused by the controller.
            point = JointTrajectoryPoint(positions=positions)
            point.time_from_start = Duration(seconds=self.config.trajectory_time).to_msg()
            self._commands.publish(
                JointTrajectory(joint_names=list(self.joint_names), points=[point])
            )
        self.sent += 1

    def _ask(self, name: str) -> None:
        client = self._services[name]
        if not client.service_is_ready():
            raise BackendError(f"the service {name} is not there: start the robot's driver")

        def answered(future) -> None:
            answer = future.result()
            if answer is not None and not answer.success:
                with self._lock:
                    self._problems[f"{name} failed: {answer.message}"] += 1

        client.call_async(Trigger.Request()).add_done_callback(answered)

    # In, in the streams' thread

    def _heard(self, message: JointState) -> None:
        with self._lock:
            self._reader.read(message, self._clock())

    def _told(self, message: Bool) -> None:
        with self._lock:
            self._motors = message.data

    def _felt(self, message: WrenchStamped) -> None:
        force, torque = message.wrench.force, message.wrench.torque
        values = np.array([force.x, force.y, force.z, torque.x, torque.y, torque.z])
        frame, base = message.header.frame_id, self.config.base_frame
        with self._lock:
            if not np.isfinite(values).all():
                self._problems["a wrench that is not finite"] += 1
            elif frame != base and (self._tool is None or frame != self.config.wrench_frame):
                known = self.config.wrench_frame if self._tool is not None else base
                self._problems[f'a wrench in frame "{frame}", not in "{known}"'] += 1
            else:
                self._wrench = self._clock(), values, frame != base

    def _in_base(
        self, felt: tuple[float, np.ndarray, bool] | None, q: np.ndarray, now: float
    ) -> np.ndarray | None:
        if felt is None or now - felt[0] > self.config.silent_after:
            return None
        _, values, turns = felt
        if not turns:
            return values
        rotation = self._tool(q)
        return np.concatenate([rotation @ values[:3], rotation @ values[3:]])


def _nanoseconds(message: JointState) -> int:
    stamp = message.header.stamp
    return stamp.sec * 10**9 + stamp.nanosec
