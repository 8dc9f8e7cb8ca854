# SPDX-License-Identifier: Apache-2.0
"""How many runs a machine carries at once."""

from __future__ import annotations

import os
from pathlib import Path

GIB = 2**30


def places(cores: int, memory_gib: float) -> int:
    """Runs of so many cores and so much memory that fit now, at least one."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min((here or 1) // cores, int(free_memory() / GIB / memory_gib)))


def free_memory() -> int:
    """Bytes that programs can still have, here or in the container that this is."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            total = min(total, int(line.split()[1]) * 1024)
    limit, used = (_read(f"/sys/fs/cgroup/memory.{name}").strip() for name in ("max", "current"))
    if limit.isdigit() and used.isdigit():
        total = min(total, max(0, int(limit) - int(used)))
    return total


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
