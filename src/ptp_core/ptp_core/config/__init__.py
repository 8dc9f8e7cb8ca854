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
from ptp_core.config.instruction_config import (
    BackwardConfig,
    ForwardConfig,
    GoalFusionConfig,
    InstructedDataConfig,
    InstructedPolicyConfig,
    InstructionTrainConfig,
    ParallelConfig,
    PredictorConfig,
    ProposerConfig,
    SentenceTableConfig,
    TextConfig,
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
    "BackwardConfig",
    "BaselinesConfig",
    "ChunkedPolicyConfig",
    "DataConfig",
    "DiffusionConfig",
    "FollowerConfig",
    "ForwardConfig",
    "GapConfig",
    "GcpConfig",
    "GeneratedGoalsConfig",
    "GoalClassifierConfig",
    "GoalFusionConfig",
    "GoalRolesConfig",
    "IQLConfig",
    "InstructedDataConfig",
    "InstructedPolicyConfig",
    "InstructionTrainConfig",
    "LatentShape",
    "LatentVAEConfig",
    "LeapConfig",
    "LegPlannerConfig",
    "Legs",
    "MidpointConfig",
    "ParallelConfig",
    "PlannerConfig",
    "PredictorConfig",
    "ProposerConfig",
    "RelabellingConfig",
    "SentenceTableConfig",
    "SubgoalGeneratorConfig",
    "TextConfig",
    "TrainConfig",
    "VQVAEConfig",
    "from_dict",
    "load_config",
    "split_horizon",
    "to_dict",
]
