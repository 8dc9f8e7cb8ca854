# SPDX-License-Identifier: Apache-2.0
"""Methods that are compared: one low-level policy, other ways to find subgoals (paper Fig. 3)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ptp_core.config import PlannerConfig
from ptp_core.errors import ConfigError


@dataclass(frozen=True)
class Method:
    """How subgoals come about."""

    plans: bool  # False: the policy pursues the goal itself
    hierarchy: bool = True  # False: all K subgoals are searched for at once, 15 steps apart
    buffer: bool = True  # False: no plan starts from earlier ones

    def planner(self, config: PlannerConfig) -> PlannerConfig:
        """The planner's settings for this method."""
        if self.hierarchy:
            return config
        return dataclasses.replace(config, levels=1, subgoal_count="total")


METHODS = {
    "ptp": Method(plans=True),
    "ptp_no_buffer": Method(plans=True, buffer=False),
    "ptp_no_hierarchy": Method(plans=True, hierarchy=False),
    "ptp_no_buffer_no_hierarchy": Method(plans=True, hierarchy=False, buffer=False),
    "model_free": Method(plans=False),
}


def method_named(name: str) -> Method:
    """The method of this name. Raises ConfigError, with the names there are."""
    if name not in METHODS:
        raise ConfigError(f'no method "{name}"; there are {", ".join(METHODS)}')
    return METHODS[name]
