# SPDX-License-Identifier: Apache-2.0
"""Look through a camera: ``ros2 launch ptp_bringup camera.launch.py device:=/dev/video0``."""

from ptp_bringup.launching import describe
from ptp_bringup.stacks import CAMERA


def generate_launch_description():
    """The stack as launch_ros actions."""
    return describe(CAMERA)
