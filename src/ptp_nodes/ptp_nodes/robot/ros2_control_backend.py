# SPDX-License-Identifier: Apache-2.0
"""Back-end for an arm under ros2_control, over its topics. The simulated table uses it, too."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from geometry_msgs.msg import WrenchStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from ptp_nodes.robot.robot_messages import JointReader
from ptp_nodes.robot.ros2_control_config import Ros2ControlConfig
from ptp_robot.backends.backend import BackendError, Interface, JointReading, NoGripper
from ptp_ros.streams import Streams
from ptp_ros.topics import COMMANDS, LATCHED, SENSOR

__all__ = ["Ros2ControlBackend", "Ros2ControlConfig"]

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
