# SPDX-License-Identifier: Apache-2.0
"""Seeds and results of episodes, and their statistics, such as success rates with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

APART = 1_000_000  # offset between the seeds of practice and of its evaluations


@dataclass(frozen=True)
class EpisodeSeeds:
    """One seed in [0, 2^32) for each consumer of randomness."""

    env: int
    plan: int
    policy: int


def episode_seeds(seed: int, task: str, episode: int) -> EpisodeSeeds:
    """Seeds of one episode, statistically independent over runs, tasks and episodes."""
    task_number = int.from_bytes(task.encode(), "little")
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(task_number, episode))
    return EpisodeSeeds(*(int(word) for word in sequence.generate_state(3)))


MAX_STEPS = 400  # control steps an episode (authors' train_eval_ptp.py)
IDLE_MOTION = 0.15  # norm of an idle step's motion, relative to the largest motion
# The policy's fixed standard deviation (paper): a smaller mean motion is below its noise.
COST_TERMS = ("distance", "value", "prior")


def is_idle(motion: np.ndarray) -> bool:
    """Whether a motion, an action in [-1, 1] without the gripper, is idle."""
    return bool((np.abs(motion) < IDLE_MOTION).all())


@dataclass(frozen=True)
class EpisodeResult:
    """The result of one episode."""

    success: bool  # success check on the last observation (paper)
    steps: int  # control steps
    first_success: int | None  # step after which the success check first held, if ever
    plan_seconds: float | None  # None without a planner
    plan_cost: float | None
    plan_costs: dict[str, float] | None  # by term: distance, value, prior; None: unknown
    subgoals_reached: int  # reached before their timeout
    subgoals_timed_out: int  # given up because of their timeout
    idle_fraction: float | None  # share of idle steps until success, see `is_idle`; None: unknown
    final_distance: float | None  # to the goal in the agent's measure; L2 between latents
    seconds: float  # wall clock of the control loop, environment included
    latencies: np.ndarray  # float64 (steps,), seconds from image to action


Z_95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


def wilson_interval(successes: float, trials: float, z: float = Z_95) -> tuple[float, float]:
    """Wilson score interval of a success rate (E. B. Wilson, 1927); 95 % by default."""
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    centre = rate + z * z / (2 * trials)
    spread = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def pooled_interval(
    successes: Sequence[int], trials: Sequence[int], z: float = Z_95
) -> tuple[float, float]:
    """Wilson interval of the success rate over several runs, seeds for example; 95 % by default.

    Where the runs differ by more than chance, each episode has less weight: the counts are divided
    by the design effect (Kish, 1965), the variance between runs over that of equal runs.
    """
    wins, counts = np.asarray(successes, float), np.asarray(trials, float)
    total = counts.sum()
    effect = 1.0
    if len(counts) > 1 and 0 < wins.sum() < total:
        rate = wins.sum() / total
        between = (counts * (wins / counts - rate) ** 2).sum() / (len(counts) - 1)
        effect = max(1.0, between / (rate * (1 - rate)))
    return wilson_interval(wins.sum() / effect, total / effect, z)


def summarise(results: Sequence[tuple[int, int, EpisodeResult]]) -> dict[str, Any]:
    """Statistics of one task from (episode, environment seed, result), as written to the JSON.

    Planning times are in seconds, control latencies in milliseconds. "plan_cost_shares" are shares
    of the sum of the terms' absolute values. "runs" lists the episodes. Unknown values are None.
    """
    ordered = sorted(results, key=lambda item: item[0])
    episodes = [result for _, _, result in ordered]
    successes = sum(result.success for result in episodes)
    latencies = np.concatenate([result.latencies for result in episodes]) * 1e3
    p50, p99 = np.percentile(latencies, [50, 99]) if len(latencies) else (math.nan, math.nan)
    return {
        "episodes": len(episodes),
        "successes": successes,
        "success_rate": successes / len(episodes),
        "success_interval_95": list(wilson_interval(successes, len(episodes))),
        "plan_seconds": _mean(result.plan_seconds for result in episodes),
        "final_cost": _mean(result.plan_cost for result in episodes),
        **_cost_terms(episodes),
        "idle_fraction": _mean(result.idle_fraction for result in episodes),
        "subgoals_reached": _mean(result.subgoals_reached for result in episodes),
        "subgoals_timed_out": _mean(result.subgoals_timed_out for result in episodes),
        "final_distance": _mean(result.final_distance for result in episodes),
        "steps_per_second": sum(r.steps for r in episodes) / sum(r.seconds for r in episodes),
        "control_latency_ms": {"p50": float(p50), "p99": float(p99)},
        "runs": [
            {
                "episode": episode,
                "seed": seed,
                "success": result.success,
                "first_success": result.first_success,
                "steps": result.steps,
                "plan_seconds": result.plan_seconds,
                "final_cost": result.plan_cost,
                "plan_costs": result.plan_costs,
                "idle_fraction": result.idle_fraction,
                "final_distance": result.final_distance,
                "subgoals_reached": result.subgoals_reached,
                "subgoals_timed_out": result.subgoals_timed_out,
            }
            for episode, seed, result in ordered
        ],
    }


def _cost_terms(episodes: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Mean cost of a plan by term, and each term's share."""
    known = [result.plan_costs for result in episodes if result.plan_costs is not None]
    if not known:
        return {"plan_costs": None, "plan_cost_shares": None}
    means = {name: float(np.mean([costs[name] for costs in known])) for name in COST_TERMS}
    total = sum(map(abs, means.values()))
    shares = {name: abs(value) / total for name, value in means.items()} if total else None
    return {"plan_costs": means, "plan_cost_shares": shares}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
