# SPDX-License-Identifier: Apache-2.0
"""Facts about this machine and the installed software, which every file of figures names."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

# Labels of the facts that a page shows.
MACHINE_LABELS = {
    "machine_cpu": "Processor",
    "machine_cores": "Cores",
    "machine_memory_gib": "Memory, GiB",
    "machine_system": "System",
    "machine_python": "Python",
    "machine_rclpy": "rclpy",
    "machine_torch": "torch",
    "machine_pybullet": "PyBullet",
}


def labelled_facts(facts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(label, value) of each fact of `machine` that a page shows and that is known."""
    known = {name: facts.get(name) for name in MACHINE_LABELS}
    return [(MACHINE_LABELS[name], value) for name, value in known.items() if value is not None]


def machine() -> dict[str, float | int | str]:
    """Processor, cores that may be used, memory, system and versions."""
    return {
        "machine_cpu": _processor(),
        "machine_cores": available_cores(),
        "machine_memory_gib": round(_memory_bytes() / 2**30, 1),
        "machine_system": platform.platform(),
        "machine_python": platform.python_version(),
        "machine_torch": installed("torch"),
        "machine_numpy": installed("numpy"),
        "machine_pybullet": installed("pybullet"),
        "machine_rclpy": ros_version(),
        "machine_omp_num_threads": os.environ.get("OMP_NUM_THREADS", "not set"),
    }


def load_average() -> float:
    """Processes that wanted a core in the last minute: near 0 before a fair measurement."""
    return os.getloadavg()[0]


def git_commit() -> str:
    """Commit of the code that is measured, "+" where files differ from it."""
    here = Path(__file__).resolve().parent
    commit = _git(here, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return "unknown"
    return commit + ("+" if _git(here, "status", "--porcelain") else "")


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return " ".join(value.split())
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
