# SPDX-License-Identifier: Apache-2.0
"""Settings of hindsight goals: which frames serve as goals, for each role."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ptp_core.config.checks import require
from ptp_core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class RelabellingConfig:
    """Goals of one role: probabilities that sum to 1. Defaults: authors' ptp.py, both buffers."""

    future: float = 0.6  # a later frame of the trajectory
    next: float = 0.1  # the transition's own next state: reward 0
    original: float = 0.3  # the goal it was recorded with; demonstrations: their last state
    current: float = 0.0  # the transition's own state (OGBench: 0.2 for values)
    final: float = 0.0  # the last frame of the trajectory, whatever goal it was recorded with
    random: float = 0.0  # any frame of another trajectory (OGBench: 0.3 for values)
    future_distribution: Literal["uniform", "geometric"] = "uniform"  # of the future frame
    # "uniform" over the rest of the trajectory (authors; OGBench's actors). "geometric": steps
    # ahead with parameter 1 - discount, at most the last frame (OGBench's values).
    discount: float = 0.99  # geometric only (OGBench)

    def __post_init__(self) -> None:
        names = ("future", "next", "original", "current", "final", "random")
        for name in names:
            require(self, name, 0.0, 1.0)
        require(self, "discount", 0.0, 0.999999)
        total = sum(getattr(self, name) for name in names)
        if abs(total - 1.0) > 1e-6:
            raise ConfigError(f"RelabellingConfig: the probabilities sum to {total}, not 1")


@dataclass(frozen=True, kw_only=True)
class GoalRolesConfig:
    """Relabelling for each role of a goal. Defaults: the paper's, the same for every role.

    ``hiql`` gives the settings of HIQL (arXiv 2307.11949, as OGBench runs it).
    """

    value: RelabellingConfig = field(default_factory=RelabellingConfig)
    actor: RelabellingConfig = field(default_factory=RelabellingConfig)
    planner: RelabellingConfig = field(default_factory=RelabellingConfig)

    @classmethod
    def hiql(cls) -> GoalRolesConfig:
        """Values: 0.2 current, 0.5 geometric future, 0.3 random. Both actors: uniform future."""
        none = {"future": 0.0, "next": 0.0, "original": 0.0}
        actor = RelabellingConfig(**{**none, "future": 1.0})
        value = {**none, "current": 0.2, "future": 0.5, "random": 0.3}
        return cls(
            value=RelabellingConfig(**value, future_distribution="geometric"),
            actor=actor,
            planner=actor,
        )
