# SPDX-License-Identifier: Apache-2.0
"""Demonstrate and record: ``ros2 launch ptp_bringup teleop.launch.py source:=spacenav``."""

from ptp_bringup.launching import describe
from ptp_bringup.stacks import TELEOP


def generate_launch_description():
    """The stack as launch_ros actions."""
    return describe(TELEOP)
