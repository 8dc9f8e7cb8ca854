# SPDX-License-Identifier: Apache-2.0
"""Let threads share a training step's networks instead of each operation's loops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

NETWORKS = 4  # that learn at once in an update of IQL: more threads than these help inside them


@contextmanager
def shared_networks(
    device: torch.device, threads: int | None = None
) -> Iterator[Callable[..., Iterable]]:
    """A ``run`` for `IQL.update` that uses ``threads`` (None: as many as torch has).

    Threads that wait for each other after every operation lose much of what they gain, the more
    so when another process needs a core. Where there are more than networks, torch has the rest,
    inside of each.
    """
    before = torch.get_num_threads()
    count = before if threads is None else threads
    if device.type != "cpu" or count == 1:
        yield map
        return
    workers = min(count, NETWORKS)
    share = max(1, count // workers)
    torch.set_num_threads(share)
    try:
        # A new thread would begin with OpenMP's default, all cores.
        with ThreadPoolExecutor(workers, "network", torch.set_num_threads, (share,)) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(before)
