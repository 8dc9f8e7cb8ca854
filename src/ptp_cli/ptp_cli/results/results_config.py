# SPDX-License-Identifier: Apache-2.0
"""Configuration of `ptp results`: the evaluations of the results page and their order."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from ptp_cli.options import ENV
from ptp_core.agents.registry import method_named
from ptp_core.config.checks import require
from ptp_core.data.env_spec import declared_spec
from ptp_core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class EvaluationRow:
    """A row of the table: a method on all tasks of one protocol."""

    name: str  # of the row and of its JSON file
    method: str  # a name of the registry
    subgoals: Literal["planned", "random", "oracle"] = "planned"  # the latter two are controls
    subgoal_steps: int | None = None  # control steps a subgoal; None: of the whole table
    episodes: int | None = None  # of each task; None: of the whole table
    training_seeds: int = 1  # trainings that the networks of this row come from
    practice_seeds: int = 0  # runs of practice that the row pools; 0: nothing was practised
    same_as: str | None = None  # row with the same figures by construction: nothing is run
    options: dict[str, Any] = field(default_factory=dict)  # more options of ptp evaluate
    pictures: Literal["none", "plan", "film"] = "none"  # film: the plan, and a film of a failure
    note: str = ""  # what a reader has to know, a sentence or two

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w+", self.name):
            raise ConfigError(f'name "{self.name}": letters, digits and _ make a file\'s name')
        method_named(self.method)


@dataclass(frozen=True, kw_only=True)
class ResultsConfig:
    """The file of `ptp results`."""

    varied: tuple[EvaluationRow, ...] = ()  # rows of this protocol, the most important first
    paper: tuple[EvaluationRow, ...] = ()
    tasks: tuple[str, ...] = ()  # (): all that the environment has, see `with_tasks`
    seed: int = 2026
    episodes: int = 50  # of each task
    subgoal_steps: int = 30  # control steps a subgoal; paper: 30
    options: dict[str, Any] = field(default_factory=dict)  # of every ptp evaluate: env, ...
    checkpoints: dict[str, str] = field(default_factory=dict)  # of methods, by name
    # None is needed where the options' checkpoint has a method's parts, or the folder of the
    # method's name beside it is one.
    practice: str | None = None  # folder with runs of practice to tell of

    def __post_init__(self) -> None:
        require(self, "episodes", 1)
        require(self, "subgoal_steps", 1)
        for method in self.checkpoints:
            method_named(method)
        if not self.varied and not self.paper:
            raise ConfigError("no rows: list some under varied or paper")
        for protocol, rows in self.protocols.items():
            names = [row.name for row in rows]
            for row in rows:
                if names.count(row.name) > 1:
                    raise ConfigError(f'{protocol} has two rows "{row.name}"')
                if row.same_as is not None and row.same_as not in names:
                    raise ConfigError(f'{protocol}: {row.name} is same_as "{row.same_as}", no row')

    @property
    def protocols(self) -> dict[str, tuple[EvaluationRow, ...]]:
        """Rows by protocol, in the order of the page."""
        return {"varied": self.varied, "paper": self.paper}


def with_tasks(config: ResultsConfig) -> ResultsConfig:
    """With the environment's tasks where the file names none. Raises InputError."""
    if config.tasks:
        return config
    given = {key.replace("-", "_"): value for key, value in config.options.items()}
    spec = declared_spec(given.get("env", ENV), given.get("env_arg", {}))
    return dataclasses.replace(config, tasks=spec.tasks)
