# SPDX-License-Identifier: Apache-2.0
"""Node: the simulated table in place of camera and arm driver, with their topics and services."""

from __future__ import annotations

import functools
import time
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from ptp_interfaces.msg import ArmState, CartesianDelta, ErrorCode
from ptp_interfaces.srv import Rearm
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import JointState

from ptp_core.errors import InputError
from ptp_robot.command import Arbiter, CommandSource
from ptp_robot.driver_core import LoopMeter
from ptp_robot.kinematics import ARM_JOINTS
from ptp_ros.arm_state_messages import ArmReading, fill_motion
from ptp_ros.diagnostics import ERROR, OK, WARN, Diagnostics
from ptp_ros.node_main import run
from ptp_ros.request_errors import RequestError, fill_error
from ptp_ros.streams import HistoryPublisher
from ptp_ros.topics import (
    ARM_STATE,
    BASE_FRAME,
    COMMANDS,
    COMMANDS_FROM,
    JOINT_STATES,
    KEPT,
    REARM,
)
from ptp_sim.stepping import simulated_time
from ptp_sim.table_node import FINGER_JOINT, SimBridgeParameters, TableNode

CLOCK_EVERY = 4  # control steps between two ticks of simulated time


class SimBridgeNode(TableNode):
    """Publishes what a camera and an arm driver would, and executes `CartesianDelta`.

    Without commands the table does not move. A command that is refused moves nothing; the reason
    is logged and stands in the next ArmState. So is a policy's that answers no observation, or
    one that is too old; in lock-step another image follows, so that nothing stalls. In real
    time a person's command is executed just before the next image, the newest one if there
    are several; so an image, that command and the next image belong together, as they do for
    a policy.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("sim_bridge", SimBridgeParameters, **options)
        settings = self._settings
        self._arbiter = Arbiter(settings.dead_man_patience)
        self._refused = self._late = self._held_off = 0
        self._meter = LoopMeter()
        self._waiting: tuple | None = None  # a person's command: message, motion, when it came
        self._state = ArmState()
        self._states = HistoryPublisher(self, ArmState, ARM_STATE, KEPT)
        self._joints = self.create_publisher(JointState, JOINT_STATES, COMMANDS)
        self._lock_step = settings.mode == "lock_step"
        if self._lock_step:
            self._times = self.create_publisher(ClockMessage, "/clock", COMMANDS)
        for source in CommandSource:
            arrived = functools.partial(self._arrived, source)
            self._streams.subscribe(CartesianDelta, COMMANDS_FROM[source], arrived, COMMANDS)
        self.create_service(Rearm, REARM, self._alone(self._rearm))
        Diagnostics(self, self._status)
        if not self._lock_step:
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self.create_timer(1.0 / settings.rate, self._alone(self._tick), clock=steady)

    def _begin(self) -> None:
        self._waiting = None
        self._open = self._env.world.arm.opening()  # a reset opens the gripper
        self._before = self._arm()
        self._state = ArmState(holding=True)

    def _control_rate(self) -> float:
        return 0.0 if self._lock_step else self._settings.rate

    def _rearm(self, request: Rearm.Request, response: Rearm.Response):
        if not self._arbiter.rearm(time.monotonic()):
            error = "a person holds the arm: let go of the dead-man switch first"
            return fill_error(response, RequestError(ErrorCode.BUSY, error))
        self.get_logger().info("rearmed: policies may move the arm")
        # The policy's answer to the last image was refused: ask again with a new one.
        self._look_again()
        return response

    def _arrived(self, source: CommandSource, message: CartesianDelta) -> None:
        arrived = time.monotonic()  # before waiting for the lock on the table
        with self._lock:
            self._commanded(source, message, arrived)

    def _commanded(self, source: CommandSource, message: CartesianDelta, arrived: float) -> None:
        """Validate, then ask who may move the arm, then move it."""
        if message.source != source:
            topic = COMMANDS_FROM[source]
            error = f"the command's source is {message.source}, and {topic} is that of {source}"
            self._refuse(InputError(error))
            return
        person = source is CommandSource.TELEOP
        if person:
            self._waiting = None  # replaced by a newer command, or the switch was released
            if not message.dead_man:  # it moves nothing, so it is accepted whatever else is wrong
                self._arbiter.admits(source, False, arrived)
                self._held_off += 1
                return
        try:
            delta = self._gate.check(
                message.header.frame_id,
                BASE_FRAME,
                message.dx,
                message.dy,
                message.dz,
                message.dyaw,
                message.gripper,
            )
        except InputError as error:
            self._refuse(error)
            return
        answers = source is CommandSource.POLICY or message.observation_seq != 0
        if answers and not any(delta.translation) and not (delta.dyaw or message.observation_seq):
            self._look_again()  # it asks to hold, as the arm does, and for an image
            return
        late = self._gate.arrived(message.observation_seq, arrived) if answers else ""
        if late:
            self._too_late(message, late)
            return
        before = self._arbiter.taken_over
        if not self._arbiter.admits(source, message.dead_man, arrived):
            self._held_off += 1
            return
        if self._arbiter.taken_over and not before:
            self.get_logger().info("a person took over: policies wait for rearm")
        if person and self._task and not self._lock_step:
            self._waiting = message, delta, arrived
            return
        if not self._gate.is_open:
            self._late += 1  # there was a command since the last image, or there is no scene
            return
        late = self._gate.refusal(message.observation_seq, time.monotonic()) if answers else ""
        if late:
            self._too_late(message, late)
            return
        image = self._carry_out(message, delta, arrived)
        if self._lock_step:
            self._gate.observed(time.monotonic())
            self._publish(image)
        self._publish_image()

    def _carry_out(self, message: CartesianDelta, delta, arrived: float) -> np.ndarray:
        """One control step; the image after it. ``arrived``: when the command did [s]."""
        image, _, _, _, info = self._env.apply(delta)
        self._count_step(info)
        latency = self._gate.age(message.observation_seq, arrived)
        self._gate.moved(message.observation_seq, time.monotonic())
        self._state = ArmState(command_seq=message.seq, latency=latency, moved=True)
        self._state.command = message
        return image

    def _refuse(self, error: Exception) -> None:
        self._refused += 1
        self.get_logger().error(f"holding still: {error}", throttle_duration_sec=1.0)
        fill_error(self._state, RequestError(ErrorCode.BAD_COMMAND, str(error)))
        if self._lock_step:
            self._publish_state()  # no image will follow that would carry the reason

    def _too_late(self, message: CartesianDelta, reason: str) -> None:
        """Refuse an answer. In lock-step whoever gave it waits for an image that never comes."""
        self._late += 1
        self.get_logger().warning(f"holding still: {reason}", throttle_duration_sec=1.0)
        fill_error(self._state, RequestError(ErrorCode.STALE_OBSERVATION, reason))
        if message.observation_seq == self._gate.observation_seq:
            self._look_again()

    def _look_again(self) -> None:
        """In lock-step, while no person has the arm: another image of the same scene."""
        if self._lock_step and self._task and not self._arbiter.taken_over:
            self._gate.observed(time.monotonic())
            self._publish(self._env.world.observe())

    def _tick(self) -> None:
        self._meter.tick(time.monotonic())
        if missed := self._meter.missed(1.0 / self._settings.rate):
            self.get_logger().warning(missed)
        if not self._task:
            return
        self._publish_image()  # still due: no command came since the last image
        image = None
        if self._waiting is not None and not self._arbiter.held(time.monotonic()):
            self._waiting = None  # the person's device fell silent
        if self._waiting is not None and self._gate.is_open:  # else a policy was faster
            waiting, self._waiting = self._waiting, None
            image = self._carry_out(*waiting)
        self._gate.observed(time.monotonic())
        self._publish(self._env.world.observe() if image is None else image)

    def _stamp(self) -> Time:
        """Simulated time in lock-step, else ROS time."""
        if not self._lock_step:
            return super()._stamp()
        nanoseconds = simulated_time(self._gate.observation_seq, self._env.world.step_seconds)
        return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)

    def _publish(self, pixels: np.ndarray) -> None:
        stamp = self._stamp()
        if self._lock_step and self._steps % CLOCK_EVERY == 0:
            self._times.publish(ClockMessage(clock=stamp))
        self._publish_observation(pixels, stamp)
        self._publish_state()
        self._state = ArmState(holding=True)

    def _arm(self) -> ArmReading:
        arm = self._env.world.arm
        return ArmReading(*arm.pose(), arm.joint_positions(), arm.setpoint)

    def _publish_state(self) -> None:
        state, stamp = self._state, self._stamp()
        now = self._arm()
        state.header.stamp = stamp
        state.header.frame_id = BASE_FRAME
        state.observation_seq = self._gate.observation_seq
        fill_motion(state, self._before, now, self._env.world.step_seconds)
        state.joint_names = list(ARM_JOINTS)
        state.gripper = 1.0 - 2.0 * min(self._env.world.arm.opening() / self._open, 1.0)
        state.taken_over = self._arbiter.taken_over
        self._states.publish(state)
        self._before = now
        if not self._joints.get_subscription_count():
            return
        # The other finger mimics this one.
        joints = JointState(name=[*ARM_JOINTS, FINGER_JOINT])
        joints.position = [*state.joint_positions, self._env.world.arm.opening() / 2]
        joints.header = state.header
        self._joints.publish(joints)

    def _status(self):
        figures = {
            "mode": self._settings.mode,
            "task": self._task or "none",
            "observation": self._gate.observation_seq,
            "steps": self._steps,
            "refused": self._refused,
            "late": self._late,
            "age_limit": self._gate.age_limit,
            "held off": self._held_off,
            "taken over": self._arbiter.taken_over,
        }
        if self._state.error_code != ErrorCode.NONE:
            return ERROR, self._state.error_msg, figures
        if not self._task:
            return WARN, "waiting for a reset", figures
        return OK, "running", figures


def main() -> int:
    """Entry point."""
    return run(SimBridgeNode)
