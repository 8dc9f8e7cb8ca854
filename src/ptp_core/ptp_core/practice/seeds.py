# SPDX-License-Identifier: Apache-2.0
"""Seeds of an episode: they depend on nothing but the run's seed, the task and the number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

APART = 1_000_000  # between the seeds of practice and of its evaluations


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
