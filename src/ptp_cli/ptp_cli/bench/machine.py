# SPDX-License-Identifier: Apache-2.0
"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from ptp_cli.bench.settings import Figures
from ptp_cli.bench.timing import available_cores
from ptp_cli.commands.version import installed, ros_version


def machine() -> Figures:
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
