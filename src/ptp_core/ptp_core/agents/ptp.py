# SPDX-License-Identifier: Apache-2.0
"""Planning to Practice and its variants: hierarchical MPPI over conditional subgoal generators."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ptp_core.agents.model_free import iql_learner
from ptp_core.agents.registry import AgentOptions, Method, PlannerSettings, methods
from ptp_core.config import PlannerConfig, to_dict
from ptp_core.errors import ConfigError
from ptp_core.planners.planner import unsearched

if TYPE_CHECKING:
    from ptp_core.agents.subgoal_agent import SubgoalAgent
    from ptp_core.planners.hierarchical_planner import HierarchicalPlanner
    from ptp_core.training.checkpoint import Checkpoint

# Values of PlannerConfig. Three levels: dt60, dt30, dt15 make 2, 4, 8 subgoals.
HIERARCHY = {"levels": 3, "horizons": "finest", "subgoals": 8, "subgoal_count": "total"}
FLAT = {**HIERARCHY, "levels": 1}  # all 8 at once, with dt15
# Ours, not in the paper: two subgoals with dt60, and the second one is replaced by the goal.
SINGLE_SUBGOAL = {
    "levels": 1,
    "horizons": "coarsest",
    "subgoals": 2,
    "subgoal_count": "total",
    "replace_final_subgoal": True,
}


@dataclass(frozen=True, kw_only=True)
class PtpMethod(Method):
    """A method with PTP's planner."""

    structure: Mapping[str, Any] = field(hash=False)  # fixed fields of PlannerConfig


def ptp_method(name: str, summary: str, structure: Mapping[str, Any], **others: Any) -> PtpMethod:
    """Make a method with PTP's planner; ``others``: fields of `Method` that differ from ptp's."""

    def build(checkpoint: Checkpoint, options: AgentOptions) -> SubgoalAgent:
        return _build(method, checkpoint, options)

    values: dict[str, Any] = {
        "parts": ("generators", "iql"),
        "learned": "iql",
        "learner": iql_learner,
        "plans": True,
        "buffer": True,
        "takes_planner": True,
    }
    method = PtpMethod(
        name=name, summary=summary, structure=structure, build=build, **(values | others)
    )
    return method


def make_planner(
    checkpoint: Checkpoint, config: PlannerConfig | None = None, *, threads: int = 1
) -> HierarchicalPlanner:
    """Make PTP's planner from the checkpoint's networks; ``config`` defaults to its settings.

    ``threads`` share the work; the plans do not depend on their number.
    """
    from ptp_core.planners.hierarchical_planner import HierarchicalPlanner

    return HierarchicalPlanner(
        checkpoint.vqvae,
        checkpoint.generators,
        checkpoint.iql.value,
        config or checkpoint.config.planner,
        threads=threads,
    )


def planner_of(
    method: PtpMethod, stored: PlannerConfig, given: PlannerSettings | None = None
) -> PlannerConfig:
    """Settings of PTP's planner for ``method``.

    The method fixes the structure. The rest comes from ``given``, or where that is None from
    ``stored``, the checkpoint's settings. Raises ConfigError where ``given`` names another
    structure than the method's.
    """
    structure = method.structure
    if given is None:
        return dataclasses.replace(stored, **structure)
    if isinstance(given, PlannerConfig):
        entries = dataclasses.fields(PlannerConfig)
        given = {entry.name: getattr(given, entry.name) for entry in entries}
    for key, value in structure.items():
        if given.get(key, value) != value:
            fitting = fitting_method(given)
            cure = f"use --method {fitting}" if fitting else f'leave "{key}" out'
            raise ConfigError(
                f'method {method.name} plans with "{key}" {value}, but the planner settings say '
                f"{given[key]}: {cure}"
            )
    return PlannerConfig(**{**given, **structure})


def fitting_method(given: PlannerSettings) -> str | None:
    """The first method with the structure of ``given``; missing fields have their defaults."""
    if isinstance(given, PlannerConfig):
        given = to_dict(given)
    for name, method in methods().items():
        if isinstance(method, PtpMethod) and all(
            given.get(key, getattr(PlannerConfig, key)) == value
            for key, value in method.structure.items()
        ):
            return name
    return None


def _build(method: PtpMethod, checkpoint: Checkpoint, options: AgentOptions) -> SubgoalAgent:
    from ptp_core.agents.subgoal_agent import subgoal_agent

    if options.subgoals == "oracle":
        return subgoal_agent(method, checkpoint, options)
    config = planner_of(method, checkpoint.config.planner, options.planner)
    if options.subgoals == "random":
        config = unsearched(config)
    planner = make_planner(checkpoint, config, threads=options.threads)
    settings = {"plan_buffer": method.buffer}
    return subgoal_agent(
        method, checkpoint, options, planner, config, settings, buffers=planner.buffers
    )


METHODS = (
    ptp_method("ptp", "the paper's, three levels of generators and 8 subgoals", HIERARCHY),
    ptp_method("ptp_no_buffer", "ptp without a plan buffer", HIERARCHY, buffer=False),
    ptp_method("ptp_no_hierarchy", "ptp with all 8 subgoals at once, of dt15", FLAT),
    ptp_method("ptp_no_buffer_no_hierarchy", "ptp with neither", FLAT, buffer=False),
    ptp_method(
        "ptp_single_subgoal",
        "what the released checkpoint is made for, one subgoal of the coarsest generator, then "
        "the goal",
        SINGLE_SUBGOAL,
        subgoal_steps=None,
    ),
)
