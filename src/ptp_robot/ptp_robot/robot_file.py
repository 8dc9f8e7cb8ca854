# SPDX-License-Identifier: Apache-2.0
"""A robot's file, config/robots/NAME.yaml: back-end, limits, way home."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ptp_core.config.checks import require
from ptp_core.config.loading import load_config
from ptp_core.errors import ConfigError
from ptp_description import sawyer_urdf_path
from ptp_robot.kinematics import REST_CONFIGURATION, IKConfig, KinematicsError, SawyerKinematics
from ptp_robot.limits import Limits, digest, hard_limits

__all__ = ["HomingConfig", "RobotConfig", "limits_digest", "load_robot", "read_kinematics"]


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
