# SPDX-License-Identifier: Apache-2.0
"""How practice acts and learns: names, defaults and help of every program that practises.

`PracticeConfig` has all settings of one practice run in process.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ptp_core.agents.registry import PlannerSettings, method_named
from ptp_core.config import FollowerConfig
from ptp_core.errors import ConfigError, InputError
from ptp_core.training.manifest import read_contents

Preset = Literal["ours", "paper"]
SuccessSignal = Literal["simulator", "latent", "classifier"]
PRESETS: tuple[str, ...] = typing.get_args(Preset)

LIBRARY_USE = "plan library: its plans are judged by the simulator's success"
LEARNING_USE = "learning: the episodes that are learned from are chosen by the simulator's success"


def setting(ours: Any, paper: Any, text: str) -> Any:
    """A field with its value in both presets; the default is ours."""
    return field(default=ours, metadata={"paper": paper, "text": text})


@dataclass(frozen=True, kw_only=True)
class PracticeSettings:
    """What the presets ``ours`` and ``paper`` differ in. Paper: arXiv 2205.08129, Alg. 1.

    Raises ConfigError for a value that a setting does not take.
    """

    # Noise of the policy while it practises (std 0.15 of the action scale). Paper and authors'
    # code sample in practice and in evaluation; here evaluation always takes the mean.
    actions: Literal["mean", "sample"] = setting(
        "mean",
        "sample",
        "how practice acts: the policy's mean action, or one drawn from it; evaluation takes the "
        "mean",
    )
    # Episodes. Paper: every episode enters the replay buffer.
    learn_from: Literal["all", "successes"] = setting(
        "successes",
        "all",
        "episodes whose steps the learner samples: every one, or those that count as successes "
        "by the success signal (on the graph also those in which a person helped)",
    )
    # Gradient steps a control step. Paper: 2,000 of each an epoch.
    utd_ratio: float = setting(
        0.25, 1.0, "UTD ratio: gradient steps for each practised control step"
    )
    # Adam's step size, of policy, Q and V. Paper: that of offline training.
    learning_rate: float = setting(3e-5, 3e-4, "of policy and value networks")
    # Whether the plan library may hand out an earlier plan. Not in the paper.
    reuse_plans: bool = setting(
        True,
        False,
        "do plans of the plan library again that worked before; not in the paper",
    )
    # Paper: none is needed, as every episode is learned from and its rewards are latent distances.
    success_signal: Literal["simulator", "latent", "classifier"] = setting(
        "simulator",
        "latent",
        "what counts as a success for the plan library and for learn_from. simulator: PRIVILEGED, "
        "computed from the exact poses (with a real arm: the person's verdict); latent: the last "
        "latent lies within the reward epsilon of the goal's (L2); classifier: the "
        "goal classifier says that the goal's work is done. Reported success rates are the "
        "simulator's with any",
    )

    def __post_init__(self) -> None:
        for about in ABOUT:
            value = getattr(self, about.name)
            if about.choices and value not in about.choices:
                raise ConfigError(
                    f'{about.name} is "{value}"; it must be one of {", ".join(about.choices)}'
                )
        if not 0 <= self.utd_ratio < math.inf:
            raise ConfigError(f"utd_ratio is {self.utd_ratio}; it must be 0 or more")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"learning_rate is {self.learning_rate}; it must be more than 0")

    @property
    def privileged(self) -> list[str]:
        """Each use of what only the simulator knows, or the person at a real arm."""
        if self.success_signal != "simulator":
            return []
        uses = {LIBRARY_USE: self.reuse_plans, LEARNING_USE: self.learn_from == "successes"}
        return [text for text, used in uses.items() if used]


@dataclass(frozen=True, kw_only=True)
class PracticeConfig(PracticeSettings):
    """What to practise, and how. Everything that a run's result depends on but the data.

    Without a ``method`` it is the checkpoint's own; CheckpointError where there is none.
    """

    checkpoint: Path
    env: str  # module:factory of a gymnasium environment
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    task: str | None = None  # None: the environment's first
    method: str = ""  # a name of the registry
    protocol: str = ""  # of the environment's; "": its first
    seed: int = 0
    epochs: int = 150  # online epochs (paper)
    episodes: int = 5  # of an epoch: 2,000 steps (paper)
    max_steps: int | None = None  # control steps an episode; None: as the task has
    evaluate_every: int = 10  # epochs; 0 and the last are always evaluated
    evaluation_episodes: int = 50
    planner: PlannerSettings | None = None  # None: the checkpoint's; of the ptp methods alone
    follower: FollowerConfig | None = None  # None: the checkpoint's with the method's timeout

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.method:
            object.__setattr__(self, "method", read_contents(self.checkpoint).agent)
        method = method_named(self.method)
        if not method.practises:
            raise InputError(f"{self.method} learns from demonstrations alone: only evaluate it")
        if self.reuse_plans and not method.plans:
            raise InputError(f"{self.method} does not plan, so there are no plans to reuse")
        for name in ("epochs", "episodes", "max_steps", "evaluate_every", "evaluation_episodes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1")


@dataclass(frozen=True)
class SettingAbout:
    """What a user is told of one setting."""

    name: str
    kind: type  # str, float or bool
    choices: tuple[str, ...]  # of a str
    ours: Any
    paper: Any
    text: str

    @property
    def help(self) -> str:
        """The text with both presets' values."""
        return f"{self.text} (ours: {_said(self.ours)}; paper: {_said(self.paper)})"

    def value(self, preset: str) -> Any:
        """The value in a preset."""
        return self.ours if preset == "ours" else self.paper


def preset(name: str, **given: Any) -> PracticeSettings:
    """A preset's settings, with single ones ``given`` on top; None stands for "not given".

    Raises ConfigError for a name that is no preset, and for values that cannot be.
    """
    if name not in PRESETS:
        raise ConfigError(f'no preset "{name}"; there are {", ".join(PRESETS)}')
    values = {about.name: about.value(name) for about in ABOUT}
    return PracticeSettings(**values | {k: v for k, v in given.items() if v is not None})


def _about(entry: dataclasses.Field, hint: Any) -> SettingAbout:
    choices = typing.get_args(hint)
    return SettingAbout(
        entry.name,
        str if choices else hint,
        choices,
        entry.default,
        entry.metadata["paper"],
        entry.metadata["text"],
    )


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"


_HINTS = typing.get_type_hints(PracticeSettings)
ABOUT: tuple[SettingAbout, ...] = tuple(
    _about(entry, _HINTS[entry.name]) for entry in dataclasses.fields(PracticeSettings)
)
