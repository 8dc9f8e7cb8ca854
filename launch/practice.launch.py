# SPDX-License-Identifier: Apache-2.0
"""Practise a task and learn: ``ros2 launch ptp_bringup practice.launch.py task:=A``."""

from ptp_bringup.launching import describe
from ptp_bringup.stacks import PRACTICE


def generate_launch_description():
    """The stack as launch_ros actions."""
    return describe(PRACTICE)
