# SPDX-License-Identifier: Apache-2.0
"""Settings of one practice run in process: what the settings of practice are applied to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptp_core.agents.method import PlannerSettings
from ptp_core.agents.registry import method_named
from ptp_core.config import FollowerConfig
from ptp_core.errors import InputError
from ptp_core.practice.practice_settings import PracticeSettings
from ptp_core.training.manifest import read_contents


@dataclass(frozen=True, kw_only=True)
class PracticeConfig(PracticeSettings):
    """What to practise, and how. Everything that a run's result depends on but the data.

    Without a ``method`` it is the checkpoint's own; CheckpointError where there is none.
    """

    checkpoint: Path
    env: str  # module:factory of a gymnasium environment
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    task: str | None = None  # None: the environment's first
    method: str = ""  # a name of the registry
    protocol: str = ""  # of the environment's; "": its first
    seed: int = 0
    epochs: int = 150  # online epochs (paper)
    episodes: int = 5  # of an epoch: 2,000 steps (paper)
    max_steps: int | None = None  # control steps an episode; None: as the task has
    evaluate_every: int = 10  # epochs; 0 and the last are always evaluated
    evaluation_episodes: int = 50
    planner: PlannerSettings | None = None  # None: the checkpoint's; of the ptp methods alone
    follower: FollowerConfig | None = None  # None: the checkpoint's with the method's timeout

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.method:
            object.__setattr__(self, "method", read_contents(self.checkpoint).agent)
        method = method_named(self.method)
        if not method.practises:
            raise InputError(f"{self.method} learns from demonstrations alone: only evaluate it")
        if self.reuse_plans and not method.plans:
            raise InputError(f"{self.method} does not plan, so there are no plans to reuse")
        for name in ("epochs", "episodes", "max_steps", "evaluate_every", "evaluation_episodes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1")
