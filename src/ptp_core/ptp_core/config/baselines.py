# SPDX-License-Identifier: Apache-2.0
"""Settings of the planners that the method is compared with. Defaults: their papers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ptp_core.config.checks import require
from ptp_core.errors import ConfigError


class Legs(NamedTuple):
    """A path cut at its subgoals."""

    count: int  # legs, the last of which ends at the goal
    subgoals: int  # between start and goal
    taus: tuple[int, ...]  # steps left at the beginning of each leg; a leg takes tau + 1 steps


def split_horizon(horizon: int, leg_limit: int) -> Legs:
    """Cut a path into the fewest legs, ceil((horizon + 1) / (leg_limit + 1)) (LEAP's code).

    ``horizon`` and ``leg_limit`` are steps left, so that the path takes horizon + 1 steps.
    The legs share these evenly. Where that leaves a remainder the first legs are one step longer
    (ours). Raises ConfigError for a negative number.
    """
    if horizon < 0 or leg_limit < 0:
        raise ConfigError(
            f"a horizon of {horizon} steps in legs of at most {leg_limit}: neither may be negative"
        )
    steps = horizon + 1
    count = -(-steps // (leg_limit + 1))
    each, longer = divmod(steps, count)
    taus = (each,) * longer + (each - 1,) * (count - longer)
    return Legs(count, count - 1, taus)


@dataclass(frozen=True, kw_only=True)
class LeapConfig:
    """LEAP: cross-entropy method over the latents of all subgoals (arXiv 1911.08453 and code)."""

    subgoals: int = 3  # K, between start and goal (authors: horizon 99, legs of at most 25)
    samples: int = 1000  # candidate plans an iteration (authors)
    iterations: int = 15  # evaluations (authors)
    elite_fraction: float = 0.05  # of the samples, that the next iteration is fitted to (authors)
    initial_std: float = 1.5  # of the first samples, in units of the prior's 1 (authors)
    prior_weight: float = 0.001  # w of sum log N(z; 0, I); authors: 0.1 for their point mass

    def __post_init__(self) -> None:
        require(self, "subgoals", 0)
        require(self, "samples", 1)
        require(self, "iterations", 1)
        require(self, "elite_fraction", 1e-6, 1.0)
        require(self, "initial_std", 1e-6)
        require(self, "prior_weight", 0.0)

    @property
    def elites(self) -> int:
        """Samples that the next iteration is fitted to, at least one."""
        return max(1, round(self.elite_fraction * self.samples))

    @classmethod
    def for_horizon(cls, horizon: int, leg_limit: int, **overrides) -> LeapConfig:
        """Settings with as many subgoals as ``split_horizon`` gives."""
        return cls(**{"subgoals": split_horizon(horizon, leg_limit).subgoals, **overrides})
