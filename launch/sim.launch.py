# SPDX-License-Identifier: Apache-2.0
"""Practise tasks on the simulated table: ``ros2 launch ptp_bringup sim.launch.py task:=A``."""

from ptp_bringup.launching import describe
from ptp_bringup.stacks import SIM


def generate_launch_description():
    """The stack as launch_ros actions."""
    return describe(SIM)
