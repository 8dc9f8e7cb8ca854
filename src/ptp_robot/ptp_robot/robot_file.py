# SPDX-License-Identifier: Apache-2.0
"""A robot's file, config/robots/NAME.yaml: back-end, limits, way home.

Hard limits, which no file can exceed, are here too. Their sources: [H] HIL-SERL, [D] DROID,
[S] moveit_servo's defaults, [B] the Berkeley Sawyer stack, [R] the Sawyer's manufacturer,
[I] ISO 10218-1, reduced speed of 250 mm/s; [O] our own choice.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ptp_core.config.loading import load_config, require, to_dict
from ptp_core.errors import ConfigError
from ptp_description import sawyer_urdf_path
from ptp_robot.action import Workspace
from ptp_robot.kinematics import REST_CONFIGURATION, IKConfig, KinematicsError, SawyerKinematics

__all__ = [
    "HomingConfig",
    "Limits",
    "RobotConfig",
    "digest",
    "hard_limits",
    "limits_digest",
    "load_robot",
    "read_kinematics",
]

BOX = Workspace()
# Lowest and highest allowed value of each limit on a robot; these are no recommendations.
_REAL = {
    "command_age": (0.02, 0.5),
    "command_ahead": (0.0, 0.2),
    "excess": (1.0, 2.0),
    "step": (1e-4, 0.05),  # B's action of 1
    "step_norm": (1e-4, 0.09),  # 0.05 along three axes
    "yaw_step": (1e-3, 0.2),
    "observation_patience": (0, 20),
    "observation_age": (0.02, 0.5),
    "speed": (1e-3, 0.25),  # I
    "acceleration": (0.1, 2.0),
    "turn_speed": (1e-2, 1.0),
    "turn_acceleration": (0.1, 6.0),
    "box_lower": (-1.5, 1.5),  # beyond any reach
    "box_upper": (-1.5, 1.5),
    "table": (-1.5, 1.5),
    "clearance": (0.003, 0.5),  # a calibrated Sawyer differs by 3 mm from its nominal model
    "no_go": (-5.0, 5.0),
    "soft_band": (0.0, 0.2),
    "leave": (0.001, 0.05),
    "leash": (0.005, 0.1),
    "leash_turn": (0.01, 0.5),
    "joint_margin": (0.02, 0.5),
    "joint_step": (1e-4, 0.02),
    "joint_speed_ratio": (0.01, 0.5),
    "joint_acceleration": (0.1, 12.0),  # R, in the manufacturer's simulator
    "condition_slow": (2.0, 30.0),
    "condition_hold": (3.0, 50.0),
    "ik_residual": (1e-4, 0.005),
    "ik_rotation": (1e-3, 0.05),
    "tracking": (0.01, 0.3),
    "gain": (0.0, 20.0),
    "period": (0.01, 0.01),
    "command_timeout": (0.02, 0.5),
    "joints_timeout": (0.02, 0.2),
    "lost_after": (0.02, 2.0),
    "overrun": (0.02, 0.2),  # after which a Sawyer stops by itself
    "enable_timeout": (0.1, 10.0),
    "force_warn": (1.0, 30.0),
    "force_retreat": (1.0, 40.0),
    "force_stop": (1.0, 60.0),
    "retreat": (0.0, 0.05),
    "retreat_time": (0.1, 5.0),
    "force_cutoff": (1.0, 50.0),
    "tare_time": (0.05, 2.0),
}
# No person is near a simulated arm, and its policies command a step within 1/24 s.
_SIMULATED = {
    **_REAL,
    "speed": (1e-3, 10.0),
    "acceleration": (0.1, 1000.0),
    "turn_speed": (1e-2, 20.0),
    "turn_acceleration": (0.1, 3000.0),
    "leave": (0.001, 0.5),
    "leash": (0.005, 0.5),
    "leash_turn": (0.01, 3.0),
    "joint_step": (1e-4, 1.0),
    "joint_speed_ratio": (0.01, 20.0),
    "joint_acceleration": (0.1, 1e5),
    "condition_slow": (2.0, 1000.0),
    "condition_hold": (3.0, 1000.0),
    "ik_residual": (1e-4, 0.1),
    "ik_rotation": (1e-3, 1.0),
    "tracking": (0.01, 3.0),
    "overrun": (0.02, 10.0),
    "command_age": (0.02, 60.0),
    "observation_age": (0.02, 2.0),
    "command_timeout": (0.02, 60.0),
    "joints_timeout": (0.02, 10.0),
    "lost_after": (0.02, 60.0),
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of the safety filter and the driver. Positions are the TCP's, in the base frame.

    Raises ConfigError where two of them contradict each other. That each lies within what the
    code allows at all is checked by `require_within`.
    """

    # Commands
    command_age: float = 0.3  # s, oldest stamp that is executed [O]
    command_ahead: float = 0.1  # s, furthest stamp in the future: clocks differ [O]
    excess: float = 1.5  # a component beyond that many times its limit is refused, not cut [O]
    step: float = 0.03  # m along each axis in one command [H: 0.01-0.015, D: 0.075]
    step_norm: float = 0.04  # m in one command [O]
    yaw_step: float = 0.2  # rad in one command [D: 0.15, B: 0.2]
    observation_patience: int = 4  # images by which an answer may be late; as the sim bridge
    observation_age: float = 0.3  # s, oldest observation whose answer is executed [O]

    # Tool
    speed: float = 0.15  # m/s: what 30 % of the joints' speed allows [R]
    acceleration: float = 1.0  # m/s^2, of speeding up and of coming to the setpoint [O]
    turn_speed: float = 0.5  # rad/s [O; S: 0.8]
    turn_acceleration: float = 3.0  # rad/s^2 [O]
    box_lower: tuple[float, ...] = BOX.lower  # m, the box of training and simulation
    box_upper: tuple[float, ...] = BOX.upper  # m
    table: float | None = -0.375  # m, height of the table, found by touching it; None: no table
    clearance: float = 0.015  # m, kept above the table [O]
    no_go: tuple[tuple[float, ...], ...] = ()  # boxes to stay out of: lower x y z, upper x y z, m
    soft_band: float = 0.02  # m before a face of the box in which the tool slows down [O]
    leave: float = 0.02  # m by which the measured tool may leave the box before it is a fault [O]
    leash: float = 0.05  # m from the measured tool to the setpoint [O]
    leash_turn: float = 0.3  # rad [O]

    # Joints
    joint_margin: float = 0.1  # rad to each end [S]
    joint_step: float = 0.02  # rad in one cycle [Baxter's guarded trajectory shim]
    joint_speed_ratio: float = 0.3  # of the speeds in the URDF [R: the default speed ratio]
    joint_acceleration: tuple[float, ...] = (3.5, 2.5, 5.0, 5.0, 5.0, 5.0, 5.0)  # rad/s^2 [B]
    condition_slow: float = 17.0  # condition number of the Jacobian at which to slow down [S]
    condition_hold: float = 30.0  # ... at which to go no further [S]
    ik_residual: float = 0.001  # m by which inverse kinematics may miss [O]
    ik_rotation: float = 0.01  # rad [O]
    tracking: float = 0.2  # rad between a joint and what it was told, before it is a fault
    gain: float = 5.0  # 1/s, of that difference in the speed a velocity interface is sent [O]

    # Watchdogs
    period: float = 0.01  # s, of the driver's loop
    command_timeout: float = 0.3  # s without command until the arm holds [O; S: 0.1]
    joints_timeout: float = 0.1  # s, age of joint positions at which the arm holds [O]
    lost_after: float = 1.0  # s, age of joint positions at which it is a fault [O]
    overrun: float = 0.05  # s between two cycles, at which it is a fault [O]
    enable_timeout: float = 5.0  # s that motors may take to come on [R: SDK waits as long]

    # Forces, where they are measured
    force_warn: float = 15.0  # N: no further into the contact [H: about 15 N]
    force_retreat: float = 30.0  # N: stop and go up [Franka's contact threshold]
    force_stop: float = 50.0  # N: stop in the hardest way [B]
    retreat: float = 0.02  # m upwards [O]
    retreat_time: float = 2.0  # s after which a force that is still there is a fault [O]
    force_cutoff: float = 10.0  # Hz, of the low-pass on the wrench [O]
    tare_time: float = 0.2  # s at rest, in free space, after enabling and homing [O]

    def __post_init__(self) -> None:
        for name in ("box_lower", "box_upper"):
            if len(getattr(self, name)) != 3:
                raise ConfigError(f"Limits.{name} has {len(getattr(self, name))} numbers, not 3")
        if any(len(box) != 6 for box in self.no_go):
            raise ConfigError("Limits.no_go: each box has 6 numbers: lower x y z, upper x y z")
        for low, high in (
            ("condition_slow", "condition_hold"),
            ("force_warn", "force_retreat"),
            ("force_retreat", "force_stop"),
            ("joints_timeout", "lost_after"),
            ("step", "step_norm"),
        ):
            if not getattr(self, low) <= getattr(self, high):
                raise ConfigError(
                    f"Limits.{low} is {getattr(self, low):g}; it must be at most {high}, "
                    f"{getattr(self, high):g}"
                )
        low, high = self.box
        if not (low < high).all():
            raise ConfigError(
                f"Limits: the box from {low.round(3).tolist()} to {high.round(3).tolist()} is "
                "empty; its lower z is at least table + clearance"
            )

    @property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper corner (3,) [m] with the table plane in it."""
        low, high = np.array(self.box_lower, float), np.array(self.box_upper, float)
        if self.table is not None:
            low[2] = max(low[2], self.table + self.clearance)
        return low, high

    def require_within(self, hard: dict[str, tuple[float, float]]) -> None:
        """Raise one ConfigError that names every limit beyond ``hard``."""
        wrong = []
        for entry in fields(self):
            low, high = hard[entry.name]
            value = getattr(self, entry.name)
            numbers = [] if value is None else np.ravel(value).tolist()
            if not all(low <= number <= high for number in numbers):
                wrong.append(f"{entry.name} is {value}, allowed is {low:g} to {high:g}")
        if wrong:
            raise ConfigError(
                f"limits beyond what the driver ever allows: {'; '.join(wrong)}. Change the robot "
                "file; the bounds are in ptp_robot/robot_file.py"
            )


def hard_limits(name: str) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of each limit for the back-end of this name."""
    return _SIMULATED if name == "sim_joint" else _REAL


