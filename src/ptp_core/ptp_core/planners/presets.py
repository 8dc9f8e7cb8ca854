# SPDX-License-Identifier: Apache-2.0
"""Presets of PTP's planner: named settings of the effort of a search."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ptp_core.config.loading import load_config, read_yaml
from ptp_core.config.planner_config import STRUCTURE, PlannerConfig
from ptp_core.errors import ConfigError

PRESETS = {
    "paper": PlannerConfig.paper,
    "fast": PlannerConfig.fast,
    "descent": PlannerConfig.descent,
    "best": PlannerConfig.best,
}


def planner_config(name: str) -> PlannerConfig:
    """Settings by preset ("paper", "fast") or from the ``planner`` section of a training YAML.

    For callers without a method: a preset has the paper's structure, three levels and 8 subgoals.
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
    """Planner settings of a preset or a training YAML, which a method then completes.

    A preset sets the effort of the search, not the structure of plans. A YAML file sets what its
    ``planner`` section has. Raises ConfigError as `planner_config`.
    """
    config = planner_config(name)
    if name in PRESETS:
        names = {entry.name for entry in dataclasses.fields(config)} - set(STRUCTURE)
    else:
        names = read_yaml(Path(name)).get("planner", {}).keys()
    return {key: getattr(config, key) for key in sorted(names)}
