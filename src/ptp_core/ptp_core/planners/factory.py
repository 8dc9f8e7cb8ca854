# SPDX-License-Identifier: Apache-2.0
"""Make a planner from a checkpoint and settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ptp_core.config import PlannerConfig, load_config
from ptp_core.errors import ConfigError
from ptp_core.planners.base import Planner
from ptp_core.planners.hierarchy import HierarchicalPlanner

if TYPE_CHECKING:
    from ptp_core.training.checkpoint import Checkpoint

PRESETS = {
    "paper": PlannerConfig.paper,
    "fast": PlannerConfig.fast,
    "best": PlannerConfig.best,
}


def make_planner(
    checkpoint: Checkpoint, config: PlannerConfig | None = None, *, threads: int = 1
) -> Planner:
    """Return a planner on the checkpoint's networks; ``config`` defaults to the checkpoint's.

    ``threads`` share the work; the plans do not depend on their number.
    """
    return HierarchicalPlanner(
        checkpoint.vqvae,
        checkpoint.generators,
        checkpoint.iql.value,
        config or checkpoint.config.planner,
        threads=threads,
    )


def planner_config(name: str) -> PlannerConfig:
    """Settings by preset ("paper", "fast") or from the ``planner`` section of a training YAML.

    Raises ConfigError for a name that is neither.
    """
    if name in PRESETS:
        return PRESETS[name]()
    if Path(name).suffix not in (".yaml", ".yml"):
        raise ConfigError(
            f'planner "{name}" is neither a preset ({", ".join(PRESETS)}) nor a YAML file'
        )
    return load_config(name).planner
