# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "ptp_core"
HERE = Path(__file__).resolve().parent  # colcon runs this file through a link

setup(
    name=PACKAGE,
    version="0.2.0",
    description="Models, planners, agents, data and training of PTP, without ROS or simulator.",
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
    install_requires=[
        "gymnasium",
        "h5py",
        "lz4",
        "matplotlib",
        "mcap",
        "numpy",
        "pillow",
        "pyyaml",
        "rosbags",
        "safetensors",
        "tensorboard",
        "torch",
        "tqdm",
        "zstandard",
    ],
    extras_require={"test": ["pytest"]},  # where `colcon test` looks for what to run
    zip_safe=False,
)
