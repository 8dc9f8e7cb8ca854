# SPDX-License-Identifier: Apache-2.0
"""Evaluate an agent: success rates over many rollouts, in parallel env workers.

`EvaluationReplay` runs single episodes of a past evaluation again.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium

from ptp_core.agents.agent import Agent, Decision
from ptp_core.agents.registry import (
    AgentOptions,
    Method,
    PlannerSettings,
    build_agent,
    method_named,
)
from ptp_core.config import FollowerConfig, PlannerConfig, from_dict
from ptp_core.data.collect_demonstrations import make_environment
from ptp_core.data.coverage import SceneCoverage, scene_groups, shares_of_task
from ptp_core.data.env_spec import declared_spec, reset_options, spec_of
from ptp_core.data.files import check_file, write_atomically
from ptp_core.errors import InputError
from ptp_core.planners.plan_buffer import load_buffers, save_buffers
from ptp_core.planners.plan_library import PlanLibrary, signal_of
from ptp_core.planners.planner import Plan, Subgoals
from ptp_core.practice.policy_library import FineTunedPolicies
from ptp_core.practice.rollout_worker import BUFFERS, PLANS
from ptp_core.progress import Bar
from ptp_core.rollout.episode_results import (
    MAX_STEPS,
    EpisodeResult,
    Key,
    PartialResults,
    episode_seeds,
    summarise,
)
from ptp_core.rollout.past_evaluation import PastEvaluation
from ptp_core.rollout.run_episode import run_episode
from ptp_core.training.checkpoint import Checkpoint, load_checkpoint
from ptp_core.training.manifest import read_contents
from ptp_core.worker_pool import Workers

ORACLE_SIGNAL = "oracle subgoals: pictures of the scripted plan's stages in the same scene"
LIBRARY_SIGNAL = "plan library: its plans were judged by the simulator's success"
FINETUNED_SIGNAL = "fine-tuned files: their practice was judged by the simulator's success"


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Settings of an evaluation: everything that an episode's result depends on.

    Without a ``method`` the checkpoint's own is used. Raises CheckpointError where the folder is
    no checkpoint.
    """

    checkpoint: Path
    env: str  # module:factory of a gymnasium environment
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()  # (): those that the environment runs by default
    method: str = ""  # a name of the registry
    protocol: str = ""  # of the environment's; "": its first
    episodes: int = 50  # of each task
    seed: int = 0
    max_steps: int | None = None  # control steps an episode; None: as the tasks have
    planner: PlannerSettings | None = None  # None: the checkpoint's; for PTP methods only
    subgoals: Subgoals = "planned"  # or a control: sampled without a search, or oracle images
    follower: FollowerConfig | None = None  # None: the checkpoint's with the method's timeout
    plan_buffer: Path | None = None  # earlier plans; read, extended and written back
    reuse_plans: Path | None = None  # plan library that practice wrote
    finetuned: Path | None = None  # folder of fine-tuned policies, one file a task
    paraphrases: bool = False  # tell the agent sentences that no demonstration has

    def __post_init__(self) -> None:
        if not self.method:
            object.__setattr__(self, "method", read_contents(self.checkpoint).agent)

    def settings(self) -> dict[str, Any]:
        """Settings that must be equal for results to be comparable, as plain values."""
        checkpoint = load_checkpoint(self.checkpoint)
        agent = build_agent(self.method, checkpoint, self.options())
        finetuned = self.finetuned_policies(checkpoint)
        return {
            "checkpoint_sha256": checkpoint.sha256,
            "env": self.env,
            "env_kwargs": self.env_kwargs,
            "method": self.method,
            "protocol": self.protocol,
            "seed": self.seed,
            "max_steps": MAX_STEPS if self.max_steps is None else self.max_steps,
            "subgoals": self.subgoals,
            **agent.settings,
            "plan_buffer": self.plan_buffer is not None,
            "reuse_plans_sha256": _sha256(self.reuse_plans),
            "finetuned_sha256": None if finetuned is None else finetuned.sha256,
            "privileged": self._privileged(finetuned),
            **({"paraphrases": True} if self.paraphrases else {}),
        }

    def options(self, **others: Any) -> AgentOptions:
        """Options of the agent; ``others``: options that come from elsewhere than the settings."""
        return AgentOptions(
            planner=self.planner, follower=self.follower, subgoals=self.subgoals, **others
        )

    def finetuned_policies(self, checkpoint: Checkpoint) -> FineTunedPolicies | None:
        """Fine-tuned policies of the folder. Raises CheckpointError where they do not fit."""
        if self.finetuned is None:
            return None
        return FineTunedPolicies(checkpoint, self.finetuned, method_named(self.method).learned)

    def _privileged(self, finetuned: FineTunedPolicies | None) -> list[str]:
        """The privileged signals that were used; all are the simulator's."""
        signals = []
        if self.subgoals == "oracle":
            signals.append(ORACLE_SIGNAL)
        if self.reuse_plans is not None and signal_of(self.reuse_plans) == "simulator":
            signals.append(LIBRARY_SIGNAL)
        # Files of earlier releases do not name it; all used the simulator's.
        if finetuned and any(one.figures.get("privileged", True) for one in finetuned.members):
            signals.append(FINETUNED_SIGNAL)
        return signals

    def check(self) -> None:
        """Raise InputError and ConfigError for invalid settings, before any work."""
        method: Method = method_named(self.method)
        if self.episodes < 1:
            raise InputError(f"episodes is {self.episodes}; it must be at least 1")
        if self.plan_buffer is not None and not method.buffer:
            raise InputError(f"{self.method} has no plan buffer")
        given = (self.reuse_plans, self.plan_buffer, self.finetuned)
        if sum(one is not None for one in given) > 1:
            raise InputError(
                "use a plan library, a plan buffer or fine-tuned policies, not several"
            )
        if self.subgoals != "planned" and any(one is not None for one in given):
            raise InputError(
                f"{self.subgoals} subgoals are not planned: use them without a plan library, a "
                "plan buffer and fine-tuned policies"
            )
        if self.reuse_plans is not None and not method.plans:
            raise InputError(f"{self.method} does not plan, so there are no plans to reuse")
        if self.finetuned is not None and not method.practises:
            raise InputError(f"{self.method} has its own policy: use it without fine-tuned ones")
        if self.paraphrases and "language" not in method.goals:
            raise InputError(
                f"{self.method} takes no instructions: use paraphrases with a method that does"
            )
        if self.reuse_plans is not None and not self.reuse_plans.is_file():
            raise InputError(f"{self.reuse_plans}: no such file; practice leaves one")


