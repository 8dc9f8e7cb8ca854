# SPDX-License-Identifier: Apache-2.0
"""The settings of ``--robot.type=ptp_arm``."""

from __future__ import annotations

from dataclasses import dataclass, field

from lerobot.robots.config import RobotConfig

SAWYER = (*(f"right_j{number}" for number in range(7)), "gripper_l_finger_joint")


@RobotConfig.register_subclass("ptp_arm")
@dataclass(kw_only=True)
class PtpArmConfig(RobotConfig):
    """An arm of a running stack; see the README."""

    image_topics: dict[str, str] = field(default_factory=lambda: {"camera": "image_raw"})
    height: int = 240  # pixels of each image
    width: int = 240
    joints: list[str] = field(default_factory=lambda: list(SAWYER))  # in joint_states
    rate: float = 10.0  # actions a second, Hz
    translation: float = 0.05  # m that an action of 1 asks for
    rotation: float = 0.0872664626  # rad, 5 degrees
    patience: float = 1.0  # s that an image or joint state may be old
    domain: int | None = None  # of ROS; None: that of ROS_DOMAIN_ID
