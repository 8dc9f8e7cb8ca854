# SPDX-License-Identifier: Apache-2.0
"""Node: arm driver. `ptp_robot.arm_driver` decides; this node converts messages."""

from __future__ import annotations

import functools
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ptp_interfaces.msg import ArmState, CartesianDelta, DriverState, ErrorCode, Observation
from ptp_interfaces.srv import Rearm
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from ptp_nodes.robot.backend_registry import make_backend
from ptp_nodes.robot.robot_messages import (
    arm_reading,
    arm_state,
    driver_state,
    joint_state,
    to_command,
)
from ptp_robot.arm_driver import ArmDriver, DriverError, PreflightGate
from ptp_robot.backends.backend import BackendError
from ptp_robot.driver_core import ArmDriverState
from ptp_robot.robot_file import RobotConfig, limits_digest, load_robot, read_kinematics
from ptp_ros.arm_state_messages import ArmReading, Transforms
from ptp_ros.diagnostics import ERROR, OK, WARN, Diagnostics
from ptp_ros.lifecycle import ManagedNode, ManagedParameters
from ptp_ros.node_main import run
from ptp_ros.parameters import parameter
from ptp_ros.request_errors import RequestError, fill_error
from ptp_ros.streams import HistoryPublisher
from ptp_ros.topics import (
    ARM_PREFLIGHT,
    ARM_STATE,
    BASE_FRAME,
    CLEAR_FAULT,
    COMMANDS,
    COMMANDS_FROM,
    DISABLE,
    DRIVER_STATE,
    ENABLE,
    JOINT_STATES,
    KEPT,
    LATCHED,
    OBSERVATION,
    REARM,
    RECORDS,
    RESET_POSE,
    STOP,
)
from ptp_ros.worker import RateLoop

TOOL, SETPOINT = "arm_tool", "arm_setpoint"  # frames
LEVELS = {
    ArmDriverState.FAULT: ERROR,
    ArmDriverState.DISCONNECTED: WARN,
    ArmDriverState.DISABLED: WARN,
    ArmDriverState.HOLD: WARN,
}


@dataclass(frozen=True)
class ArmDriverParameters(ManagedParameters):
    """Parameters of the arm_driver node; all that concerns the robot stands in its file."""

    robot_file: str = parameter(
        "", "the robot's file, config/robots/NAME.yaml; empty: an ideal arm in memory"
    )
    preflight: bool = parameter(
        True, "refuse to enable until ptp doctor --real has passed for these limits, lately"
    )
    state_rate: float = parameter(
        10.0, "messages a second on arm/driver_state, Hz", minimum=1.0, maximum=50.0
    )


