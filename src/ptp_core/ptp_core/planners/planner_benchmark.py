# SPDX-License-Identifier: Apache-2.0
"""Benchmark planners: seconds per plan and cost, on the same start-goal pairs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from ptp_core.planners.planner import Planner


def benchmark_planners(
    planners: Mapping[str, Planner],
    pairs: Sequence[tuple[torch.Tensor, torch.Tensor]],
    *,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Plan every pair of (start, goal) latents (D,) with every planner.

    For each planner: "seconds" (median, wall clock), "cost" (mean) with its terms, and "plans"
    (one {"seconds", "cost"} a pair). Pair i uses the same seed with every planner. The first pair
    is planned once beforehand as a warm-up, which is not timed.
    """
    results = {}
    for name, planner in planners.items():
        _plan(planner, pairs[0], seed)
        plans = [_plan(planner, pair, seed + index) for index, pair in enumerate(pairs)]
        results[name] = {
            "seconds": statistics.median(plan.seconds for plan in plans),
            "cost": _mean(plan.cost for plan in plans),
            "cost_terms": {
                term: _mean(plan.costs[term] for plan in plans) for term in plans[0].costs
            },
            "plans": [{"seconds": plan.seconds, "cost": plan.cost} for plan in plans],
        }
    return results


def _plan(planner, pair, seed):
    return planner.plan(*pair, torch.Generator().manual_seed(seed))


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)
