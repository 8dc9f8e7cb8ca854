# SPDX-License-Identifier: Apache-2.0
"""Node: teleoperation. An operator moves the arm, records demonstrations, and rearms policies."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from ptp_interfaces.msg import CartesianDelta, ErrorCode
from ptp_interfaces.srv import Rearm
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node

from ptp_nodes.operator.episode_buttons import EpisodeButtons, SceneSettings
from ptp_nodes.operator.operator_inputs import (
    Input,
    JoyInput,
    KeyboardInput,
    SpacenavInput,
    TwistInput,
)
from ptp_robot.action import ActionScale
from ptp_robot.teleoperation import Button, GamepadMapping, SpaceMouseMapping
from ptp_ros.diagnostics import ERROR, OK, WARN, Diagnostics
from ptp_ros.node_main import run
from ptp_ros.parameters import declare, parameter
from ptp_ros.standard_publishers import CommandParts
from ptp_ros.topics import BASE_FRAME, COMMANDS, REARM, TELEOP_COMMAND

PAD = GamepadMapping()
CAP = SpaceMouseMapping()
SCALE = ActionScale()
# Source -> s without news until the device counts as let go.
PATIENCE = {"joy": 0.2, "spacenav": 0.2, "keyboard": 0.25, "twist": 0.3}


@dataclass(frozen=True)
class TeleopParameters:
    """Parameters of the teleop node; a gamepad's axes and buttons are numbered as by joy_node."""

    source: str = parameter(
        "joy",
        "joy: gamepad; spacenav: SpaceMouse; keyboard: a terminal; twist: another program",
        choices=tuple(PATIENCE),
    )
    pace: str = parameter(
        "rate",
        "rate: so many commands a second; readings: one for each reading of the device, for a "
        "program that waits to see what its reading did",
        choices=("rate", "readings"),
    )
    rate: float = parameter(10.0, "commands a second, Hz", minimum=1.0, maximum=60.0)
    patience: float = parameter(
        0.0,
        "s without news until the device counts as let go; 0: as fits the source (joy, spacenav "
        "0.2; keyboard 0.25; twist 0.3)",
        minimum=0.0,
        maximum=1.0,
    )
    speed: float = parameter(
        0.5, "part of the largest motion that a full stick asks for", minimum=0.01, maximum=1.0
    )
    tasks: tuple[str, ...] = parameter(
        ("",), "what is demonstrated, scene by scene in turn; copied into each episode"
    )
    instruction: str = parameter(
        "",
        "what is demonstrated, in words; copied into each episode; empty: the words of the scene. "
        "A message on teleop/instruction changes it for the episodes that begin afterwards",
    )
    protocol: str = parameter("", "paper or varied, as the scene's; copied into each episode")
    seed: int = parameter(0, "of the first scene; the next scene has the next", minimum=0)
    set_up: bool = parameter(
        False, "ask the simulation for a scene: at the start, and with the button"
    )
    tty: str = parameter("", "terminal whose keys are read; empty: the one teleop runs in")
    axis_x: int = parameter(PAD.axis_x, "forward and back", minimum=0)
    axis_y: int = parameter(PAD.axis_y, "left and right", minimum=0)
    axis_z: int = parameter(PAD.axis_z, "up and down", minimum=0)
    axis_yaw: int = parameter(PAD.axis_yaw, "turn left and right", minimum=0)
    button_dead_man: int = parameter(PAD.button_dead_man, "held while the arm is moved", minimum=0)
    button_close: int = parameter(PAD.button_close, "close the gripper", minimum=0)
    button_open: int = parameter(PAD.button_open, "open the gripper", minimum=0)
    button_rearm: int = parameter(PAD.button_rearm, "give the arm back to the policy", minimum=0)
    button_start: int = parameter(PAD.button_start, "start an episode", minimum=0)
    button_success: int = parameter(PAD.button_success, "save it as success", minimum=0)
    button_failure: int = parameter(PAD.button_failure, "save it as failure", minimum=0)
    button_discard: int = parameter(PAD.button_discard, "discard it", minimum=0)
    button_rerecord: int = parameter(
        PAD.button_rerecord, "discard it and record it again", minimum=0
    )
    button_reset: int = parameter(PAD.button_reset, "set up the next scene", minimum=0)
    dead_zone: float = parameter(
        PAD.dead_zone, "of an axis around its rest", minimum=0.0, maximum=0.9
    )
    cap_full: float = parameter(
        CAP.full, "reading of the SpaceMouse's cap pushed all the way", minimum=0.01
    )
    cap_dead_zone: float = parameter(
        CAP.dead_zone, "of the SpaceMouse's cap around its rest", minimum=0.0, maximum=0.9
    )
    cap_left: int = parameter(CAP.left, "left button of the SpaceMouse", minimum=0)
    cap_right: int = parameter(CAP.right, "right button of the SpaceMouse", minimum=0)
    cap_rearm: int = parameter(
        CAP.rearm, "button of the SpaceMouse that gives the arm back, if there is one", minimum=0
    )


