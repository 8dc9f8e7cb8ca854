# SPDX-License-Identifier: Apache-2.0
"""Evaluations of the results page: the file that lists them, their commands and their results."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ptp_cli.options import ENV
from ptp_core.agents.registry import checkpoint_for, method_named
from ptp_core.config import FollowerConfig, to_dict
from ptp_core.config.loading import require
from ptp_core.data.env_spec import declared_spec
from ptp_core.data.file_limits import load_json
from ptp_core.errors import ConfigError, PtpError

if TYPE_CHECKING:
    from ptp_core.rollout.evaluation import EvaluationConfig


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
    tasks: tuple[str, ...] = ()  # (): the default ones of the environment, see `with_tasks`
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
    """With the environment's default tasks where the file names none. Raises InputError."""
    if config.tasks:
        return config
    given = {key.replace("-", "_"): value for key, value in config.options.items()}
    spec = declared_spec(given.get("env", ENV), given.get("env_arg", {}))
    return dataclasses.replace(config, tasks=spec.choose_tasks(None))


FOLDER = "evaluations"  # below the folder of results: PROTOCOL/ROW.json
OURS = {"method", "protocol", "tasks", "episodes", "seed", "subgoal_steps", "subgoals", "json"}


@dataclass(frozen=True)
class WantedEvaluation:
    """An evaluation that a row asks for."""

    protocol: str
    row: EvaluationRow
    words: tuple[str, ...]  # of the command line, after "ptp"
    path: Path  # of the JSON
    config: EvaluationConfig

    @property
    def name(self) -> str:
        """Name for display."""
        return f"{self.protocol}/{self.row.name}"

    @property
    def command(self) -> str:
        """The command that measures this row alone."""
        return shlex.join(["ptp", *self.words])


@dataclass(frozen=True)
class EvaluationFile:
    """State of an evaluation: its file, if there is one."""

    wanted: WantedEvaluation
    values: dict[str, Any] | None  # of the JSON, if it exists and has the wanted settings
    differs: str = ""  # difference between the settings of the JSON and the wanted ones

    @property
    def state(self) -> str:
        """One of "there", "missing", "differs"."""
        return "there" if self.values is not None else "differs" if self.differs else "missing"


def wanted_evaluations(config: ResultsConfig, out: Path) -> list[WantedEvaluation]:
    """Every evaluation of the file, in its order.

    Raises ConfigError, InputError and CheckpointError for invalid settings.
    """
    from ptp_cli.commands.evaluate import evaluation_config

    wanted = []
    for protocol, rows in config.protocols.items():
        for row in rows:
            if row.same_as is not None:
                continue
            path = out / FOLDER / protocol / f"{row.name}.json"
            words = _words(config, protocol, row, path)
            try:
                asked = evaluation_config(_parsed(words))
            except ConfigError as error:
                raise ConfigError(f"{protocol}: {row.name}: {error}") from error
            wanted.append(WantedEvaluation(protocol, row, tuple(words), path, asked))
    return wanted


