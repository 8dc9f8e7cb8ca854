# SPDX-License-Identifier: Apache-2.0
from setuptools import find_packages, setup

PACKAGE = "ptp_sim"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="PyBullet table of PTP: scene, arm, camera, tasks, environment and ROS node.",
    maintainer="PTP maintainers",
    maintainer_email="maintainers@users.noreply.r-seed-b55774bc.example",
    license="Apache-2.0",
    packages=find_packages(exclude=["test", "test.*"]),
    package_data={PACKAGE: ["assets/*", "data/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},  # where `colcon test` looks for what to run
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "joint_bridge = ptp_sim.joint_bridge_node:main",
            "scripted_gamepad = ptp_sim.scripted_gamepad_node:main",
            "sim_bridge = ptp_sim.sim_bridge_node:main",
        ],
    },
)
