# SPDX-License-Identifier: Apache-2.0
"""The settings of ``--robot.type=ptp_arm``.

The defaults are the image and the proprioception that `ptp export lerobot` writes of the simulated
table.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lerobot.robots.config import RobotConfig

from lerobot_robot_ptp.arm_link import IMAGES, SIZE, STATE, STATE_TOPIC


@RobotConfig.register_subclass("ptp_arm")
@dataclass(kw_only=True)
class PtpArmConfig(RobotConfig):
    """An arm of a running stack; see the README."""

    image_topics: dict[str, str] = field(default_factory=lambda: dict(IMAGES))
    height: int = SIZE  # pixels of each image
    width: int = SIZE
    state: list[str] = field(default_factory=lambda: list(STATE))  # empty: none
    state_topic: str = STATE_TOPIC  # sensor_msgs/JointState
    listen_only: bool = False  # send nothing: a device of the stack moves the arm
    rate: float = 10.0  # actions a second, Hz
    translation: float = 0.05  # m that an action of 1 asks for
    rotation: float = 0.0872664626  # rad, 5 degrees
    patience: float = 1.0  # s that an image or a number may be old
    domain: int | None = None  # of ROS; None: that of ROS_DOMAIN_ID
