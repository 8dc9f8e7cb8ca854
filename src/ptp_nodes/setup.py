# SPDX-License-Identifier: Apache-2.0
from setuptools import find_packages, setup

PACKAGE = "ptp_nodes"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="ROS 2 nodes of PTP: camera, encoder, planner, policy, practice and view.",
    maintainer="PTP maintainers",
    maintainer_email="maintainers@users.noreply.r-seed-b55774bc.example",
    license="Apache-2.0",
    packages=find_packages(exclude=["test", "test.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "arm_driver = ptp_nodes.arm_driver:main",
            "camera = ptp_nodes.camera:main",
            "encoder = ptp_nodes.encoder:main",
            "fake_controllers = ptp_nodes.fake_controllers:main",
            "learner = ptp_nodes.learner:main",
            "operator = ptp_nodes.operator:main",
            "planner = ptp_nodes.planner:main",
            "policy = ptp_nodes.policy:main",
            "practice = ptp_nodes.practice:main",
            "recorder = ptp_nodes.recorder:main",
            "teleop = ptp_nodes.teleop:main",
            "view = ptp_nodes.view:main",
        ],
    },
)
