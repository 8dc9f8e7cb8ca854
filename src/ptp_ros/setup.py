# SPDX-License-Identifier: Apache-2.0
from setuptools import find_packages, setup

PACKAGE = "ptp_ros"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="What every node shares: parameters, life cycle, images, actions, diagnostics.",
    maintainer="PTP maintainers",
    maintainer_email="maintainers@users.noreply.r-seed-b55774bc.example",
    license="Apache-2.0",
    packages=find_packages(exclude=["test", "test.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},  # where `colcon test` looks for what to run
    zip_safe=False,
)
