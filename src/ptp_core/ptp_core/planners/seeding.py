# SPDX-License-Identifier: Apache-2.0
"""Random streams of a plan's segments: a batch then draws what its segments draw alone."""

from __future__ import annotations

import torch


def spawn(generator: torch.Generator, count: int) -> list[torch.Generator]:
    """Independent CPU generators, one a segment, seeded from ``generator``."""
    seeds = torch.randint(2**62, (count,), generator=generator)
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]
