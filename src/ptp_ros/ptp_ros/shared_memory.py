# SPDX-License-Identifier: Apache-2.0
"""Removal of Fast DDS shared memory that killed processes left. Needs no ROS (Linux, /proc)."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

PROC = Path("/proc")
SHM = Path("/dev/shm")
YOUNG = 5.0  # s: a newer segment may be opened soon
SEGMENT = re.compile(r"(?:sem\.)?fast(?:rtps|dds)_\w+")


def left_behind(young: float = YOUNG) -> list[Path]:
    """Segments of Fast DDS of this user, older than ``young`` s, that no process has open."""
    if not SHM.is_dir():
        return []
    paths = [path for path in SHM.iterdir() if SEGMENT.fullmatch(path.name)]
    used: set[str] = set()
    for maps in PROC.glob("[0-9]*/maps"):
        try:
            used.update(re.findall(r"/dev/shm/(\S+)", maps.read_text()))
        except OSError:
            continue  # the process has ended, or belongs to another user
    used = {_segment(name) for name in used}
    latest = time.time() - young
    return sorted(
        path for path in paths if _segment(path.name) not in used and _ours_since(path) < latest
    )


def sweep(young: float = YOUNG) -> int:
    """Remove the segments that `left_behind` finds; returns the number of files."""
    paths = left_behind(young)
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
    return len(paths)


def _segment(name: str) -> str:
    """Name of the segment that a file belongs to; locks and semaphores have suffixes."""
    return re.sub(r"^sem\.|(_el|_sl|_mutex)$", "", name)


def _ours_since(path: Path) -> float:
    """Time of the last change of this user's file; infinity for any other file."""
    try:
        status = path.stat()
    except OSError:
        return float("inf")
    return status.st_mtime if status.st_uid == os.getuid() else float("inf")
