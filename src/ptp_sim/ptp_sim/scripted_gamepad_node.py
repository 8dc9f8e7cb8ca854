# SPDX-License-Identifier: Apache-2.0
"""Node: a scripted gamepad, which demonstrates tasks through `Joy` messages only."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
from ptp_interfaces.msg import ErrorCode, Latent, RecorderStatus, TableState
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from sensor_msgs.msg import Joy

from ptp_robot.teleoperation import GamepadMapping
from ptp_ros.diagnostics import ERROR, OK, Diagnostics
from ptp_ros.node_main import run
from ptp_ros.parameters import declare, parameter
from ptp_ros.topics import COMMANDS, JOY, LATCHED, LATENT, RECORDER_STATUS, TABLE_STATE
from ptp_sim.demonstrator import Demonstrator, DemonstratorPhase, Stuck
from ptp_sim.world import TableState as State

RATE = 50.0  # readings a second while no stick moves, Hz: a gamepad goes on talking
AGAIN = 2.0  # s without a new image, or its latent, until a reading is sent all the same


@dataclass(frozen=True)
class ScriptedGamepadParameters:
    """Parameters of the scripted_gamepad node. The mapping is the default one of teleop."""

    episodes: int = parameter(10, "demonstrations to save as success", minimum=1)
    grasp: str = parameter(
        "assisted", "how the gripper takes the block", choices=("assisted", "physical")
    )
    rate: float = parameter(
        10.0, "readings a second that move the arm, at most, Hz", minimum=0.1, maximum=60.0
    )
    speed: float = parameter(
        0.5, "part of the largest motion that a full stick asks for; as teleop's", minimum=0.01
    )
    max_steps: int = parameter(150, "control steps until it is saved as failure", minimum=1)
    noise: float = parameter(
        0.0, "standard deviation of what is added to each action", minimum=0.0, maximum=1.0
    )
    seed: int = parameter(0, "of that noise", minimum=0)
    stay: bool = parameter(False, "stay after the last episode instead of ending the process")


class ScriptedGamepadNode(Node):
    """Subscribes to the table's true state (sim_bridge's ``truth``) and the recorder's status."""

    def __init__(self, **options: Any) -> None:
        super().__init__("scripted_gamepad", **options)
        settings = self._settings = declare(self, ScriptedGamepadParameters)
        self.exit_code = 1
        self._script = Demonstrator(
            settings.episodes,
            physical=settings.grasp == "physical",
            mapping=GamepadMapping(),
            speed=settings.speed,
            max_steps=settings.max_steps,
            noise=settings.noise,
            seed=settings.seed,
        )
        self._problem = ""
        self._counted = 0
        self._joy = self.create_publisher(Joy, JOY, COMMANDS)
        self.create_subscription(TableState, TABLE_STATE, self._seen, LATCHED)
        self.create_subscription(Latent, LATENT, self._encoded, LATCHED)
        self.create_subscription(RecorderStatus, RECORDER_STATUS, self._heard, LATCHED)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._period = 1.0 / settings.rate
        # Of the newest image, the one acted on, and the one that is encoded.
        self._seq = self._acted = self._latent = -1
        self._last = -AGAIN  # when that was
        self.create_timer(1.0 / RATE, self._tick, clock=steady)
        Diagnostics(self, self._status)

    def _seen(self, message: TableState) -> None:
        names = State.__dataclass_fields__
        values = {name: getattr(message, name) for name in names}
        state = State(**{n: np.array(v) if np.ndim(v) else v for n, v in values.items()})
        seq, resets = message.observation_seq, message.resets
        self._seq = seq
        self._script.see(state, seq, message.task, resets, time.monotonic())
        self._tick()

    def _encoded(self, message: Latent) -> None:
        if message.error_code == ErrorCode.NONE:
            self._latent = message.seq
            self._script.hear_encoder()
            self._tick()

    def _heard(self, message: RecorderStatus) -> None:
        busy = (RecorderStatus.RECORDING, RecorderStatus.WAITING)
        self._script.hear(message.state in busy, message.episodes, time.monotonic())
        self._tell()

    def _tick(self) -> None:
        if self._script.phase is not DemonstratorPhase.ACT:
            self._publish()
            return
        # With one reading an image each motion is made once, however late messages are; and
        # with one image more than latents, the encoder, which takes the newest, skips none.
        ready = self._seq != self._acted and self._latent >= self._seq - 1
        wait = self._period if ready else AGAIN
        if time.monotonic() - self._last >= wait:
            self._last, self._acted = time.monotonic(), self._seq
            self._publish()

    def _publish(self) -> None:
        if self._problem:
            return
        try:
            reading = self._script.reading(time.monotonic())
        except Stuck as error:
            self._end(str(error))
            return
        message = Joy(axes=reading.axes, buttons=reading.buttons)
        message.header.stamp = self.get_clock().now().to_msg()
        self._joy.publish(message)

    def _tell(self) -> None:
        script = self._script
        count = script.successes + script.failures
        if count > self._counted:
            self._counted = count
            self.get_logger().info(
                f"demonstration {script.successes} of {self._settings.episodes}"
                + (f", {script.failures} failed" if script.failures else "")
            )
            if script.phase is DemonstratorPhase.DONE:
                self._end("")

    def _end(self, problem: str) -> None:
        self._problem = problem
        if problem:
            self.get_logger().error(problem)
        else:
            self.exit_code = 0
        if not self._settings.stay:
            rclpy.try_shutdown(context=self.context)

    def _status(self):
        script = self._script
        figures = {"successes": script.successes, "failures": script.failures}
        return (ERROR if self._problem else OK), self._problem or script.phase.value, figures


def main() -> int:
    """Entry point."""
    return run(ScriptedGamepadNode)
