# SPDX-License-Identifier: Apache-2.0
"""Seeds and results of episodes, their statistics, and the file of those that are finished.

An interrupted evaluation resumes from that file. Loads no torch.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptp_core.data.file_limits import MIB, OverBudget, parse_json, read_bytes
from ptp_core.data.files import write_atomically
from ptp_core.errors import InputError

MOST = 512 * MIB  # bytes of unfinished results; an episode of 400 steps takes 10 kB
APART = 1_000_000  # offset between the seeds of practice and of its evaluations

MAX_STEPS = 400  # control steps an episode (authors' train_eval_ptp.py)
IDLE_MOTION = 0.15  # norm of an idle step's motion, relative to the largest motion
# The policy's fixed standard deviation (paper): a smaller mean motion is below its noise.
COST_TERMS = ("distance", "value", "prior")

Z_95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution

STAGES_SIGNAL = "exact state of the environment, privileged"

Key = tuple[str, int]
"""Task and episode number."""


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
    instruction: str | None = None  # what the agent was told; None: its goal was no sentence
    stages_reached: int | None = None  # in order, as the environment judges; None: unknown
    stages: int | None = None  # of the task; None: unknown


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
    Where the environment judges stages there is also "stages": {"score": mean share of a task's
    stages that were reached in order, "rates": share of episodes by stage, "judged_by"}.
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
        **_stages(episodes),
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
                **_told_and_reached(result),
            }
            for episode, seed, result in ordered
        ],
    }


class PartialResults:
    """JSON lines of finished episodes, after a line with the settings that results depend on.

    A line truncated by a kill is dropped. Raises InputError if the file has other settings, or was
    written by a version that stored other fields of an episode.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.results: dict[Key, EpisodeResult] = {}
        try:
            lines = read_bytes(path, MOST).splitlines(keepends=True) if path.exists() else []
        except OverBudget as error:
            raise InputError(f"{path} is refused ({error}): name another file") from error
        lines = [line for line in lines if line.endswith(b"\n")]
        if lines:
            self._read(lines, settings)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [_line(settings)]
        write_atomically(path, lambda partial: partial.write_bytes(b"".join(lines)))

    def add(self, key: Key, result: EpisodeResult) -> None:
        """Store one finished episode; it survives a kill from now on."""
        self.results[key] = result
        values = {**dataclasses.asdict(result), "latencies": result.latencies.tolist()}
        with open(self.path, "ab") as file:
            file.write(_line({"task": key[0], "episode": key[1], **values}))
            file.flush()
            os.fsync(file.fileno())

    def _check_format(self, row: dict[str, Any]) -> None:
        known = {entry.name for entry in dataclasses.fields(EpisodeResult)}
        found = row.keys() - {"task", "episode"}
        if found != known:
            other = " and ".join(
                f"{word} {', '.join(sorted(names))}"
                for word, names in (("without", known - found), ("with", found - known))
                if names
            )
            raise InputError(
                f"{self.path} holds unfinished results of another version of this program, "
                f"{other}: finish them with that version, or delete the file to start anew"
            )

    def _read(self, lines: list[bytes], settings: dict[str, Any]) -> None:
        try:
            stored, *rows = [parse_json(line) for line in lines]
            for row in rows:
                self._check_format(row)
                key = row.pop("task"), row.pop("episode")
                row["latencies"] = np.array(row["latencies"], dtype=np.float64)
                self.results[key] = EpisodeResult(**row)
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{self.path} is damaged: delete it to start anew") from error
        current = json.loads(_line(settings))
        for name in sorted(stored.keys() | current.keys()):
            if stored.get(name) != current.get(name):
                raise InputError(
                    f'{self.path} holds unfinished results with another "{name}": repeat that '
                    "command to finish it, delete the file, or write to another --json"
                )


def _cost_terms(episodes: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Mean cost of a plan by term, and each term's share."""
    known = [result.plan_costs for result in episodes if result.plan_costs is not None]
    if not known:
        return {"plan_costs": None, "plan_cost_shares": None}
    means = {name: float(np.mean([costs[name] for costs in known])) for name in COST_TERMS}
    total = sum(map(abs, means.values()))
    shares = {name: abs(value) / total for name, value in means.items()} if total else None
    return {"plan_costs": means, "plan_cost_shares": shares}


def _stages(episodes: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Stage scores (LBP, section on real-world experiments); {} where no stages are judged."""
    known = [result for result in episodes if result.stages]
    if not known:
        return {}
    most = max(result.stages for result in known)
    rates = [np.mean([result.stages_reached >= k for result in known]) for k in range(1, most + 1)]
    return {
        "stages": {
            "score": float(np.mean([result.stages_reached / result.stages for result in known])),
            "rates": [float(rate) for rate in rates],
            "judged_by": STAGES_SIGNAL,
        }
    }


def _told_and_reached(result: EpisodeResult) -> dict[str, Any]:
    values = {"instruction": result.instruction, "stages_reached": result.stages_reached}
    return {name: value for name, value in values.items() if value is not None}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _line(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, sort_keys=True) + "\n").encode()
