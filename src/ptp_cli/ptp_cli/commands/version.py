# SPDX-License-Identifier: Apache-2.0
"""`ptp version`: print the versions of ptp and its dependencies, for bug reports."""

from __future__ import annotations

import argparse
import platform
from importlib import metadata

from ptp_cli import __version__

# Distributions whose version changes what a run does.
PARTS = ("torch", "numpy", "pybullet", "opencv-python-headless", "gymnasium")


def add_parser(subparsers) -> None:
    """Add the subcommand to the ``ptp`` parser."""
    subparsers.add_parser(
        "version",
        help="show the versions of ptp, ROS 2 and their dependencies",
        description="Show the versions of ptp, ROS 2 and their dependencies.",
    )


def run(args: argparse.Namespace) -> int:
    """Print one line for each version; return the exit status."""
    print(f"ptp {__version__}")
    print(f"python {platform.python_version()} on {platform.platform()}")
    print(f"rclpy {ros_version()}")
    for name in PARTS:
        print(f"{name} {installed(name)}")
    return 0


def installed(name: str) -> str:
    """Return the version of a distribution, or say that it is missing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "is not installed"


def ros_version() -> str:
    """Return the version of rclpy and whether it comes from a wheel or a ROS 2 installation."""
    wheel = installed("ros-rclpy")
    if wheel != "is not installed":
        return f"{wheel} (ROS 2 Jazzy, wheel)"
    return f"{installed('rclpy')} (sourced ROS 2)"
