# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "ptp_cli"
HERE = Path(__file__).resolve().parent  # colcon runs this file through a link

setup(
    name=PACKAGE,
    version="0.2.0",
    description="The ptp command: collect, pretrain, evaluate, up, demo, bench and view.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    url="https://arxiv.org/abs/2205.08129",
    maintainer="PTP maintainers",
    maintainer_email="maintainers@users.noreply.r-seed-b55774bc.example",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(exclude=["test", "test.*"]),
    package_data={
        PACKAGE: ["demo/*.html", "pages/*.html", "report/*.html", "results/*.html", "results/*.md"]
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ],
    # rclpy, messages and launch come from ROS 2, and ptp_interfaces from colcon.
    install_requires=[
        "ptp_bringup==0.2.0",
        "ptp_core==0.2.0",
        "ptp_description==0.2.0",
        "ptp_nodes==0.2.0",
        "ptp_robot==0.2.0",
        "ptp_ros==0.2.0",
        "ptp_sim==0.2.0",
        "argcomplete",
        "gymnasium",
        "jinja2",
        "matplotlib",
        "numpy",
        "opencv-python-headless",
        "pillow",
        "pyyaml",
        "rich",
        "torch",
        "tqdm",
    ],
    extras_require={"test": ["pytest"]},  # where `colcon test` looks for what to run
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "ptp = ptp_cli.main:main",
        ],
    },
)