class ArmDriverNode(ManagedNode):
    """Runs an `ArmDriver` at 100 Hz and passes it commands and observations.

    ``clock``: for tests, which then call `cycle` themselves; steady time [s] otherwise.
    """

    parameters_type = ArmDriverParameters

    def __init__(self, clock: Callable[[], float] | None = None, **options: Any) -> None:
        super().__init__("arm_driver", **options)
        self._now = clock or time.monotonic
        self._by_hand = clock is not None
        self._lock = threading.Lock()  # on the driver
        self._robot = RobotConfig()
        self._driver: ArmDriver | None = None
        self._beat: RateLoop | None = None
        self._digest = ""
        self._preflight = PreflightGate()
        self._before: tuple[ArmReading, float] | None = None  # the arm at the last image, when
        self._state_published = -1.0  # when the driver's state was published last
        self._states = HistoryPublisher(self, ArmState, ARM_STATE, KEPT)
        self._driver_states = self.create_publisher(DriverState, DRIVER_STATE, LATCHED)
        self._joints = self.create_publisher(JointState, JOINT_STATES, COMMANDS)
        self._transforms = Transforms(self)
        for source, topic in enumerate(COMMANDS_FROM):
            arrived = functools.partial(self._arrived, source)
            self.streams.subscribe(CartesianDelta, topic, arrived, COMMANDS)
        self.streams.subscribe(Observation, OBSERVATION, self._alone(self._observed), RECORDS)
        for name, ask in (
            (ENABLE, self._enable),
            (DISABLE, lambda driver: driver.disable()),
            (STOP, lambda driver: driver.stop()),
            (RESET_POSE, lambda driver: driver.reset_pose(self._now())),
            (CLEAR_FAULT, lambda driver: driver.clear_fault()),
        ):
            self.create_service(Trigger, name, functools.partial(self._ask, name, ask))
        take = self._alone(lambda report: self._preflight.take(report.data))
        self.create_subscription(String, ARM_PREFLIGHT, take, LATCHED)
        self.create_service(Rearm, REARM, self._alone(self._rearm))
        Diagnostics(self, self._alone(self._status))

    def stop(self) -> None:
        """Let the arm hold position, and release it."""
        super().stop()
        self._let_go()

    def _alone(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """The callback, while no other has the driver."""

        @functools.wraps(callback)
        def alone(*arguments: Any) -> Any:
            with self._lock:
                return callback(*arguments)

        return alone

    def _configure(self) -> None:
        path = self.parameters.robot_file
        self._robot = robot = load_robot(path) if path else RobotConfig()
        arm = read_kinematics(robot)
        try:
            backend = make_backend(robot.name, self, robot.backend, path, self._now)
        except BackendError as error:
            raise RequestError(ErrorCode.UNAVAILABLE, str(error)) from error
        limits, (low, high) = robot.limits, robot.limits.box
        self._digest = limits_digest(robot, arm)
        self._driver = ArmDriver(backend, arm, robot)
        self._beat = RateLoop(limits.period, self.cycle, "arm_driver")
        self.get_logger().info(
            f"{robot.name} ({backend.interface}), commands add to the {robot.reference}, limits "
            f"{self._digest}: {limits.speed:g} m/s, {limits.step:g} m a step, joints at "
            f"{100 * limits.joint_speed_ratio:g} %, box {low.round(3).tolist()} to "
            f"{high.round(3).tolist()} m"
        )

    def _activate(self) -> None:
        try:
            self._driver.backend.connect()
        except BackendError as error:
            raise RequestError(ErrorCode.UNAVAILABLE, str(error)) from error
        if not self._by_hand:
            self._beat.start()

    def _deactivate(self) -> None:
        self._let_go()
        self._configure()
        self._publish_state(self._now(), str(self.problem))  # the last word was of a live arm

    def _cleanup(self) -> None:
        self._driver = None

    def _let_go(self) -> None:
        if self._beat is not None:
            self._beat.stop()
        with self._lock:
            if self._driver is not None:
                self._driver.backend.close()

    def cycle(self) -> None:
        """Run one cycle of the driver and publish its state. An exception becomes a fault."""
        with self._lock:
            now = self._now()
            for part in (self._driver.step, self._say, self._say_joints):
                try:
                    part(now)
                except Exception as error:
                    self.get_logger().error(
                        f"the cycle failed\n{traceback.format_exc()}", throttle_duration_sec=1.0
                    )
                    self._driver.fail(f"the driver failed ({error}): see its log")

    def _say_joints(self, now: float) -> None:
        driver = self._driver
        reading = driver.reading
        if reading is None or not self._robot.joint_states:
            return
        if self._joints.get_subscription_count():
            joints = joint_state(driver.backend.joint_names, reading, not self._robot.urdf)
            joints.header.stamp = self.get_clock().now().to_msg()
            self._joints.publish(joints)

    def _say(self, now: float) -> None:
        """Log and publish changes and a loop that is slow; the state at its rate besides."""
        driver = self._driver
        if missed := driver.meter.missed(self._robot.limits.period):
            self.get_logger().warning(missed)
        for before, after, reason in driver.changes:
            text = f"{before.name} to {after.name}" + (f": {reason}" if reason else "")
            if after is ArmDriverState.FAULT:
                self.get_logger().error(text)
            else:
                self.get_logger().info(text)
        if not driver.changes and now - self._state_published < 1.0 / self.parameters.state_rate:
            return
        driver.changes.clear()
        self._state_published = now
        self._publish_state(now)

    def _publish_state(self, now: float, reason: str = "") -> None:
        state = driver_state(self._driver, self._digest, self._robot.reference, now)
        state.reason = reason or state.reason
        state.header.stamp = self.get_clock().now().to_msg()
        state.header.frame_id = BASE_FRAME
        self._driver_states.publish(state)

    def _arrived(self, source: int, message: CartesianDelta) -> None:
        arrived = self._now()  # before others let go of the driver
        with self._lock:
            self._commanded(message, source, arrived)

    def _commanded(self, message: CartesianDelta, source: int, arrived: float) -> None:
        if not self.active:
            return
        command = to_command(message, self.get_clock().now().nanoseconds, source)
        refused = self._driver.command(command, self._now(), arrived)
        if refused:
            self.get_logger().warning(
                f"command {message.seq}: {refused}", throttle_duration_sec=1.0
            )

    def _observed(self, message: Observation) -> None:
        """Publish the ArmState of this observation."""
        if not self.active:
            return
        now = self._now()
        interval = self._driver.observed(message.seq, now)
        measured = arm_reading(interval)
        if measured is None:
            return  # the robot was never heard
        before, then = self._before or (measured, now)
        state = arm_state(self._driver, interval, before, now - then)
        state.header.stamp = self.get_clock().now().to_msg()
        state.header.frame_id = BASE_FRAME
        state.observation_seq = message.seq
        self._states.publish(state)
        self._before = measured, now
        self._transforms.send(state.header, {TOOL: state.pose, SETPOINT: state.setpoint})

    def _ask(
        self,
        name: str,
        ask: Callable[[ArmDriver], str],
        request: Trigger.Request,
        response: Trigger.Response,
    ) -> Trigger.Response:
        with self._lock:
            try:
                self.require_active()
                response.message = ask(self._driver)
                response.success = True
            except (DriverError, RequestError) as error:
                response.message = str(error)
            self.get_logger().info(f"{name}: {response.message}")
        return response

    def _enable(self, driver: ArmDriver) -> str:
        if self.parameters.preflight:
            # The report is of another process, perhaps of another machine: compare system time.
            refused = self._preflight.refusal(time.time(), self._digest, self._robot.name)
            if refused:
                raise DriverError(refused)
        return driver.enable(self._now())

    def _rearm(self, request: Rearm.Request, response: Rearm.Response) -> Rearm.Response:
        try:
            self.require_active()
            self._driver.rearm(self._now())
        except DriverError as error:
            return fill_error(response, RequestError(ErrorCode.BUSY, str(error)))
        except RequestError as error:
            return fill_error(response, error)
        self.get_logger().info("rearmed: policies may move the arm")
        return response

    def _status(self):
        if not self.active:
            return ERROR, str(self.problem), {"robot file": self.parameters.robot_file}
        driver, counts = self._driver, self._driver.counts
        figures = {
            "state": driver.state.name,
            "back-end": driver.name,
            "limits": self._digest,
            "loop rate": driver.meter.rate,
            "loop worst": driver.meter.worst,
            **vars(counts),
            **driver.backend.problems(),
        }
        level = LEVELS.get(driver.state, OK)
        return level, driver.reason or driver.state.name.lower(), figures


def main() -> int:
    """Entry point."""
    return run(ArmDriverNode)
