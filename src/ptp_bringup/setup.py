# SPDX-License-Identifier: Apache-2.0
"""Install the launch files, parameters and released models that lie at the repository root."""

import os
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "ptp_bringup"
# colcon runs this file through a link in its build folder: resolve it to find the repository.
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def shared_files() -> list[tuple[str, list[str]]]:
    """Return (destination, sources) for each folder below launch/, config/ and models/."""
    entries = []
    for top in ("launch", "config", "models"):
        for folder, _, names in os.walk(ROOT / top):
            sources = sorted(
                os.path.relpath(Path(folder, name)) for name in names if not name.endswith(".pyc")
            )
            if sources:
                entries.append((f"share/{PACKAGE}/{Path(folder).relative_to(ROOT)}", sources))
    return entries


setup(
    name=PACKAGE,
    version="0.2.0",
    description="Starts the nodes that the launch files declare, with launch_ros or without.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    url="https://arxiv.org/abs/2205.08129",
    maintainer="PTP maintainers",
    maintainer_email="maintainers@users.noreply.r-seed-b55774bc.example",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(exclude=["test", "test.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        *shared_files(),
    ],
    # rclpy, messages and launch come from ROS 2, and ptp_interfaces from colcon.
    install_requires=[
        "ptp_core==0.2.0",
        "ptp_description==0.2.0",
        "ptp_nodes==0.2.0",
        "ptp_robot==0.2.0",
        "ptp_ros==0.2.0",
        "ptp_sim==0.2.0",
        "pyyaml",
    ],
    extras_require={"test": ["pytest"]},  # where `colcon test` looks for what to run
    zip_safe=False,
)
