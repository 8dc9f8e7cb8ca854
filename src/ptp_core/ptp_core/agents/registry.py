# SPDX-License-Identifier: Apache-2.0
"""Methods: how one describes itself, and the registry of all by name. Loads no networks.

A method of this project is one module of `ptp_core.agents`, with a `Method` for itself and each
variant in its ``METHODS``, and a line here for each. A program registers its own with `register`.
An installed package declares its methods as entry points of the group ``ptp.agents``. Files never
name code that is then imported.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptp_core.config import FollowerConfig, PlannerConfig, TrainConfig
from ptp_core.errors import CheckpointError, ConfigError
from ptp_core.planners.planner import Subgoals
from ptp_core.training.manifest import read_contents

if TYPE_CHECKING:
    from ptp_core.agents.agent import Agent, GoalKind
    from ptp_core.learning.practice_learner import PracticeLearner
    from ptp_core.planners.plan_library import PlanLibrary
    from ptp_core.practice.policy_library import FineTunedPolicies
    from ptp_core.training.checkpoint import Checkpoint

GROUP = "ptp.agents"
# Method -> the module whose METHODS define it, in the order of help texts and documents.
_MODULES = {
    "ptp": "ptp",
    "ptp_single_subgoal": "ptp",
    "ptp_no_buffer": "ptp",
    "ptp_no_hierarchy": "ptp",
    "ptp_no_buffer_no_hierarchy": "ptp",
    "gcbc": "gcbc",
    "model_free": "model_free",
    "gcp": "gcp",
    "leap": "leap",
    "ptp_legs": "ptp_legs",
    "diffusion_bc": "ptp_legs",
    "lbp": "lbp",
    "lbp_goal_image": "lbp",
    "lcbc": "lcbc",
    "glcbc": "glcbc",
    "lbp_forward": "lbp_forward",
    "lbp_parallel": "lbp_parallel",
    "susie_style": "susie_style",
    "gciql": "state_methods",
    "hiql": "state_methods",
}
# The default of nodes, which have no checkpoint when they declare parameters.
DEFAULT_METHOD = "ptp_single_subgoal"
METHOD_HELP = "how subgoals come about: a name of ptp_core.agents.registry; the same for all nodes"
_registered: dict[str, Method] = {}
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
    learned: str | None = None  # part that practice fine-tunes, the policy; None: none
    also_learned: tuple[str, ...] = ()  # further parts that practice changes
    learner: Callable[..., PracticeLearner] | None = None  # None: practice does not improve it
    plans: bool = False  # whether a `Planner` plans for its agent before it acts
    closed_loop: bool = False  # whether it plans anew on the way, so that its agent does it itself
    buffer: bool = False  # searches start from earlier plans while practising
    takes_planner: bool = False  # whether it accepts `AgentOptions.planner`, of PTP's planner
    subgoal_steps: int | None = SUBGOAL_STEPS  # timeout of a subgoal; None: the checkpoint's

    @property
    def practises(self) -> bool:
        """Whether online practice improves it."""
        return self.learner is not None

    @property
    def practised_parts(self) -> tuple[str, ...]:
        """All parts whose weights an update replaces."""
        return () if self.learned is None else (self.learned, *self.also_learned)

    @property
    def follows(self) -> bool:
        """Whether its agent pursues targets as a FollowerConfig says, a section of `config`."""
        return any(entry.name == "follower" for entry in dataclasses.fields(self.config))

    @property
    def planned_before(self) -> bool:
        """Whether another process can plan for its agent, once for each episode."""
        return self.follows and not self.closed_loop

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


def agent_names() -> tuple[str, ...]:
    """Names of all methods: those of this project, of installed packages and of `register`."""
    return tuple(dict.fromkeys([*_MODULES, *_installed(), *_registered]))


def method_named(name: str) -> Method:
    """The method of this name. Raises ConfigError, which lists the names."""
    if name in _MODULES:
        return _own(name)
    found = _registered.get(name) or _installed().get(name)
    if found is None:
        raise ConfigError(f'no method "{name}"; there are {", ".join(agent_names())}')
    return found


def methods() -> dict[str, Method]:
    """All methods by name."""
    return {name: method_named(name) for name in agent_names()}


def register(method: Method) -> None:
    """Register a method of this program. Raises ConfigError where the name is taken."""
    if method.name in agent_names() and method_named(method.name) != method:
        raise ConfigError(f'there is a method "{method.name}" already: choose another name')
    _registered[method.name] = method


def registered() -> tuple[Method, ...]:
    """Methods that `register` got, so that another process can register them too."""
    return tuple(_registered.values())


def build_agent(name: str, checkpoint: Checkpoint, options: AgentOptions | None = None) -> Agent:
    """Build the agent of the method ``name`` from a checkpoint's networks.

    Weights are read at every call, so that an update of ``agent.learned`` takes effect at once.
    Raises ConfigError for options that the method cannot use, CheckpointError where the
    checkpoint lacks a part.
    """
    method, options = method_named(name), options or AgentOptions()
    method.check_options(options)
    method.check_parts(checkpoint.parts, checkpoint.folder)
    if not isinstance(checkpoint.config, method.config):
        raise CheckpointError(
            f"{checkpoint.folder}: a checkpoint of {checkpoint.agent}, without the settings of "
            f"{name}: name a checkpoint of {name}"
        )
    return method.build(checkpoint, options)


def checkpoint_for(name: str, base: Path) -> Path:
    """The checkpoint folder of a method, where several methods are compared on ``base``.

    That is ``base`` where it has the method's parts, else the folder beside it that has the
    method's name. Raises CheckpointError where neither fits.
    """
    method = method_named(name)
    found = read_contents(base)
    if set(method.parts) <= found.parts.keys():
        return base
    beside = base.parent / name
    if not (beside / "manifest.json").is_file():
        lacks = next(part for part in method.parts if part not in found.parts)
        raise CheckpointError(
            f"{base}: no {lacks}, which {name} needs, and {beside} is no checkpoint: train one "
            "with ptp pretrain, pretrain-baselines, pretrain-lbp or pretrain-states, and name it"
        )
    method.check_parts(read_contents(beside).parts, beside)
    return beside


def _own(name: str) -> Method:
    module = importlib.import_module(f"ptp_core.agents.{_MODULES[name]}")
    return next(method for method in module.METHODS if method.name == name)


@functools.cache
def _installed() -> dict[str, Method]:
    found = (entry.load() for entry in entry_points(group=GROUP))
    return {method.name: method for method in found if method.name not in _MODULES}
