# SPDX-License-Identifier: Apache-2.0
"""Practice without ROS: epoch after epoch in a folder, gone on from after any interruption.

An epoch depends on what the one before it left on the disk and on nothing else, so runs end the
same with any number of environments and after any interruption. `epoch` is the algorithm.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ptp_core.agents.agent import Cancelled
from ptp_core.agents.registry import AgentOptions, build_agent, method_named
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.env_spec import declared_spec
from ptp_core.data.file_limits import load_json
from ptp_core.data.files import write_atomically
from ptp_core.errors import InputError
from ptp_core.learning.accelerated_iql import shared_networks
from ptp_core.planners.plan_library import PlanLibrary
from ptp_core.practice.epoch import (
    PracticeState,
    RolloutRequest,
    RolloutResult,
    Rollouts,
    evaluation_metrics,
    evaluation_requests,
    latents_of,
    practise_epoch,
    update,
)
from ptp_core.practice.policy_library import save_finetuned
from ptp_core.practice.practice_settings import PracticeConfig
from ptp_core.practice.rollout_worker import RolloutJob, RolloutWorker, load_state, save_state
from ptp_core.practice.run_folder import CHECKPOINT, FINETUNED, RESULT, Epochs
from ptp_core.practice.success_signal import check_signal
from ptp_core.progress import Bar
from ptp_core.rollout.episode_results import MAX_STEPS
from ptp_core.training.checkpoint import load_checkpoint, save_again
from ptp_core.training.stage import choose_device
from ptp_core.training.weights import round_to
from ptp_core.worker_pool import Workers

LEARNER = "learner.safetensors"
FINAL = "final"  # state of the last evaluation; gone afterwards


class InProcessPractice:
    """A run in a folder. Interrupted at any moment, the next goes on after its last epoch.

    ``num_envs`` env workers roll out while this process learns; 0: this one does both in turns. A
    run that was interrupted ends with the same weights and figures, times apart, as one that was
    not. It learns on ``device``, on a CPU with ``threads``; acting and planning are the CPU's.
    Raises InputError and CheckpointError where something is missing or does not fit, ConfigError
    without the device.
    """

    def __init__(
        self,
        config: PracticeConfig,
        folder: Path,
        demonstrations: EncodedDataset | None = None,
        *,
        num_envs: int = 0,
        threads: int = 1,
        device: str = "auto",
    ) -> None:
        self.config = config = _as_declared(config)
        self._folder = folder
        on = choose_device(device)
        self._sharing = functools.partial(shared_networks, on, threads)
        self._checkpoint = checkpoint = load_checkpoint(config.checkpoint, on)
        check_signal(config.success_signal, checkpoint)
        self._method = method_named(config.method)
        options = AgentOptions(planner=config.planner, follower=config.follower)
        self._agent = build_agent(config.method, checkpoint, options)
        self._epochs = Epochs(folder, self._settings(demonstrations))
        self._learner = self._method.learner(
            checkpoint,
            demonstrations,
            successes_only=config.learn_from == "successes",
            utd_ratio=config.utd_ratio,
            learning_rate=config.learning_rate,
            seed=config.seed,
        )
        library = PlanLibrary(checkpoint.encoder_id, signal=config.success_signal)
        self._state = PracticeState.of(checkpoint, self._method, [self._agent], library)
        self._resume()
        self._envs = Workers(num_envs, functools.partial(RolloutWorker, config))

    def close(self) -> None:
        """End the processes."""
        self._envs.close()

    def run(self, *, progress: bool = True, cancelled: Cancelled = None) -> dict[str, Any]:
        """Practise the epochs that are left; the result, which ``result.json`` holds too.

        Raises PlanCancelled when ``cancelled()`` says so; finished epochs are kept.
        """
        total = self.config.epochs
        with Bar(
            total=total,
            initial=min(self._epochs.count, total),
            unit="epoch",
            desc=f"practise {self.config.task}",
            disable=not progress,
        ) as bar:
            while (number := self._epochs.count) < total:
                metrics = self._epoch(number, cancelled, bar.set_postfix_str)
                bar.update()
                bar.set_postfix(_shown(metrics))
        metrics = self._epochs.metrics()
        result = self._finished(metrics)
        if result is None:
            result = self._finish(metrics, cancelled)
        return result

    def _epoch(
        self, number: int, cancelled: Cancelled, say: Callable[[str], None]
    ) -> dict[str, Any]:
        """Do an epoch and write it; its metrics."""
        result = practise_epoch(
            self.config,
            number,
            self._state,
            self._learner,
            self._rollouts(self._epochs.state, cancelled, say),
            sharing=self._sharing,
            cancelled=cancelled,
        )
        self._epochs.add(result.episodes, result.metrics, self._save_state)
        return result.metrics

    def _rollouts(
        self,
        state: Path | None,
        cancelled: Cancelled,
        say: Callable[[str], None] = lambda text: None,
    ) -> Rollouts:
        """Rollouts by the env workers with the state in this folder; None: the checkpoint's."""

        def begin(requests: Sequence[RolloutRequest]) -> Iterator[RolloutResult]:
            jobs = [RolloutJob(request, state) for request in requests]
            return ended(self._envs.start(jobs, cancelled), len(jobs))

        def ended(results: Iterator[tuple[Any, RolloutResult]], count: int):
            for done, (_, result) in enumerate(results, 1):
                say(f"{done} of {count} episodes")
                yield result

        return begin

    def _finish(self, metrics: list[dict[str, Any]], cancelled: Cancelled) -> dict[str, Any]:
        """Learn what is still due, evaluate the end, write the result."""
        losses = update(self._learner, self._sharing, cancelled)
        # What is evaluated is what the checkpoint will hold: rounding alone changes episodes.
        changed = set(self._state.learned.modules())
        for part in self._checkpoint.parts.values():
            if part.module in changed:
                round_to(part.module, part.precision)
        state = self._folder / FINAL
        state.mkdir(exist_ok=True)
        save_state(self._state, state)
        last = list(self._rollouts(state, cancelled)(evaluation_requests(self.config)))
        evaluations = [epoch["evaluation"] for epoch in metrics if "evaluation" in epoch]
        evaluations.append(evaluation_metrics(len(metrics), last))
        result = {
            "success_signal": self.config.success_signal,
            "privileged": self.config.privileged,
            "epochs": metrics,
            "evaluations": evaluations,
            "updates": self._learner.updates,
            "losses": losses,
        }
        figures = {
            "success_signal": self.config.success_signal,
            "privileged": self.config.privileged,
            "practised_steps": self._learner.steps,
            "updates": self._learner.updates,
            "evaluations": evaluations,
        }
        agent = self.config.method
        save_again(self._folder / CHECKPOINT, self._checkpoint, figures, agent)
        if self._method.follows:  # others are told their goals in other ways than by latents
            self._save_finetuned(figures)
        text = json.dumps(result, indent=2) + "\n"
        write_atomically(self._folder / RESULT, lambda path: path.write_text(text, "utf-8"))
        shutil.rmtree(state)
        return result

    def _save_finetuned(self, figures: dict[str, Any]) -> None:
        """Write the policy with the goals that it practised."""
        finetuned = self._folder / FINETUNED / f"{self.config.task or 'task'}.safetensors"
        finetuned.parent.mkdir(exist_ok=True)
        library, goals = self._state.library, self._goals()
        if not self.config.reuse_plans:
            library = PlanLibrary(self._checkpoint.encoder_id)  # the policy alone was practised
        learned = self._method.learned
        save_finetuned(finetuned, self._checkpoint, learned, goals, library, figures)

    def _goals(self) -> np.ndarray:
        """Latents (n, D) of the goals that were practised."""
        if plans := self._state.library.plans:
            return np.stack([plan.ends[1] for plan in plans])
        # Without a plan the goal itself is pursued from the first step.
        codes = np.stack([episode.targets[0] for episode in self._epochs.episodes()])
        return latents_of(codes, self._checkpoint).numpy()

    def _finished(self, metrics: list[dict[str, Any]]) -> dict[str, Any] | None:
        """The result where it is there already."""
        path = self._folder / RESULT
        if not path.exists():
            return None
        try:
            result = load_json(path)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({error}); remove it") from error
        return result if result["epochs"] == metrics else None

    def _settings(self, demonstrations: EncodedDataset | None) -> dict[str, Any]:
        """What a run that goes on must share with the one before; more epochs are welcome."""
        values = dataclasses.asdict(self.config)
        for name in ("checkpoint", "epochs"):
            del values[name]
        values |= {
            "privileged": self.config.privileged,
            **self._agent.settings,
            "checkpoint_sha256": self._checkpoint.sha256,
            "demonstrations": None if demonstrations is None else demonstrations.content_hash(),
        }
        return json.loads(json.dumps(values))

    def _save_state(self, folder: Path) -> None:
        self._learner.save(folder / LEARNER)
        save_state(self._state, folder)

    def _resume(self) -> None:
        state = self._epochs.state
        if state is None:
            return
        learned = [flag for epoch in self._epochs.metrics() for flag in epoch["learned_from"]]
        for episode, learn in zip(self._epochs.episodes(), learned, strict=True):
            self._learner.add(episode, learn=learn)
        if not self._learner.resume(state / LEARNER):
            raise InputError(f"{state}: the state of another run")
        load_state(self._state, state)


def _as_declared(config: PracticeConfig) -> PracticeConfig:
    """With the environment's first task, protocol and steps where none are named. InputError."""
    tasks = () if config.task is None else (config.task,)
    spec = declared_spec(config.env, config.env_kwargs, tasks, config.protocol)
    task, protocol = spec.choose_task(config.task), spec.choose_protocol(config.protocol)
    steps = config.max_steps
    if steps is None:
        steps = spec.longest_episode([task], MAX_STEPS)
    return dataclasses.replace(config, task=task, protocol=protocol, max_steps=steps)


def _shown(metrics: dict[str, Any]) -> dict[str, str]:
    shown = {"practice": f"{metrics['practice_success_rate']:.0%}"}
    if "evaluation" in metrics:
        found = metrics["evaluation"]
        shown["evaluation"] = f"{found['successes']}/{found['episodes']}"
    return shown
