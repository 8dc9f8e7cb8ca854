# SPDX-License-Identifier: Apache-2.0
"""`Method`: the registry's description of a method, which can list, check and build it.

This module imports no torch, so that commands can list the methods quickly; ``build`` does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptp_core.config import FollowerConfig, PlannerConfig, TrainConfig
from ptp_core.errors import CheckpointError, ConfigError
from ptp_core.planners.planner import Subgoals

if TYPE_CHECKING:
    from ptp_core.agents.agent import Agent, GoalKind
    from ptp_core.learning.online_learner import OnlineLearner
    from ptp_core.planners.plan_library import PlanLibrary
    from ptp_core.practice.policy_library import FineTunedPolicies
    from ptp_core.training.checkpoint import Checkpoint

SUBGOAL_STEPS = 30  # control steps on one subgoal, of every method but one (paper)

PlannerSettings = PlannerConfig | Mapping[str, Any]
"""All settings of PTP's planner, or some by name; the others have PlannerConfig's defaults."""


@dataclass(frozen=True, kw_only=True)
class AgentOptions:
    """Options of an agent, beside its checkpoint. A method refuses those that it cannot use."""

    planner: PlannerSettings | None = None  # of PTP's planner; None: the checkpoint's
    follower: FollowerConfig | None = None  # None: the checkpoint's with the method's timeout
    subgoals: Subgoals = "planned"
    # "random": one sample of the method's planner, without a search. "oracle": `Agent.reset` is
    # given the subgoals, so that there is no planner.
    library: PlanLibrary | None = None  # plans that are reused
    explore: bool = False  # try plans of the library that have few trials
    policies: FineTunedPolicies | None = None  # replace the checkpoint's for their goals
    remember: bool = False  # append plans to the plan buffer, where the planner has one
    threads: int = 1  # threads of a search; plans do not depend on their number


Build = Callable[["Checkpoint", AgentOptions], "Agent"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method: how to build its agent, and what the agent supports.

    The effort of a search is no part of the method: the checkpoint or the caller sets it. A plan
    library, which reuses plans, is an option for every method that plans.
    """

    name: str
    summary: str  # half a sentence for help texts and documents
    build: Build
    parts: tuple[str, ...]  # parts of a checkpoint that it needs beside the encoder
    config: type = TrainConfig  # dataclass: the settings of a checkpoint of this agent
    goals: tuple[GoalKind, ...] = ("image", "latent")
    learned: str | None = None  # part whose weights an update replaces; None: none
    learner: Callable[..., OnlineLearner] | None = None  # None: practice does not improve it
    plans: bool = False  # whether its agent plans subgoals
    buffer: bool = False  # searches start from earlier plans while practising
    takes_planner: bool = False  # whether it accepts `AgentOptions.planner`, of PTP's planner
    subgoal_steps: int | None = SUBGOAL_STEPS  # timeout of a subgoal; None: the checkpoint's

    @property
    def practises(self) -> bool:
        """Whether online practice improves it."""
        return self.learner is not None

    @property
    def follows(self) -> bool:
        """Whether its agent pursues targets as a FollowerConfig says, a section of `config`."""
        return any(entry.name == "follower" for entry in dataclasses.fields(self.config))

    def follower(self, config: Any) -> FollowerConfig:
        """Of a checkpoint's settings ``config``, with this method's timeout.

        Raises ConfigError for an agent without such settings.
        """
        self._check_follows()
        stored = config.follower
        if self.subgoal_steps is None:
            return stored
        return dataclasses.replace(stored, timeout=self.subgoal_steps)

    def _check_follows(self) -> None:
        if not self.follows:
            raise ConfigError(
                f"follower settings are for methods that pursue subgoals; {self.name} has its own "
                "in its checkpoint: leave them out"
            )

    def check_parts(self, there: Collection[str], folder: Path) -> None:
        """Raise CheckpointError unless the checkpoint in ``folder`` has the parts it needs."""
        if missing := [name for name in self.parts if name not in there]:
            raise CheckpointError(
                f"{folder}: no {missing[0]}, which {self.name} needs; it has "
                f"{', '.join(there) or 'no parts'}: name a checkpoint of {self.name}"
            )

    def check_options(self, options: AgentOptions) -> None:
        """Raise ConfigError for what this method cannot use."""
        if options.follower is not None:
            self._check_follows()
        if options.planner is not None and not self.takes_planner:
            raise ConfigError(
                f"planner settings are for the ptp methods; {self.name} "
                + ("takes its own from its checkpoint" if self.plans else "does not plan")
            )
        if options.subgoals != "planned" and not self.plans:
            raise ConfigError(
                f"{options.subgoals} subgoals are for methods that plan; {self.name} pursues the "
                "goal itself"
            )
        if options.subgoals == "oracle" and options.planner is not None:
            raise ConfigError("oracle subgoals come from the environment: leave the planner out")
