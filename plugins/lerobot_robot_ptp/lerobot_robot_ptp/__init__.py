# SPDX-License-Identifier: Apache-2.0
"""LeRobot's plug-in of our arms. Importing it registers ``--robot.type=ptp_arm``."""

from lerobot_robot_ptp.config_ptp_arm import PtpArmConfig
from lerobot_robot_ptp.ptp_arm import PtpArm

__all__ = ["PtpArm", "PtpArmConfig"]
