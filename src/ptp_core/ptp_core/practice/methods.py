# SPDX-License-Identifier: Apache-2.0
"""Methods that are compared: one low-level policy, other ways to find subgoals (paper Fig. 3).

Loads nothing heavy, so that commands can list the methods.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from ptp_core.config import PlannerConfig
from ptp_core.errors import ConfigError


@dataclass(frozen=True)
class Method:
    """How subgoals come about."""

    search: Literal["ptp", "leap", "gcp"] | None  # None: the policy pursues the goal itself
    hierarchy: bool = True  # False: all K subgoals are searched for at once, 15 steps apart
    buffer: bool = True  # False: nothing starts from earlier plans

    @property
    def plans(self) -> bool:
        """Whether there are subgoals."""
        return self.search is not None

    @property
    def needs_baselines(self) -> bool:
        """Whether it needs networks that are in no checkpoint."""
        return self.search in ("leap", "gcp")

    def planner(self, config: PlannerConfig) -> PlannerConfig:
        """PTP's settings for this method, one of PTP's."""
        if self.hierarchy:
            return config
        return dataclasses.replace(config, levels=1, horizons="finest", subgoal_count="total")


METHODS = {
    "ptp": Method("ptp"),
    "ptp_no_buffer": Method("ptp", buffer=False),
    "ptp_no_hierarchy": Method("ptp", hierarchy=False),
    "ptp_no_buffer_no_hierarchy": Method("ptp", hierarchy=False, buffer=False),
    "model_free": Method(None, buffer=False),
    "gcp": Method("gcp", buffer=False),
    "leap": Method("leap", buffer=False),
}


def method_named(name: str) -> Method:
    """The method of this name. Raises ConfigError, with the names there are."""
    if name not in METHODS:
        raise ConfigError(f'no method "{name}"; there are {", ".join(METHODS)}')
    return METHODS[name]
