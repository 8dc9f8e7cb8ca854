# SPDX-License-Identifier: Apache-2.0
"""Node: fake arm in memory with the interface of an arm under ros2_control.

ptp fake-controllers                                  type faults
ros2 run ptp_nodes fake_controllers                   the same node, where ros2 is installed
ros2 param set /fake_controllers fault nan_joints     set a fault; "" for none
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from ptp_core.errors import ConfigError
from ptp_robot.kinematics import ARM_JOINTS, REST_CONFIGURATION
from ptp_ros.node_main import background_node, run
from ptp_ros.parameters import declare, parameter
from ptp_ros.streams import Streams
from ptp_ros.topics import ARM_COMMANDS, COMMANDS, GRIPPER_COMMANDS, JOINT_STATES, LATCHED

FAULTS = {
    "drop_link": "nothing is said, nothing is heard",
    "freeze_joints": "no joint states come, commands are carried out",
    "nan_joints": "joint states hold what is no number",
    "lose_joint": "joint states lack the last joint",
    "refuse_enable": "the motors do not come on, with --motors",
}
GRIPPER_SPEED = 2.0  # openings a second
STROKE = 0.04  # m that the gripper's joint travels
HELP = "\n".join(
    (
        "type a fault to bring it about, `mend FAULT` to end it:",
        *(f"  {name:<15} {what}" for name, what in FAULTS.items()),
        "`show` says how the arm is, `quit` ends it",
    )
)


@dataclass(frozen=True)
class FakeControllersParameters:
    """Parameters of the fake_controllers node."""

    joints: tuple[str, ...] = parameter(ARM_JOINTS, "names of the joints")
    start: tuple[float, ...] = parameter(REST_CONFIGURATION, "where they are found, rad")
    speed: float = parameter(1.0, "top speed of each joint, rad/s", minimum=0.01, maximum=10.0)
    rate: float = parameter(
        100.0, "joint states a second, Hz; 0: one at each call of tick()", minimum=0.0
    )
    controller: str = parameter(
        "forward", "what takes positions", choices=("forward", "trajectory")
    )
    commands: str = parameter(ARM_COMMANDS, "its topic")
    motors: bool = parameter(
        False, "start with motors off, with the topic motors_on and the services motors/on, off"
    )


class FakeControllers(Node):
    """Goes to the last position at each joint's top speed, and says where it is."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, **options: Any) -> None:
        super().__init__("fake_controllers", **options)
        text = f"what goes wrong: {', '.join(FAULTS)}; empty: nothing"
        self.declare_parameter("fault", "", ParameterDescriptor(description=text))
        self._settings = settings = declare(self, FakeControllersParameters)
        if len(settings.start) != len(settings.joints):
            raise ConfigError(
                f"start has {len(settings.start)} numbers for {len(settings.joints)} joints"
            )
        self.faults: set[str] = set()
        self.received = 0  # commands that came over the link
        self._steady, self._time = clock, clock()
        self._q = np.array(settings.start)
        self._dq = np.zeros_like(self._q)
        self._goal = self._q.copy()
        self._gripper = self._gripper_goal = -1.0
        self._on = not settings.motors
        self._states = self.create_publisher(JointState, JOINT_STATES, COMMANDS)
        self._streams = Streams(self)
        forward = settings.controller == "forward"
        kind = Float64MultiArray if forward else JointTrajectory
        take = self._take_positions if forward else self._take_trajectory
        self._streams.subscribe(kind, settings.commands, take, COMMANDS)
        self._streams.subscribe(Float64MultiArray, GRIPPER_COMMANDS, self._take_grip, COMMANDS)
        if settings.motors:
            self._motors = self.create_publisher(Bool, "motors_on", LATCHED)
            self._motors.publish(Bool(data=False))
            self.create_service(Trigger, "motors/on", self._motors_on)
            self.create_service(Trigger, "motors/off", self._motors_off)
        self.add_on_set_parameters_callback(self._set)
        if settings.rate:
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self.create_timer(1.0 / settings.rate, self.tick, clock=steady)

    def start(self) -> None:
        """Take commands."""
        self._streams.start()

    def stop(self) -> None:
        """Take no more commands."""
        self._streams.stop()

    def tick(self) -> None:
        """Move by the time that has passed, and say where the joints are."""
        now = self._steady()
        passed, self._time = now - self._time, now
        if passed > 0.0 and self._on:
            reach = self._settings.speed * passed
            step = np.clip(self._goal - self._q, -reach, reach)
            self._q = self._q + step
            self._dq = step / passed
            reach = GRIPPER_SPEED * passed
            self._gripper += float(np.clip(self._gripper_goal - self._gripper, -reach, reach))
        if not self.faults & {"drop_link", "freeze_joints"}:
            self._states.publish(self._message())

    @property
    def motors(self) -> bool:
        """Whether its motors are on."""
        return self._on

    def joints(self) -> np.ndarray:
        """Where the arm really is, (n,) rad."""
        return self._q.copy()

    def place(self, q: np.ndarray) -> None:
        """Move the arm by hand, all at once; the controller forgets where it was going."""
        self._q = np.array(q, dtype=np.float64)
        self._goal, self._dq = self._q.copy(), np.zeros_like(self._q)

    def _message(self) -> JointState:
        # Another joint first, and all in another order, as real ones may have it.
        names = ["head_pan", *reversed(self._settings.joints), "finger_joint"]
        positions = [0.0, *self._q[::-1], 0.5 * STROKE * (1.0 - self._gripper)]
        speeds = [0.0, *self._dq[::-1], 0.0]
        if "nan_joints" in self.faults:
            positions[1] = float("nan")
        message = JointState(name=names, position=positions, velocity=speeds)
        if "lose_joint" in self.faults:
            del message.name[1], message.position[1], message.velocity[1]
        message.header.stamp = self.get_clock().now().to_msg()
        return message

    def _take_positions(self, message: Float64MultiArray) -> None:
        self._go(list(message.data))

    def _take_trajectory(self, message: JointTrajectory) -> None:
        names = list(message.joint_names)
        if len(message.points) == 1 and set(names) == set(self._settings.joints):
            at = dict(zip(names, message.points[0].positions, strict=True))
            self._go([at[name] for name in self._settings.joints])
        else:
            self._go([])

    def _go(self, positions: list[float]) -> None:
        self.received += 1
        if "drop_link" in self.faults or not self._on:
            return
        if len(positions) != len(self._q):
            self.get_logger().error(
                f"a command of {len(positions)} positions is ignored", throttle_duration_sec=1.0
            )
            return
        self._goal = np.array(positions)

    def _take_grip(self, message: Float64MultiArray) -> None:
        self.received += 1
        if "drop_link" not in self.faults and self._on and len(message.data) == 1:
            self._gripper_goal = float(np.clip(message.data[0], -1.0, 1.0))

    def _motors_on(self, request: Trigger.Request, response: Trigger.Response):
        response.success = "refuse_enable" not in self.faults
        if response.success:
            self._goal = self._q.copy()
            self._turn(True)
        else:
            response.message = "the motors do not come on"
        return response

    def _motors_off(self, request: Trigger.Request, response: Trigger.Response):
        self._turn(False)
        response.success = True
        return response

    def _turn(self, on: bool) -> None:
        self._on = on
        self._dq = np.zeros_like(self._q)
        self._motors.publish(Bool(data=on))

    def _set(self, parameters: list[Parameter]) -> SetParametersResult:
        for given in parameters:
            if given.name == "fault":
                if given.value and given.value not in FAULTS:
                    reason = f'no fault "{given.value}": use one of {", ".join(FAULTS)}'
                    return SetParametersResult(successful=False, reason=reason)
                self.faults = {given.value} if given.value else set()
        return SetParametersResult(successful=True)


