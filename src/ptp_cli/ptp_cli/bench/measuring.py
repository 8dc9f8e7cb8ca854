# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: settings, cores and threads, timers, and images of the tasks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

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


Image = np.ndarray


def target_images(tasks: Sequence[str], seed: int = 0) -> list[tuple[Image, Image]]:
    """(first image, goal image) of each task's fixed scene, uint8 (48, 48, 3) each."""
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