def make_input(node: Node, settings: TeleopParameters, changed: Callable[[], None]) -> Input:
    """The input that the parameters name."""
    patience = settings.patience or PATIENCE[settings.source]
    if settings.source == "joy":
        names = [field.name for field in fields(GamepadMapping)]
        mapping = GamepadMapping(**{name: getattr(settings, name) for name in names})
        return JoyInput(node, changed, mapping, patience)
    if settings.source == "spacenav":
        names = ("full", "dead_zone", "left", "right", "rearm")
        cap = SpaceMouseMapping(**{name: getattr(settings, f"cap_{name}") for name in names})
        return SpacenavInput(node, changed, cap, patience)
    if settings.source == "keyboard":
        return KeyboardInput(node, changed, settings.tty, patience)
    return TwistInput(node, changed, 1.0 / settings.rate, patience)


class TeleopNode(Node):
    """Reads a device; publishes `CartesianDelta` while its dead-man switch is held.

    When the switch is released, the device is silent or a reading is invalid, it sends one command
    that holds position. Buttons record episodes, set up scenes and rearm policies.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("teleop", **options)
        self._settings = settings = declare(self, TeleopParameters)
        # A velocity is meant as it is; a stick's full way is a matter of taste.
        speed = 1.0 if settings.source == "twist" else settings.speed
        self._scale = ActionScale(SCALE.translation * speed, SCALE.rotation * speed)
        self._each_reading = settings.pace == "readings"
        self._seq = 0
        self._holding = False
        self._commands = self.create_publisher(CartesianDelta, TELEOP_COMMAND, COMMANDS)
        # Not of another program's velocities: whoever sends and reads would hear itself.
        from_device = settings.source != "twist"
        self._parts = CommandParts(self, settings.rate) if from_device else None
        self._rearm = self.create_client(Rearm, REARM)
        self._episodes = EpisodeButtons(
            self,
            SceneSettings(
                settings.tasks,
                settings.protocol,
                settings.seed,
                settings.set_up,
                settings.instruction,
            ),
        )
        self._input = make_input(self, settings, self._changed)
        self.create_timer(
            1.0 / settings.rate, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        Diagnostics(self, self._status)
        self.get_logger().info(self._input.description)
        self.get_logger().info(self._input.waiting)

    def stop(self) -> None:
        """Give the device back."""
        self._input.close()

    def _changed(self) -> None:
        device = self._input.device
        held = device.holds(time.monotonic())
        if (held and self._each_reading) or (self._holding and not held):
            self._command()  # at once, not with the next tick
        for button in device.take_presses():
            if button is Button.REARM:
                self._give_back()
            else:
                self._episodes.press(button)

    def _tick(self) -> None:
        now = time.monotonic()
        self._input.look(now)
        if not (self._each_reading and self._input.device.holds(now)):
            self._command()

    def _command(self) -> None:
        move = self._input.device.move(time.monotonic())
        self._holding = move is not None and move.dead_man
        if move is None:
            return
        self._seq += 1
        command = CartesianDelta(seq=self._seq, source=CartesianDelta.TELEOP)
        command.header.stamp = self.get_clock().now().to_msg()
        command.header.frame_id = BASE_FRAME
        for name, value in vars(self._scale.to_delta(move.action)).items():
            setattr(command, name, value)
        command.dead_man = move.dead_man
        self._commands.publish(command)
        if self._parts is not None:
            self._parts.publish(command)

    def _give_back(self) -> None:
        if not self._rearm.service_is_ready():
            self.get_logger().error(f"nobody serves {REARM}: is the arm's node running?")
            return
        self._rearm.call_async(Rearm.Request()).add_done_callback(self._given_back)

    def _given_back(self, future) -> None:
        answer = future.result()
        if answer.error_code == ErrorCode.NONE:
            self.get_logger().info("the arm is given back")
        else:
            self.get_logger().error(f"the arm is not given back: {answer.error_msg}")

    def _status(self):
        source = self._input
        figures = {
            "source": self._settings.source,
            "readings": source.readings,
            "refused": source.refused,
            "commands": self._seq,
        }
        if not source.readings:
            return WARN, source.waiting, figures
        if source.refused == source.readings:
            return ERROR, "no reading of the device makes sense; the log says why", figures
        return OK, "a person moves the arm" if self._holding else "idle", figures


def main() -> int:
    """Entry point."""
    return run(TeleopNode)
