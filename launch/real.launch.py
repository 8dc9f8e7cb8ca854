# SPDX-License-Identifier: Apache-2.0
"""Practise with an arm: ``ros2 launch ptp_bringup real.launch.py robot:=sawyer task:=GOAL``."""

from ptp_bringup.launching import describe
from ptp_bringup.stacks import REAL


def generate_launch_description():
    """The stack as launch_ros actions."""
    return describe(REAL)