def evaluate(
    config: EvaluationConfig,
    *,
    num_envs: int = 1,
    output: Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Run ``config.episodes`` episodes of each task; return the figures and write them as JSON.

    ``num_envs`` env workers run at once, each a process with one torch thread; 0: one environment
    in this process. ``output`` names the JSON file. Finished episodes are stored in
    ``output``.partial until all are done, and the next call resumes from there. Result:

        {"method", "protocol", "seed", ..., "privileged": [...], "mean_success_rate",
         "coverage": {"A": {"scenes", "all", "groups"}, ...} or None where it is unknown,
         "tasks": {"A": {"episodes", "successes", "success_rate", "success_interval_95",
                         "plan_seconds", "final_cost", "plan_costs", "plan_cost_shares",
                         "idle_fraction", "subgoals_reached", "subgoals_timed_out",
                         "final_distance", "steps_per_second",
                         "control_latency_ms": {"p50", "p99"}, "runs": [...]}, ...}}

    Where the environment judges stages, tasks also have "stages" (see `summarise`), and the result
    has "mean_stage_score".
    Raises InputError and CheckpointError before the first episode where something is missing.
    """
    config.check()
    if config.plan_buffer is not None and num_envs > 1:
        raise InputError("a plan buffer orders the episodes: use it with one environment at once")
    config = as_declared(config)
    coverage = _coverage(config)
    if output is not None:
        check_file(output)
    settings = config.settings()
    keys = [(task, episode) for task in config.tasks for episode in range(config.episodes)]
    partial = output.with_name(f"{output.name}.partial") if output else None
    store = PartialResults(partial, settings) if partial else None
    results = {key: store.results[key] for key in keys if key in store.results} if store else {}
    missing = [key for key in keys if key not in results]
    with Bar(
        total=len(keys),
        initial=len(results),
        unit="episode",
        desc="evaluate",
        disable=not progress,
    ) as bar:
        running = Workers(min(num_envs, len(missing)), functools.partial(_Runner, config))
        try:
            for key, result in running.start(missing):
                results[key] = result
                if store:
                    store.add(key, result)
                bar.update(1)
                bar.set_postfix(_rates(results))
        finally:
            running.close()
    tasks = {}
    for task in config.tasks:
        rows = [
            (episode, episode_seeds(config.seed, task, episode).env, results[task, episode])
            for episode in range(config.episodes)
        ]
        tasks[task] = summarise(rows)
    rates = [figures["success_rate"] for figures in tasks.values()]
    mean = sum(rates) / len(rates)
    result = {**settings, "mean_success_rate": mean, "coverage": coverage, "tasks": tasks}
    if scores := [figures["stages"]["score"] for figures in tasks.values() if "stages" in figures]:
        result["mean_stage_score"] = sum(scores) / len(scores)
    if output:
        text = json.dumps(result, indent=2) + "\n"
        write_atomically(output, lambda path: path.write_text(text, encoding="utf-8"))
        partial.unlink()
    return result


class EvaluationReplay:
    """Networks, planner and settings of a past evaluation.

    The same episode gives the same result as then. Raises InputError, ConfigError and
    CheckpointError where networks or settings do not fit.
    """

    def __init__(self, past: PastEvaluation) -> None:
        self.past = past
        self.checkpoint: Checkpoint = load_checkpoint(past.checkpoint)
        settings, source = past.settings, past.source
        files = self.checkpoint.sha256
        for name, sha in (past.networks or {}).items():
            if files.get(name) != sha:
                raise InputError(f"{source}: made with another {name} than {past.checkpoint} has")
        method, subgoals = settings["method"], settings.get("subgoals", "planned")
        follower = None
        if method_named(method).follows:
            follower = from_dict(FollowerConfig, settings.get("follower", {}), source=source)
        planner = None
        if method_named(method).takes_planner and subgoals != "oracle":
            planner = from_dict(PlannerConfig, settings.get("planner", {}), source=source)
        library = None
        if past.state is not None and settings.get("reuse_plans"):
            library = PlanLibrary(self.checkpoint.encoder_id)
            library.load(past.state / PLANS)
        self._oracle = subgoals == "oracle"
        self._agent = build_agent(
            method,
            self.checkpoint,
            AgentOptions(planner=planner, follower=follower, subgoals=subgoals, library=library),
        )
        if past.state is not None and self._agent.buffers:
            load_buffers(past.state / BUFFERS, self._agent.buffers)

    @property
    def plans(self) -> bool:
        """Whether the method plans; else the policy pursues the goal itself."""
        return method_named(self.past.settings["method"]).plans

    def episode(
        self,
        env: gymnasium.Env,
        number: int,
        *,
        on_plan: Callable[[Plan], None] | None = None,
        on_step: Callable[[Decision], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> EpisodeResult:
        """Run episode ``number``, from 0; ``on_plan`` gets the plan before the first step."""
        settings = self.past.settings
        return run_episode(
            env,
            self._agent,
            options=reset_options(settings["task"], settings["protocol"]),
            seeds=episode_seeds(settings["seed"] + self.past.apart, settings["task"], number),
            max_steps=settings["max_steps"],
            oracle=self._oracle,
            on_plan=on_plan,
            on_step=on_step,
            cancelled=cancelled,
        )


def as_declared(config: EvaluationConfig) -> EvaluationConfig:
    """Fill in the environment's tasks, protocol and steps where none are named.

    The steps are those of the longest task: the environment ends the others itself. Raises
    InputError.
    """
    spec = declared_spec(config.env, config.env_kwargs, config.tasks, config.protocol)
    tasks, protocol = spec.choose_tasks(config.tasks), spec.choose_protocol(config.protocol)
    steps = config.max_steps
    if steps is None:
        steps = spec.longest_episode(tasks, MAX_STEPS)
    if config.paraphrases:
        for task in tasks:
            spec.paraphrase(task, 0)
    return dataclasses.replace(config, tasks=tasks, protocol=protocol, max_steps=steps)


def _coverage(config: EvaluationConfig) -> dict[str, Any] | None:
    """Shares of the episodes' scenes that the checkpoint's demonstrations cover; None: unknown."""
    cells = load_checkpoint(config.checkpoint).metrics.get("coverage")
    if cells is None:
        return None
    env = make_environment(config.env, config.env_kwargs)
    try:
        if not scene_groups(env, config.env):
            return None
        shown = SceneCoverage.from_dict(cells)
        # Groups that were declared after the training: its demonstrations show none of them.
        others = SceneCoverage.of_scenes(scene_groups(env, config.env), ())
        coverage, shares = SceneCoverage({**others.groups, **shown.groups}), {}
        for task in config.tasks:
            episodes = range(config.episodes)
            seeds = [episode_seeds(config.seed, task, episode).env for episode in episodes]
            shares[task] = shares_of_task(coverage, env, task, config.protocol, seeds)
        return shares
    finally:
        env.close()


class _Runner:
    """An env worker: environment, networks and planner of one process."""

    def __init__(self, config: EvaluationConfig) -> None:
        self.config = config
        checkpoint = load_checkpoint(config.checkpoint)
        library = None
        if config.reuse_plans is not None:
            # Successes are not recorded here, so the file does not change.
            library = PlanLibrary(checkpoint.encoder_id, config.reuse_plans)
        options = config.options(
            library=library,
            policies=config.finetuned_policies(checkpoint),
            remember=config.plan_buffer is not None,
        )
        self.agent: Agent = build_agent(config.method, checkpoint, options)
        if config.plan_buffer is not None and config.plan_buffer.exists():
            load_buffers(config.plan_buffer, self.agent.buffers)
        self.env = make_environment(config.env, config.env_kwargs)
        self.spec = spec_of(self.env, config.env)

    def run(self, key: Key, cancelled: Callable[[], bool] | None) -> EpisodeResult:
        config = self.config
        task, episode = key
        result = run_episode(
            self.env,
            self.agent,
            options=reset_options(task, config.protocol),
            seeds=episode_seeds(config.seed, task, episode),
            max_steps=config.max_steps,
            oracle=config.subgoals == "oracle",
            instruction=self.spec.paraphrase(task, episode) if config.paraphrases else None,
            cancelled=cancelled,
        )
        if config.plan_buffer is not None:
            save_buffers(config.plan_buffer, self.agent.buffers)
        return result

    def close(self) -> None:
        self.env.close()


def _sha256(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def _rates(results: dict[Key, EpisodeResult]) -> dict[str, str]:
    """Success rate of each task so far."""
    by_task: dict[str, list[bool]] = {}
    for (task, _), result in sorted(results.items()):
        by_task.setdefault(task, []).append(result.success)
    return {task: f"{sum(wins)}/{len(wins)}" for task, wins in by_task.items()}
