# SPDX-License-Identifier: Apache-2.0
"""Whether nodes grow: memory of processes that have settled, early against late."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SETTLED = 20.0  # s after its start, when a process has loaded what it needs
LEAST = 3  # samples that a part of the run needs


@dataclass
class _Life:
    """One process."""

    pid: int
    began: float
    samples: list[tuple[float, int]] = field(default_factory=list)


class MemoryWatch:
    """Takes samples of each node's memory; a node may be several processes in turn."""

    def __init__(self) -> None:
        self._lives: dict[str, list[_Life]] = {}

    def sample(self, now: float, memory: dict[str, tuple[int, int]]) -> None:
        """``memory`` as `RunningStack.memory` gives it, at ``now`` [s]."""
        for node, (pid, size) in memory.items():
            lives = self._lives.setdefault(node, [])
            if not lives or lives[-1].pid != pid:
                lives.append(_Life(pid, now))
            if now - lives[-1].began >= SETTLED:
                lives[-1].samples.append((now, size))

    def figures(self) -> dict[str, dict[str, float]]:
        """First and last third of the run by node: median MiB each, and the growth.

        A node without enough samples in either third is left out.
        """
        found = {}
        for node, lives in self._lives.items():
            samples = np.array([sample for life in lives for sample in life.samples], float)
            if not len(samples):
                continue
            times, sizes = samples.T
            begin, end = times.min(), times.max()
            third = (end - begin) / 3
            early, late = sizes[times <= begin + third], sizes[times >= end - third]
            if min(len(early), len(late)) < LEAST or third <= 0:
                continue
            first, last = float(np.median(early)), float(np.median(late))
            found[node] = {
                "early_mib": first / 2**20,
                "late_mib": last / 2**20,
                "growth": last / first - 1.0,
            }
        return found

    def growth(self) -> float:
        """Growth of all nodes together; NaN without enough samples."""
        figures = self.figures().values()
        early = sum(figure["early_mib"] for figure in figures)
        return sum(figure["late_mib"] for figure in figures) / early - 1.0 if early else np.nan
