# SPDX-License-Identifier: Apache-2.0
"""From a method's name to its planner and follower, the same for practice and evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptp_core.config import FollowerConfig, to_dict
from ptp_core.errors import ConfigError
from ptp_core.planners.base import Planner
from ptp_core.planners.factory import AnyPlannerConfig, make_planner
from ptp_core.planners.hierarchy import HierarchicalPlanner
from ptp_core.planners.plan_buffer import PlanBuffer
from ptp_core.planners.subgoal_controls import Subgoals, unsearched
from ptp_core.practice.methods import PlannerSettings, method_named, planner_of
from ptp_core.training.baselines import PART_OF, Baselines, load_baselines
from ptp_core.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    from ptp_core.learning.iql import GoalNetwork


@dataclass(frozen=True)
class Search:
    """A method's planner, None where the policy pursues the goal itself, and what goes with it."""

    planner: Planner | None
    follower: FollowerConfig
    settings: dict[str, Any]  # what plans depend on, as plain values
    policy: GoalNetwork | None = None  # in place of the checkpoint's

    @property
    def buffers(self) -> list[PlanBuffer]:
        """Earlier plans, which only PTP's planner has."""
        return self.planner.buffers if isinstance(self.planner, HierarchicalPlanner) else []

    def install_policy(self, checkpoint: Checkpoint) -> None:
        """Let the checkpoint's networks act with the method's own policy, where it has one."""
        if self.policy is not None:
            checkpoint.iql.policy = self.policy


def make_search(
    name: str,
    checkpoint: Checkpoint,
    planner: PlannerSettings | None = None,
    baselines: Path | None = None,
    follower: FollowerConfig | None = None,
    subgoals: Subgoals = "planned",
) -> Search:
    """The search of the method ``name``.

    ``planner``: settings of PTP's planner, None for the checkpoint's; the method decides their
    structure. ``baselines``: folder with the networks and the settings of "leap", "gcp" and
    "gcbc"; unused by others. ``follower``: None for the checkpoint's with the method's timeout.
    ``subgoals``: "random" for one plan of the method's planner that nothing was searched for,
    "oracle" for pictures that the environment gives: then there is no planner.
    Raises ConfigError for ``planner`` with a method that has none of these settings or another
    structure, for ``subgoals`` of a method that has none, and where ``baselines`` are needed but
    not named; CheckpointError where they do not fit.
    """
    method = method_named(name)
    if planner is not None and method.search != "ptp":
        raise ConfigError(
            f"planner settings are for the ptp methods; {name} "
            + ("takes its own from its baselines" if method.plans else "does not plan")
        )
    if subgoals != "planned" and not method.plans:
        raise ConfigError(
            f"{subgoals} subgoals are for methods that plan; {name} pursues the goal itself"
        )
    if subgoals == "oracle" and planner is not None:
        raise ConfigError("oracle subgoals come from the environment: leave the planner out")
    follower = follower or method.follower(checkpoint.config.follower)
    settings: dict[str, Any] = {"planner": None}
    if subgoals == "oracle":
        return Search(None, follower, settings)
    loaded = None
    if method.needs_baselines:
        if baselines is None:
            raise ConfigError(
                f"{name} needs a folder that ptp pretrain-baselines made: --baselines"
            )
        device = checkpoint.vqvae.codebook.device
        loaded = load_baselines(baselines, checkpoint.encoder_id, device)
        loaded.require(PART_OF[name])
        settings["baselines_sha256"] = loaded.sha256(PART_OF[name])
    if not method.plans:
        return Search(None, follower, settings, loaded.gcbc if loaded else None)
    config: AnyPlannerConfig
    if loaded is None:
        config = planner_of(name, checkpoint.config.planner, planner)
        settings["plan_buffer"] = method.buffer
    else:
        config = _config_of(name, loaded)
    if subgoals == "random":
        config = unsearched(config)
    settings["planner"] = to_dict(config)
    return Search(make_planner(checkpoint, config, baselines=loaded), follower, settings)


def _config_of(name: str, baselines: Baselines) -> AnyPlannerConfig:
    return baselines.config.leap if method_named(name).search == "leap" else baselines.config.gcp