def read_evaluation(wanted: WantedEvaluation) -> EvaluationFile:
    """Read the file of an evaluation and compare its settings with those asked for."""
    if not wanted.path.is_file():
        return EvaluationFile(wanted, None)
    try:
        values = load_json(wanted.path)
        counts = {task: figures["episodes"] for task, figures in values["tasks"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return EvaluationFile(wanted, None, f"it cannot be read ({error!r})")
    try:
        asked = json.loads(json.dumps(wanted.config.settings()))
    except PtpError as error:  # its networks are not there
        return EvaluationFile(wanted, None, f"it cannot be compared: {error}")
    asked["episodes"] = dict.fromkeys(wanted.config.tasks, wanted.config.episodes)
    have = {key: value for key, value in values.items() if key not in NOT_SETTINGS}
    have["episodes"] = counts
    if line := difference(have, asked):
        return EvaluationFile(wanted, None, line)
    return EvaluationFile(wanted, values)


NOT_SETTINGS = ("tasks", "mean_success_rate", "mean_stage_score", "coverage")  # of the JSON


def difference(have: Mapping[str, Any], asked: Mapping[str, Any], prefix: str = "") -> str:
    """The first setting in which two differ, "follower.timeout is 150, not 30"; "" for none.

    A setting of the follower that is not told had its default: it is newer than the file.
    """
    if prefix == "follower.":
        have = {**to_dict(FollowerConfig()), **have}
    for name in [*asked, *(name for name in have if name not in asked)]:
        old, new = have.get(name), asked.get(name)
        if old == new and (name in have) == (name in asked):
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if found := difference(old, new, f"{prefix}{name}."):
                return found
            continue
        if name not in have:
            return f"{prefix}{name} is not told, asked for is {_short(new)}"
        if name not in asked:
            return f"{prefix}{name} is {_short(old)}, which nothing asks for"
        return f"{prefix}{name} is {_short(old)}, not {_short(new)}"
    return ""


def _words(config: ResultsConfig, protocol: str, row: EvaluationRow, path: Path) -> list[str]:
    steps = config.subgoal_steps if row.subgoal_steps is None else row.subgoal_steps
    episodes = config.episodes if row.episodes is None else row.episodes
    words = ["evaluate", "--method", row.method, "--protocol", protocol]
    words += ["--tasks", *config.tasks, "--episodes", str(episodes), "--seed", str(config.seed)]
    words += ["--subgoal-steps", str(steps)]
    if row.subgoals != "planned":
        words += ["--subgoals", row.subgoals]
    options = {**config.options, **row.options}
    if "checkpoint" not in row.options:
        if row.method in config.checkpoints:
            options["checkpoint"] = config.checkpoints[row.method]
        elif "checkpoint" in options:
            options["checkpoint"] = checkpoint_for(row.method, Path(options["checkpoint"]))
    for key, value in options.items():
        if key in OURS:
            raise ConfigError(f"options.{key} is not an option but a key of its own")
        entries = value if isinstance(value, dict) else None
        name = f"--{key.replace('_', '-')}"
        if entries is None:
            words += [f"{name}={value}"]
        else:
            words += [f"{name}={entry}={given}" for entry, given in entries.items()]
    return [*words, "--json", str(path)]


class _Parser(argparse.ArgumentParser):
    """Argument parser that raises an error instead of exiting."""

    def error(self, message: str):
        """Raise ConfigError."""
        raise ConfigError(message)


def _parsed(words: list[str]) -> argparse.Namespace:
    from ptp_cli.commands import evaluate

    parser = _Parser(allow_abbrev=False)
    evaluate.add_evaluate(parser.add_subparsers(dest="command"))
    return parser.parse_args(words)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def measure(
    wanted: Sequence[WantedEvaluation],
    *,
    num_envs: int,
    redo: bool,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> list[str]:
    """Run the missing evaluations; returns the names of those that failed.

    A file with the wanted settings stays. ``redo``: evaluations with other settings are rerun;
    otherwise their files stay and a line names them. Other evaluations continue when one fails.
    After Ctrl-C the next call resumes after the last finished episode.
    """
    failed = []
    for number, one in enumerate(wanted, 1):
        file = read_evaluation(one)
        if file.state == "there":
            continue
        if file.state == "differs" and not redo:
            say(f"{one.name}: {one.path} is left as it is: {file.differs}; --redo replaces it")
            continue
        say(f"{one.name} ({number} of {len(wanted)}): {one.command}")
        try:
            _evaluate(one, num_envs, redo, progress)
        except PtpError as error:
            say(f"{one.name} failed: {error}")
            failed.append(one.name)
    return failed


def missing_evaluations(
    wanted: Sequence[WantedEvaluation],
) -> tuple[list[EvaluationFile], list[str]]:
    """State of each evaluation, and a line for each that has no figures."""
    found = [read_evaluation(one) for one in wanted]
    lines = []
    for file in found:
        if file.state == "missing":
            lines.append(f"{file.wanted.name}: not measured yet")
        elif file.state == "differs":
            lines.append(f"{file.wanted.name}: measured with other settings: {file.differs}")
    return found, lines


def _evaluate(one: WantedEvaluation, num_envs: int, redo: bool, progress: bool) -> None:
    from ptp_core.errors import InputError
    from ptp_core.rollout.evaluation import evaluate

    options = {"num_envs": num_envs, "output": one.path, "progress": progress}
    try:
        evaluate(one.config, **options)
    except InputError as error:
        partial = one.path.with_name(f"{one.path.name}.partial")
        if not (redo and str(error).startswith(str(partial))):
            raise
        partial.unlink()  # unfinished, and of other settings
        evaluate(one.config, **options)
