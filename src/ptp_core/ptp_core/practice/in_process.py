# SPDX-License-Identifier: Apache-2.0
"""Practice in one process: act for an epoch, learn for an epoch, and again (paper Alg. 1)."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from ptp_core.config import FollowerConfig, PlannerConfig, to_dict
from ptp_core.data.collect import environment_factory
from ptp_core.data.encoded import EncodedDataset
from ptp_core.data.files import write_atomically
from ptp_core.errors import InputError, PlanCancelled
from ptp_core.planners.base import Planner
from ptp_core.planners.plan_archive import PlanArchive, ProvenPlanner
from ptp_core.planners.plan_buffer import load_buffers, save_buffers
from ptp_core.practice.controller import Controller
from ptp_core.practice.episode import Trace, run_episode
from ptp_core.practice.epochs import Epochs
from ptp_core.practice.methods import method_named
from ptp_core.practice.online_learner import LEARNING_RATE, OnlineLearner, PracticeEpisode
from ptp_core.practice.result import MAX_STEPS
from ptp_core.practice.search import make_search
from ptp_core.practice.seeds import episode_seeds
from ptp_core.training.checkpoint import load_checkpoint, save_again

LEARNER, BUFFERS, PROVEN = "learner.safetensors", "buffers.safetensors", "plans.safetensors"
RESULT, CHECKPOINT = "result.json", "checkpoint"
APART = 1_000_000  # between the seeds of practice and of evaluation


@dataclass(frozen=True, kw_only=True)
class PracticeConfig:
    """What to practise, and how. Everything that a run's result depends on but the data."""

    checkpoint: Path
    task: str = "A"
    method: str = "ptp"  # one of METHODS
    protocol: Literal["paper", "varied"] = "paper"
    seed: int = 0
    epochs: int = 150  # online epochs (paper)
    episodes: int = 5  # of an epoch: 2,000 steps (paper)
    max_steps: int = MAX_STEPS
    updates_per_step: float = 1.0  # paper
    learning_rate: float = LEARNING_RATE
    learn_from: Literal["all", "successes"] = "all"  # paper: all
    explore: bool = True  # practise with sampled actions, as the paper does
    proven: bool = False  # do plans again that worked; ours, see PlanArchive
    evaluate_every: int = 10  # epochs; 0 and the last are always evaluated
    evaluation_episodes: int = 50
    planner: PlannerConfig | None = None  # None: the checkpoint's; of the ptp methods alone
    baselines: Path | None = None  # folder of ptp pretrain-baselines; leap and gcp need it
    follower: FollowerConfig | None = None  # None: the checkpoint's
    env: str = "ptp_sim.env:make_env"  # module:factory
    env_kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        method_named(self.method)
        for name in ("epochs", "episodes", "max_steps", "evaluate_every", "evaluation_episodes"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")


class InProcessPractice:
    """A run in a folder. Interrupted at any moment, the next goes on after its last epoch.

    A run that was interrupted ends with the same weights and figures, times apart, as one that
    was not. Raises InputError and CheckpointError where something is missing or does not fit.
    """

    def __init__(
        self, config: PracticeConfig, folder: Path, demonstrations: EncodedDataset | None = None
    ) -> None:
        self.config = config
        self._folder = folder
        self._checkpoint = checkpoint = load_checkpoint(config.checkpoint)
        self._method = method_named(config.method)
        follower = config.follower or checkpoint.config.follower
        factory = environment_factory(config.env)
        self._search = make_search(config.method, checkpoint, config.planner, config.baselines)
        self._epochs = Epochs(folder, self._settings(follower, demonstrations))
        self._learner = OnlineLearner(
            checkpoint,
            demonstrations,
            updates_per_step=config.updates_per_step,
            learning_rate=config.learning_rate,
            seed=config.seed,
        )
        planner = self._planner = self._greedy = self._search.planner
        self._archive = PlanArchive(checkpoint.encoder_id)
        if planner is not None and config.proven:
            self._planner = ProvenPlanner(planner, self._archive, explore=True)
            self._greedy = ProvenPlanner(planner, self._archive, explore=False)
        sampled = dataclasses.replace(follower, sample_actions=config.explore)
        mean = dataclasses.replace(follower, sample_actions=False)
        self._explorer = Controller(checkpoint, sampled)
        self._controller = Controller(checkpoint, mean)
        self._resume()
        self._env = factory(**config.env_kwargs)

    def close(self) -> None:
        """Free the environment."""
        self._env.close()

    def run(
        self, *, progress: bool = True, cancelled: Callable[[], bool] | None = None
    ) -> dict[str, Any]:
        """Practise the epochs that are left; the result, which ``result.json`` holds too.

        Raises PlanCancelled when ``cancelled()`` says so; finished epochs are kept.
        """
        total = self.config.epochs
        with tqdm(
            total=total,
            initial=min(self._epochs.count, total),
            unit="epoch",
            desc=f"practise {self.config.task}",
            disable=not progress,
        ) as bar:
            while (number := self._epochs.count) < total:
                metrics = self._epoch(number, cancelled)
                bar.update()
                bar.set_postfix(_shown(metrics))
        metrics = self._epochs.metrics()
        result = {"epochs": metrics, "evaluations": _evaluations(metrics)}
        text = json.dumps(result, indent=2) + "\n"
        write_atomically(self._folder / RESULT, lambda path: path.write_text(text, "utf-8"))
        self._save_checkpoint(result["evaluations"])
        return result

    def _epoch(self, number: int, cancelled: Callable[[], bool] | None) -> dict[str, Any]:
        """One epoch of steps and the updates that they call for."""
        config, learner = self.config, self._learner
        before = {} if number else {"before": self._evaluate(cancelled)}
        began = time.perf_counter()
        episodes, successes, learned = [], 0, []
        for index in range(number * config.episodes, (number + 1) * config.episodes):
            episode, success = self._episode(index, cancelled)
            episodes.append(episode)
            successes += success
            learned.append(success or config.learn_from == "all")
            learner.add(episode, learn=learned[-1])
        acted = time.perf_counter()
        scalars: dict[str, float] = {}
        while learner.due > 0:
            scalars = learner.update()
            if cancelled is not None and cancelled():
                raise PlanCancelled("practice was cancelled")
        trained = time.perf_counter()
        metrics: dict[str, Any] = {
            "epoch": number + 1,
            "steps": learner.steps,
            "updates": learner.updates,
            "practice_success_rate": successes / config.episodes,
            "acting_seconds": acted - began,
            "learning_seconds": trained - acted,
            "losses": scalars,
            "learned_from": learned,
            **before,
        }
        if (number + 1) % config.evaluate_every == 0 or number + 1 == config.epochs:
            metrics["evaluation"] = self._evaluate(cancelled)
        self._epochs.add(episodes, metrics, self._save_state)
        return metrics

    def _episode(
        self, index: int, cancelled: Callable[[], bool] | None
    ) -> tuple[PracticeEpisode, bool]:
        trace = Trace()
        result = run_episode(
            self._env,
            self._checkpoint.vqvae,
            self._explorer,
            self._planner,
            options={"task": self.config.task, "protocol": self.config.protocol},
            seeds=episode_seeds(self.config.seed, self.config.task, index),
            max_steps=self.config.max_steps,
            remember=self._method.buffer,
            trace=trace,
            cancelled=cancelled,
        )
        if isinstance(self._planner, ProvenPlanner):
            self._planner.judge(result.success)
        return trace.episode(), result.success

    def _evaluate(self, cancelled: Callable[[], bool] | None) -> dict[str, Any]:
        """Success on scenes that are not practised; nothing is learned from them."""
        config = self.config
        planner: Planner | None = self._greedy
        results = [
            run_episode(
                self._env,
                self._checkpoint.vqvae,
                self._controller,
                planner,
                options={"task": config.task, "protocol": config.protocol},
                seeds=episode_seeds(config.seed + APART, config.task, index),
                max_steps=config.max_steps,
                cancelled=cancelled,
            )
            for index in range(config.evaluation_episodes)
        ]
        successes = sum(result.success for result in results)
        return {"episodes": len(results), "successes": successes}

    def _settings(
        self, follower: FollowerConfig, demonstrations: EncodedDataset | None
    ) -> dict[str, Any]:
        """What a run that goes on must share with the one before; more epochs are welcome."""
        values = dataclasses.asdict(self.config)
        for name in ("checkpoint", "baselines", "epochs"):
            del values[name]
        files = self._checkpoint.manifest["files"]
        values |= {
            **self._search.settings,
            "follower": to_dict(follower),
            "checkpoint_sha256": {name: files[name]["sha256"] for name in sorted(files)},
            "demonstrations": 0 if demonstrations is None else len(demonstrations.lengths),
        }
        return json.loads(json.dumps(values))

    def _save_state(self, folder: Path) -> None:
        self._learner.save(folder / LEARNER)
        if self._search.buffers:
            save_buffers(folder / BUFFERS, self._search.buffers)
        if self._method.plans:
            self._archive.save(folder / PROVEN)

    def _resume(self) -> None:
        state = self._epochs.state
        if state is None:
            return
        learned = [flag for epoch in self._epochs.metrics() for flag in epoch["learned_from"]]
        for episode, learn in zip(self._epochs.episodes(), learned, strict=True):
            self._learner.add(episode, learn=learn)
        if not self._learner.resume(state / LEARNER):
            raise InputError(f"{state}: the state of another run")
        if self._search.buffers:
            load_buffers(state / BUFFERS, self._search.buffers)
        if self._method.plans:
            self._archive.load(state / PROVEN)

    def _save_checkpoint(self, evaluations: list[dict[str, Any]]) -> None:
        metrics = {
            "practised_steps": self._learner.steps,
            "updates": self._learner.updates,
            "evaluations": evaluations,
        }
        save_again(self._folder / CHECKPOINT, self._checkpoint, metrics)


def _evaluations(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [{"epoch": 0, **metrics[0]["before"]}] if metrics else []
    return found + [
        {"epoch": entry["epoch"], **entry["evaluation"]}
        for entry in metrics
        if "evaluation" in entry
    ]


def _shown(metrics: dict[str, Any]) -> dict[str, str]:
    shown = {"practice": f"{metrics['practice_success_rate']:.0%}"}
    if "evaluation" in metrics:
        found = metrics["evaluation"]
        shown["evaluation"] = f"{found['successes']}/{found['episodes']}"
    return shown