def serve(
    lines: Iterable[str], say: Callable[[str], None], domain: int | None = None, **values: Any
) -> None:
    """Run the node with these parameters while obeying ``lines``; return at `quit`.

    The end of the lines is no end: without a terminal it runs until KeyboardInterrupt.
    ``domain`` None: that of ROS_DOMAIN_ID.
    """
    given = [Parameter(name, value=value) for name, value in values.items()]
    with background_node(
        lambda context: FakeControllers(context=context, parameter_overrides=given), domain
    ) as node:
        node.start()
        try:
            say(f"fake controllers on ROS domain {node.context.get_domain_id()}\n{HELP}")
            for line in lines:
                words = line.split()
                if words[:1] == ["quit"]:
                    return
                if words:
                    say(_obey(node, words))
            threading.Event().wait()
        finally:
            node.stop()


def _obey(node: FakeControllers, words: list[str]) -> str:
    match words:
        case ["show"]:
            q = np.round(node.joints(), 3).tolist()
            faults = ", ".join(sorted(node.faults)) or "none"
            motors = "on" if node.motors else "off"
            return f"motors {motors}, joints {q}, {node.received} commands, faults: {faults}"
        case ["mend", name] if name in FAULTS:
            node.faults = node.faults - {name}
            return f"{name} is over"
        case [name] if name in FAULTS:
            node.faults = node.faults | {name}
            return f"{name}: {FAULTS[name]}"
    return f"not understood: {' '.join(words)}\n{HELP}"


def main() -> int:
    """Entry point."""
    return run(FakeControllers)
