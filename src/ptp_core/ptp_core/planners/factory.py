# SPDX-License-Identifier: Apache-2.0
"""Make a planner from networks and settings; the settings' class says which planner."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptp_core.config import GcpConfig, LeapConfig, PlannerConfig, load_config
from ptp_core.config.control import STRUCTURE
from ptp_core.config.loading import read_yaml
from ptp_core.errors import ConfigError
from ptp_core.planners.base import Planner
from ptp_core.planners.gcp import GcpPlanner
from ptp_core.planners.hierarchy import HierarchicalPlanner
from ptp_core.planners.leap import LeapPlanner

if TYPE_CHECKING:
    from ptp_core.training.baselines import Baselines
    from ptp_core.training.checkpoint import Checkpoint

PRESETS = {
    "paper": PlannerConfig.paper,
    "fast": PlannerConfig.fast,
    "descent": PlannerConfig.descent,
    "best": PlannerConfig.best,
}
AnyPlannerConfig = PlannerConfig | LeapConfig | GcpConfig


def make_planner(
    checkpoint: Checkpoint,
    config: AnyPlannerConfig | None = None,
    *,
    baselines: Baselines | None = None,
    threads: int = 1,
) -> Planner:
    """Return a planner on the checkpoint's networks; ``config`` defaults to the checkpoint's.

    LEAP and GCP also need ``baselines``, trained on the checkpoint's encoder. ``threads`` share
    PTP's work; the plans do not depend on their number. Raises ConfigError without baselines.
    """
    config = config or checkpoint.config.planner
    vqvae, value = checkpoint.vqvae, checkpoint.iql.value
    if isinstance(config, PlannerConfig):
        return HierarchicalPlanner(vqvae, checkpoint.generators, value, config, threads=threads)
    if baselines is None:
        raise ConfigError(f"{type(config).__name__}: this planner needs the baselines' networks")
    if isinstance(config, LeapConfig):
        return LeapPlanner(vqvae, baselines.vae, value, config)
    return GcpPlanner(vqvae, baselines.midpoints, value, config)


def planner_config(name: str) -> PlannerConfig:
    """Settings by preset ("paper", "fast") or from the ``planner`` section of a training YAML.

    Where no method decides the structure: a preset's is the paper's, three levels, 8 subgoals.
    Raises ConfigError for a name that is neither.
    """
    if name in PRESETS:
        return PRESETS[name]()
    if Path(name).suffix not in (".yaml", ".yml"):
        raise ConfigError(
            f'planner "{name}" is neither a preset ({", ".join(PRESETS)}) nor a YAML file'
        )
    return load_config(name).planner


def planner_settings(name: str) -> dict[str, Any]:
    """What a preset or a training YAML says of the planner, for a method to complete.

    A preset says how hard to search and nothing of a plan's structure. A YAML file says what
    stands in its ``planner`` section. Raises ConfigError as `planner_config`.
    """
    config = planner_config(name)
    if name in PRESETS:
        names = {entry.name for entry in dataclasses.fields(config)} - set(STRUCTURE)
    else:
        names = read_yaml(Path(name)).get("planner", {}).keys()
    return {key: getattr(config, key) for key in sorted(names)}
