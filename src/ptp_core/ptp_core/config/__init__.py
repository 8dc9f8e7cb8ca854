# SPDX-License-Identifier: Apache-2.0
"""Configuration: dataclasses that carry units and sources, and their YAML form."""

from ptp_core.config.baseline_training import BaselinesConfig
from ptp_core.config.baselines import LeapConfig, Legs, split_horizon
from ptp_core.config.control import FollowerConfig, PlannerConfig
from ptp_core.config.gcp import GcpConfig
from ptp_core.config.goals import GoalRolesConfig, RelabellingConfig
from ptp_core.config.loading import from_dict, load_config, to_dict
from ptp_core.config.midpoint import MidpointConfig
from ptp_core.config.models import (
    GapConfig,
    LatentShape,
    LatentVAEConfig,
    SubgoalGeneratorConfig,
    VQVAEConfig,
)
from ptp_core.config.training import (
    DataConfig,
    ImaginedConfig,
    IQLConfig,
    TrainConfig,
)

__all__ = [
    "BaselinesConfig",
    "DataConfig",
    "FollowerConfig",
    "GapConfig",
    "GcpConfig",
    "GoalRolesConfig",
    "IQLConfig",
    "ImaginedConfig",
    "LatentShape",
    "LatentVAEConfig",
    "LeapConfig",
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
