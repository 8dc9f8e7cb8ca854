# SPDX-License-Identifier: Apache-2.0
"""Facts about this machine: node processes, shared memory, versions, disks (Linux, /proc)."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ptp_nodes.tools.doctor.graph_facts import Machine, ProcessFacts
from ptp_ros.shared_memory import left_behind

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")
BUSY = 0.1  # of a core that a busy thread used,
STARVED = 0.5  # or share of the time in which it could run, if it had to wait for a core
PARTS = {"numpy": "numpy", "torch": "torch", "ros-rclpy": "rclpy"}  # locked -> without wheels


@dataclass(frozen=True)
class _Usage:
    """Times of a process's threads so far, s: on a core, and waiting for one."""

    ran: dict[str, float]
    waited: dict[str, float]


class ProcessObserver:
    """Looks at the machine twice; what happened in between are the facts."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._total = _machine_cpu()
        self._before = {pid: _usage(pid) for pid in node_processes()}

    def machine(self, folders: Iterable[str] = (), pins: Iterable[Path] = ()) -> Machine:
        """Facts since the start.

        ``folders`` are those whose disks matter; ``pins`` are files that pin versions.
        """
        seconds = max(time.monotonic() - self._began, 1e-3)
        processes = []
        for pid, (name, environ) in node_processes().items():
            before, after = self._before.get(pid), _usage(pid)
            if before is not None and after is not None:
                processes.append(_process(pid, name, environ, before, after, seconds))
        ours = sum(process.cores for process in processes)
        segments = left_behind()
        return Machine(
            cores=len(os.sched_getaffinity(0)),
            processes=tuple(processes),
            others=max(0.0, (_machine_cpu() - self._total) / seconds - ours),
            installed=_installed(),
            locked=_locked(pins),
            shared_memory=tuple(path.name for path in segments),
            shared_bytes=sum(path.stat().st_size for path in segments if path.exists()),
            free={f: shutil.disk_usage(f).free for f in folders if f and os.path.isdir(f)},
        )


def node_processes() -> dict[int, tuple[str, dict[str, str]]]:
    """Process id -> (node name, environment) of ROS nodes whose processes we may read."""
    found = {}
    for path in PROC.glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if "--ros-args" not in words:
                continue
            (name,) = [w.partition(":=")[2] for w in words if w.startswith("__node:=")][:1]
            pairs = (path / "environ").read_bytes().decode(errors="replace").split("\0")
        except (OSError, ValueError):
            continue
        environ = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        found[int(path.name)] = name, environ
    return found


def _process(
    pid: int, name: str, environ: dict[str, str], before: _Usage, after: _Usage, seconds: float
) -> ProcessFacts:
    ran = {thread: t - before.ran.get(thread, 0.0) for thread, t in after.ran.items()}
    waited = {thread: t - before.waited.get(thread, 0.0) for thread, t in after.waited.items()}
    busy = sum(
        ran[thread] >= BUSY * seconds or ran[thread] + waited[thread] >= STARVED * seconds
        for thread in ran
    )
    used, lost = sum(ran.values()), sum(waited.values())
    domain = environ.get("ROS_DOMAIN_ID", "0")
    return ProcessFacts(
        pid=pid,
        node=name,
        domain=int(domain) if domain.isdigit() else 0,
        discovery_range=environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET").upper(),
        busy_threads=busy,
        cores=used / seconds,
        waiting=lost / (lost + used) if lost + used > 0.0 else 0.0,
    )


def _usage(pid: int) -> _Usage | None:
    """Times of a process; None where it has ended."""
    usage = _Usage({}, {})
    for task in PROC.glob(f"{pid}/task/*"):
        try:
            ran, waited, _ = (task / "schedstat").read_text().split()
        except (OSError, ValueError):
            continue
        usage.ran[task.name], usage.waited[task.name] = int(ran) * 1e-9, int(waited) * 1e-9
    return usage if usage.ran or (PROC / str(pid)).is_dir() else None


def _machine_cpu() -> float:
    """CPU time of everything, s: user, nice, system, irq, softirq of /proc/stat."""
    words = (PROC / "stat").read_text().split("\n", 1)[0].split()[1:]
    return sum(int(words[column]) for column in (0, 1, 2, 5, 6)) / TICK


def _installed() -> dict[str, str]:
    found = {}
    for locked, plain in PARTS.items():
        for name in (locked, plain):
            try:
                found[plain] = metadata.version(name)
                break
            except metadata.PackageNotFoundError:
                continue
    return found


def _locked(pins: Iterable[Path]) -> dict[str, tuple[str, ...]]:
    """Versions that the files pin; a lock has one of a package for each range of Pythons."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in pins if path.is_file())
    found = re.findall(r'^(?:\w+ = ")?([\w.-]+)==([\w.+-]+)', text, flags=re.MULTILINE)
    versions = {
        plain: tuple(version for name, version in found if name == locked)
        for locked, plain in PARTS.items()
    }
    return {name: allowed for name, allowed in versions.items() if allowed}
