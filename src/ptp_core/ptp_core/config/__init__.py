# SPDX-License-Identifier: Apache-2.0
"""Configuration: dataclasses with units and sources, and their YAML form."""

from ptp_core.config.baseline_config import (
    BaselinesConfig,
    GcpConfig,
    LeapConfig,
    Legs,
    MidpointConfig,
    split_horizon,
)
from ptp_core.config.loading import from_dict, load_config, to_dict
from ptp_core.config.network_config import (
    GapConfig,
    LatentShape,
    LatentVAEConfig,
    SubgoalGeneratorConfig,
    VQVAEConfig,
)
from ptp_core.config.planner_config import FollowerConfig, LegPlannerConfig, PlannerConfig
from ptp_core.config.train_config import (
    ChunkedPolicyConfig,
    DataConfig,
    DiffusionConfig,
    GeneratedGoalsConfig,
    GoalClassifierConfig,
    GoalRolesConfig,
    IQLConfig,
    RelabellingConfig,
    TrainConfig,
)

__all__ = [
    "BaselinesConfig",
    "ChunkedPolicyConfig",
    "DataConfig",
    "DiffusionConfig",
    "FollowerConfig",
    "GapConfig",
    "GcpConfig",
    "GeneratedGoalsConfig",
    "GoalClassifierConfig",
    "GoalRolesConfig",
    "IQLConfig",
    "LatentShape",
    "LatentVAEConfig",
    "LeapConfig",
    "LegPlannerConfig",
    "Legs",
    "MidpointConfig",
    "PlannerConfig",
    "RelabellingConfig",
    "SubgoalGeneratorConfig",
    "TrainConfig",
    "VQVAEConfig",
    "from_dict",
    "load_config",
    "split_horizon",
    "to_dict",
]
