# SPDX-License-Identifier: Apache-2.0
"""The settings of ``--robot.type=ptp_arm``.

The defaults are the image and the proprioception that `ptp export lerobot` writes of the simulated
table.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lerobot.robots.config import RobotConfig

PROPRIOCEPTION = ("tcp_x", "tcp_y", "tcp_z", "tcp_yaw", "gripper_opening")


@RobotConfig.register_subclass("ptp_arm")
@dataclass(kw_only=True)
class PtpArmConfig(RobotConfig):
    """An arm of a running stack; see the README."""

    image_topics: dict[str, str] = field(default_factory=lambda: {"camera": "observation/camera"})
    height: int = 48  # pixels of each image
    width: int = 48
    state: list[str] = field(default_factory=lambda: list(PROPRIOCEPTION))  # empty: none
    state_topic: str = "observation/proprioception"  # sensor_msgs/JointState
    listen_only: bool = False  # send nothing: a device of the stack moves the arm
    rate: float = 10.0  # actions a second, Hz
    translation: float = 0.05  # m that an action of 1 asks for
    rotation: float = 0.0872664626  # rad, 5 degrees
    patience: float = 1.0  # s that an image or a number may be old
    domain: int | None = None  # of ROS; None: that of ROS_DOMAIN_ID
