# SPDX-License-Identifier: Apache-2.0
"""Settings of methods that learn from states and pursue goal states: GCIQL and HIQL.

Defaults are those of OGBench's code (arXiv 2410.20092, impls/agents), which runs both methods with
the same networks, goals and budget.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ptp_core.config.loading import require
from ptp_core.config.train_config import GoalRolesConfig, RelabellingConfig


@dataclass(frozen=True, kw_only=True)
class WeightedRegressionConfig:
    """Advantage-weighted regression (AWR) of a Gaussian policy with a fixed deviation."""

    alpha: float = 3.0  # weights exp(alpha A); the setting that matters most, says OGBench
    weight_clip: float = 100.0  # upper bound of the weights
    policy_std: float = 1.0  # in units of what is regressed

    def __post_init__(self) -> None:
        require(self, "alpha", 1e-6)
        require(self, "weight_clip", 0.0)
        require(self, "policy_std", 1e-6)

    @property
    def temperature(self) -> float:
        """What IQL divides the advantage by: 1 / alpha."""
        return 1.0 / self.alpha


@dataclass(frozen=True, kw_only=True)
class StateLearnerConfig:
    """What GCIQL and HIQL have in common: networks, goals of values, and the budget."""

    hidden: tuple[int, ...] = (512, 512, 512)  # units of every network; GELU
    layer_norm: bool = True  # behind each hidden layer of values and representations
    discount: float = 0.99
    target_update: float = 0.005  # tau, every gradient step
    value_goals: RelabellingConfig = field(default_factory=lambda: GoalRolesConfig.hiql().value)
    learning_rate: float = 3e-4  # Adam, every network
    learning_rate_decay: Literal["none", "cosine"] = "none"  # over the budget
    batch_size: int = 1024  # transitions
    steps: int = 1_000_000  # gradient steps
    max_minutes: float = 0.0  # wall clock; 0 = no limit

    def __post_init__(self) -> None:
        require(self, "discount", 0.0, 0.999999)
        require(self, "target_update", 0.0, 1.0)
        require(self, "learning_rate", 0.0)
        require(self, "batch_size", 1)
        require(self, "steps", 0)
        require(self, "max_minutes", 0.0)


@dataclass(frozen=True, kw_only=True)
class GCIQLConfig(StateLearnerConfig):
    """Goal-conditioned IQL as OGBench runs it (impls/agents/gciql.py)."""

    expectile: float = 0.9
    extraction: Literal["ddpg_bc", "awr"] = "ddpg_bc"  # how the policy learns from Q and V
    bc_weight: float = 0.3  # alpha of DDPG+BC; OGBench: 1.0 on cube-single and scene
    awr: WeightedRegressionConfig = field(default_factory=WeightedRegressionConfig)  # "awr" only
    policy_goals: RelabellingConfig = field(default_factory=lambda: GoalRolesConfig.hiql().actor)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "expectile", 0.0, 1.0)
        require(self, "bc_weight", 0.0)


@dataclass(frozen=True, kw_only=True)
class HIQLConfig(StateLearnerConfig):
    """Hierarchical IQL (arXiv 2307.11949) as OGBench runs it (impls/agents/hiql.py)."""

    expectile: float = 0.7
    representation_dim: int = 10  # numbers of phi([s; g])
    subgoal_steps: int = 25  # k, control steps to a subgoal; OGBench: 10 for manipulation
    high: WeightedRegressionConfig = field(default_factory=WeightedRegressionConfig)
    low: WeightedRegressionConfig = field(default_factory=WeightedRegressionConfig)
    high_goals: RelabellingConfig = field(default_factory=lambda: GoalRolesConfig.hiql().planner)
    representation_gradient: bool = False  # whether the low level trains phi; true from pixels

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "expectile", 0.0, 1.0)
        require(self, "representation_dim", 1)
        require(self, "subgoal_steps", 1)


@dataclass(frozen=True, kw_only=True)
class StateDataConfig:
    """What is learned from a data set whose proprioception is the whole state."""

    training_fraction: float = 0.9091  # first part of the trajectories: 1000 of OGBench's 1100

    def __post_init__(self) -> None:
        require(self, "training_fraction", 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class StateTrainConfig:
    """All settings of `ptp pretrain-states`."""

    seed: int = 0
    threads: int = 1  # torch threads, set once by the program's entry point
    device: Literal["cpu", "cuda", "auto"] = "auto"
    save_minutes: float = 2.0  # wall clock between saved states of a stage
    log_every: int = 100  # gradient steps between scalars
    data: StateDataConfig = field(default_factory=StateDataConfig)
    gciql: GCIQLConfig = field(default_factory=GCIQLConfig)
    hiql: HIQLConfig = field(default_factory=HIQLConfig)

    def __post_init__(self) -> None:
        require(self, "seed", 0)
        require(self, "threads", 1)
        require(self, "save_minutes", 0.0)
        require(self, "log_every", 1)
