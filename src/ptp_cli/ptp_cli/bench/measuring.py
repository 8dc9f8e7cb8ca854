# SPDX-License-Identifier: Apache-2.0
"""Helpers of the benchmarks: settings, machine facts, timers and start-goal pairs."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ptp_cli.commands.version import installed, ros_version

if TYPE_CHECKING:
    from ptp_core.training.checkpoint import Checkpoint

Number = TypeVar("Number", int, float)
Figures = dict[str, float | int | str]


@dataclass(frozen=True)
class BenchSettings:
    """Options of one run.

    ``quick`` shows in seconds that everything runs; its figures mean little. ``checkpoint`` None
    is the released one.
    """

    quick: bool = False
    checkpoint: Path | None = None

    def pick(self, full: Number, quick: Number) -> Number:
        """``quick`` in a quick run, else ``full``."""
        return quick if self.quick else full

    def checkpoint_folder(self) -> Path:
        """Folder of the checkpoint. Raises CheckpointError where none is released."""
        from ptp_cli.options import released_checkpoint

        return (self.checkpoint or released_checkpoint()).absolute()

    def load(self) -> Checkpoint:
        """The checkpoint's networks. Raises CheckpointError."""
        from ptp_core.training.checkpoint import load_checkpoint

        return load_checkpoint(self.checkpoint_folder())


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


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def cores(count: int) -> Iterator[None]:
    """Keep this thread, and threads and processes that it starts, on ``count`` cores (Linux)."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[-count:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use ``count`` threads for one operation."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def milliseconds(call: Callable[[], Any], repeats: int, warm_up: int = 3) -> np.ndarray:
    """Wall clock of each of ``repeats`` calls [ms], float64 (repeats,), after ``warm_up`` more."""
    for _ in range(warm_up):
        call()
    times = np.empty(repeats)
    for index in range(repeats):
        began = time.perf_counter()
        call()
        times[index] = time.perf_counter() - began
    return times * 1e3


def median(values: Any) -> float:
    """Median as a float."""
    return float(np.median(values))


Picture = np.ndarray


def target_pictures(tasks: Sequence[str], seed: int = 0) -> list[tuple[Picture, Picture]]:
    """(first image, goal picture) of each task's fixed scene, uint8 (48, 48, 3) each."""
    from ptp_sim.env import make_env

    env = make_env()
    try:
        pairs = []
        for task in tasks:
            image, info = env.reset(seed=seed, options={"task": task, "protocol": "paper"})
            pairs.append((image, info["goal_image"]))
        return pairs
    finally:
        env.close()
