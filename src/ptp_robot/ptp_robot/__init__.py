# SPDX-License-Identifier: Apache-2.0
"""Robot side of PTP: actions in SI units and the arm's kinematics. Never imports PyBullet."""

from ptp_robot.action import ActionScale, CartesianDelta, Workspace
from ptp_robot.kinematics import IKConfig, IKResult, KinematicsError, SawyerKinematics

__all__ = [
    "ActionScale",
    "CartesianDelta",
    "IKConfig",
    "IKResult",
    "KinematicsError",
    "SawyerKinematics",
    "Workspace",
]
