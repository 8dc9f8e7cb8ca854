# SPDX-License-Identifier: Apache-2.0
"""Methods that are compared: how the subgoals come about that one low-level policy pursues.

A method's name says how plans are made up: generators, levels, number of subgoals (its
``structure``), plan buffer, timeout. How hard a plan is searched for is no part of it: that is
the checkpoint's or the caller's. A plan library, which reuses plans, is an option for every
method that plans. (Paper Fig. 3 has ptp, its three ablations, model_free, leap and gcp.)

Loads nothing heavy, so that commands can list the methods.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ptp_core.config import FollowerConfig, PlannerConfig
from ptp_core.errors import ConfigError

SUBGOAL_STEPS = 30  # control steps on one subgoal, of every method but one (paper)

# Values of PlannerConfig. Three levels: dt60, dt30, dt15 make 2, 4, 8 subgoals.
HIERARCHY = {"levels": 3, "horizons": "finest", "subgoals": 8, "subgoal_count": "total"}
FLAT = {**HIERARCHY, "levels": 1}  # all 8 at once, with dt15
# One subgoal of dt60: of the two that are searched for, the second is the goal.
SINGLE_SUBGOAL = {
    "levels": 1,
    "horizons": "coarsest",
    "subgoals": 2,
    "subgoal_count": "total",
    "replace_final_subgoal": True,
}

PlannerSettings = PlannerConfig | Mapping[str, Any]
"""All settings of PTP's planner, or some by name; the others have PlannerConfig's defaults."""


@dataclass(frozen=True)
class Method:
    """How subgoals come about."""

    search: Literal["ptp", "leap", "gcp"] | None  # None: the policy pursues the goal itself
    structure: Mapping[str, Any] = field(default_factory=dict)  # of PTP's planner
    buffer: bool = False  # searches start from earlier plans while practising
    subgoal_steps: int | None = SUBGOAL_STEPS  # timeout of a subgoal; None: the checkpoint's
    cloned: bool = False  # acts with a policy that was trained with all weights 1

    @property
    def plans(self) -> bool:
        """Whether there are subgoals."""
        return self.search is not None

    @property
    def needs_baselines(self) -> bool:
        """Whether it needs networks that are in no checkpoint."""
        return self.cloned or self.search in ("leap", "gcp")

    @property
    def practises(self) -> bool:
        """Whether online practice improves it; a cloned policy learns from demonstrations."""
        return not self.cloned

    def follower(self, stored: FollowerConfig) -> FollowerConfig:
        """The checkpoint's settings with this method's timeout."""
        if self.subgoal_steps is None:
            return stored
        return dataclasses.replace(stored, timeout=self.subgoal_steps)


METHODS = {
    "ptp": Method("ptp", HIERARCHY, buffer=True),
    "ptp_single_subgoal": Method("ptp", SINGLE_SUBGOAL, buffer=True, subgoal_steps=None),
    "ptp_no_buffer": Method("ptp", HIERARCHY),
    "ptp_no_hierarchy": Method("ptp", FLAT, buffer=True),
    "ptp_no_buffer_no_hierarchy": Method("ptp", FLAT),
    "gcbc": Method(None, cloned=True),
    "model_free": Method(None),
    "gcp": Method("gcp"),
    "leap": Method("leap"),
}
# Those that need no networks but the checkpoint's: what the graph can do.
ON_THE_GRAPH = tuple(name for name, method in METHODS.items() if not method.needs_baselines)
DEFAULT_METHOD = "ptp_single_subgoal"  # what the released checkpoint's settings are made for


def method_named(name: str) -> Method:
    """The method of this name. Raises ConfigError, with the names there are."""
    if name not in METHODS:
        raise ConfigError(f'no method "{name}"; there are {", ".join(METHODS)}')
    return METHODS[name]


def planner_of(
    name: str, stored: PlannerConfig, given: PlannerSettings | None = None
) -> PlannerConfig:
    """Settings of PTP's planner for the method ``name``, one of PTP's.

    The method decides the structure; the rest is that of ``given``, None: that of ``stored``, the
    checkpoint's. Raises ConfigError where ``given`` names another structure than the method's.
    """
    structure = method_named(name).structure
    if given is None:
        return dataclasses.replace(stored, **structure)
    if isinstance(given, PlannerConfig):
        entries = dataclasses.fields(PlannerConfig)
        given = {entry.name: getattr(given, entry.name) for entry in entries}
    for key, value in structure.items():
        if given.get(key, value) != value:
            fitting = _fitting(given)
            cure = f"use --method {fitting}" if fitting else f'leave "{key}" out'
            raise ConfigError(
                f'method {name} plans with "{key}" {value}, but the planner settings say '
                f"{given[key]}: {cure}"
            )
    return PlannerConfig(**{**given, **structure})


def _fitting(given: Mapping[str, Any]) -> str | None:
    """The first method with the structure of ``given``; what it lacks has its default."""
    given = {**{key: getattr(PlannerConfig, key) for key in SINGLE_SUBGOAL}, **given}
    for name, method in METHODS.items():
        wanted = method.structure.items()
        if method.search == "ptp" and all(given[key] == value for key, value in wanted):
            return name
    return None