def digest(*parts: Any) -> str:
    """sha256 of configurations (dataclasses, arrays, scalars), hexadecimal."""
    plain = [to_dict(p.tolist() if isinstance(p, np.ndarray) else p) for p in parts]
    text = json.dumps(plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class HomingConfig:
    """Settings of homing: open, lift, move, verify."""

    joints: tuple[float, ...] = REST_CONFIGURATION  # rad, the home pose
    grip_time: float = 1.0  # s given to the gripper to open
    lift: float = 0.08  # m straight up first
    speed_ratio: float = 0.3  # of the joints' top speed, where the limits allow as much
    timeout: float = 15.0  # s until the arm must have arrived
    joint_tolerance: float = 0.02  # rad
    speed_tolerance: float = 0.01  # rad/s

    def __post_init__(self) -> None:
        require(self, "grip_time", 0.0, 10.0)
        require(self, "lift", 0.0, 0.1)
        require(self, "speed_ratio", 0.01, 0.3)
        require(self, "timeout", 1.0, 60.0)
        require(self, "joint_tolerance", 1e-3, 0.05)
        require(self, "speed_tolerance", 1e-3, 0.05)


@dataclass(frozen=True, kw_only=True)
class RobotConfig:
    """Settings of one robot for the driver.

    Raises ConfigError for limits beyond what the code allows for this back-end.
    """

    name: Literal["fake", "sawyer", "ros2_control", "sim_joint"] = "fake"  # which back-end
    reference: Literal["setpoint", "measured"] = "setpoint"  # what a command is added to
    urdf: str = ""  # file of this very unit; empty: the Sawyer of ptp_description
    base: str = "base"  # link of the URDF that stands for the commands' frame, "base"
    tip: str = "gripper_tip"  # its tool point
    joint_states: bool = True  # publish joint_states; false where the robot does
    limits: Limits = field(default_factory=Limits)
    homing: HomingConfig = field(default_factory=HomingConfig)
    backend: dict[str, Any] = field(default_factory=dict)  # settings of the back-end

    def __post_init__(self) -> None:
        self.limits.require_within(hard_limits(self.name))


def load_robot(path: str | Path) -> RobotConfig:
    """Read a robot's file. Raises ConfigError: missing, unknown key, wrong type, out of bounds."""
    return load_config(path, cls=RobotConfig)


def limits_digest(robot: RobotConfig, arm: SawyerKinematics) -> str:
    """Hash of all limits in force; driver and preflight must have the same."""
    joints = (arm.lower, arm.upper, arm.velocity)
    return digest(robot.limits, robot.homing, robot.reference, *joints)[:12]


def read_kinematics(robot: RobotConfig) -> SawyerKinematics:
    """The arm's kinematics, at the joint margin in force.

    Raises ConfigError where the URDF cannot be read, and where the way home ends at a joint's
    limit or outside the box.
    """
    config = IKConfig(joint_margin=robot.limits.joint_margin)
    # Another arm's null space is pulled to its home pose.
    rest = robot.homing.joints if robot.urdf and robot.name == "ros2_control" else None
    try:
        arm = SawyerKinematics.from_urdf(
            robot.urdf or sawyer_urdf_path(),
            tip=robot.tip,
            base=robot.base,
            config=config,
            rest=rest,
        )
    except (KinematicsError, OSError) as error:
        raise ConfigError(f"urdf: {error}") from error
    count = len(arm.lower)
    for name, values in (
        ("homing.joints", robot.homing.joints),
        ("limits.joint_acceleration", robot.limits.joint_acceleration),
    ):
        if len(values) != count:
            raise ConfigError(f"{name} has {len(values)} numbers for {count} joints")
    margin = robot.limits.joint_margin
    home = robot.homing.joints
    for index, (angle, low, high) in enumerate(zip(home, arm.lower, arm.upper, strict=True)):
        if not low + margin <= angle <= high - margin:
            raise ConfigError(
                f"homing.joints: joint {index} at {angle:g} rad is outside "
                f"{low + margin:.3f} to {high - margin:.3f} rad"
            )
    position = arm.forward(home)[0]
    low, high = robot.limits.box
    if not ((low <= position) & (position <= high)).all():
        raise ConfigError(
            f"homing.joints put the tool at {position.round(3).tolist()} m, outside the box from "
            f"{low.round(3).tolist()} to {high.round(3).tolist()} m"
        )
    return arm
