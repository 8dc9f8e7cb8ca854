# SPDX-License-Identifier: Apache-2.0
"""Settings of the back-end for a Sawyer. Sources: Rethink's SDK and documentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ptp_core.config.checks import require
from ptp_core.errors import ConfigError
from ptp_robot.backends.backend import Interface

__all__ = ["FASTEST", "STROKE", "SawyerConfig"]

STROKE = 0.041667  # m between the fingers, open (Rethink's SDK and URDF)
# Hard maxima: no setting goes beyond.
FASTEST = 0.5  # of the joints' top speeds, velocity mode
FASTEST_POSITION = 0.3  # the robot's own default speed ratio, position mode
LARGEST_STEP = 0.02  # rad a command, position mode


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
