# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "ptp_nodes"
HERE = Path(__file__).resolve().parent  # colcon runs this file through a link

setup(
    name=PACKAGE,
    version="0.2.0",
    description="ROS 2 nodes of PTP: camera, encoder, planner, policy, practice, operator, view.",
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
    ],
    # rclpy, messages and launch come from ROS 2, and ptp_interfaces from colcon.
    install_requires=[
        "ptp_core==0.2.0",
        "ptp_description==0.2.0",
        "ptp_robot==0.2.0",
        "ptp_ros==0.2.0",
        "numpy",
        "opencv-python-headless",
        "torch",
    ],
    extras_require={"test": ["pytest"]},  # where `colcon test` looks for what to run
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "arm_driver = ptp_nodes.nodes.arm_driver_node:main",
            "camera = ptp_nodes.nodes.camera_node:main",
            "encoder = ptp_nodes.nodes.encoder_node:main",
            "fake_controllers = ptp_nodes.nodes.fake_controllers_node:main",
            "learner = ptp_nodes.nodes.learner_node:main",
            "operator = ptp_nodes.nodes.operator_node:main",
            "planner = ptp_nodes.nodes.planner_node:main",
            "policy = ptp_nodes.nodes.policy_node:main",
            "practice = ptp_nodes.nodes.practice_node:main",
            "recorder = ptp_nodes.nodes.recorder_node:main",
            "teleop = ptp_nodes.nodes.teleop_node:main",
            "view = ptp_nodes.nodes.view_node:main",
        ],
    },
)
