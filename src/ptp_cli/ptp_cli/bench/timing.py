# SPDX-License-Identifier: Apache-2.0
"""Time calls, on as many cores and threads as a figure says."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


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
