# SPDX-License-Identifier: Apache-2.0
"""LeRobot's plug-in of our arms.

Importing it registers ``--robot.type=ptp_arm`` and ``--teleop.type=ptp_teleop``.
"""

from lerobot_robot_ptp.config_ptp_arm import PtpArmConfig
from lerobot_robot_ptp.config_ptp_teleop import PtpTeleopConfig
from lerobot_robot_ptp.ptp_arm import PtpArm
from lerobot_robot_ptp.ptp_teleop import PtpTeleop

__all__ = ["PtpArm", "PtpArmConfig", "PtpTeleop", "PtpTeleopConfig"]
