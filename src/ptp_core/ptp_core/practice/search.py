# SPDX-License-Identifier: Apache-2.0
"""From a method's name to its planner, the same for practice and evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptp_core.config import PlannerConfig, to_dict
from ptp_core.errors import ConfigError
from ptp_core.planners.base import Planner
from ptp_core.planners.factory import make_planner
from ptp_core.planners.hierarchy import HierarchicalPlanner
from ptp_core.planners.plan_buffer import PlanBuffer
from ptp_core.practice.methods import method_named
from ptp_core.training.baselines import load_baselines
from ptp_core.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Search:
    """A method's planner, None where the policy pursues the goal itself."""

    planner: Planner | None
    settings: dict[str, Any]  # what plans depend on, as plain values

    @property
    def buffers(self) -> list[PlanBuffer]:
        """Earlier plans, which only PTP's planner has."""
        return self.planner.buffers if isinstance(self.planner, HierarchicalPlanner) else []


def make_search(
    name: str,
    checkpoint: Checkpoint,
    planner: PlannerConfig | None = None,
    baselines: Path | None = None,
) -> Search:
    """The search of the method ``name``.

    ``planner``: settings of PTP's planner, None for the checkpoint's. ``baselines``: folder with
    the networks and the settings of "leap" and "gcp"; unused by others.
    Raises ConfigError for ``planner`` with a method that has none of these settings, and where
    ``baselines`` are needed but not named; CheckpointError where they do not fit.
    """
    method = method_named(name)
    if planner is not None and method.search != "ptp":
        raise ConfigError(
            f"planner settings are for the ptp methods; {name} "
            + ("takes its own from its baselines" if method.plans else "does not plan")
        )
    if not method.plans:
        return Search(None, {"planner": None})
    if not method.needs_baselines:
        config = method.planner(planner or checkpoint.config.planner)
        return Search(make_planner(checkpoint, config), {"planner": to_dict(config)})
    if baselines is None:
        raise ConfigError(f"{name} needs a folder that ptp pretrain-baselines made: --baselines")
    device = checkpoint.vqvae.codebook.device
    loaded = load_baselines(baselines, checkpoint.encoder_id, device)
    config = loaded.config.leap if method.search == "leap" else loaded.config.gcp
    settings = {"planner": to_dict(config), "baselines_sha256": loaded.sha256}
    return Search(make_planner(checkpoint, config, baselines=loaded), settings)
