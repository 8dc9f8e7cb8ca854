# SPDX-License-Identifier: Apache-2.0
"""One epoch of practice, Algorithm 1 of the paper (arXiv 2205.08129). No files, no processes.

`practise_epoch` reads as the algorithm does:

1. `sample_tasks` draws scenes and goals.
2. `rollout` plans subgoals, acts on them and checks success, once for each episode.
3. `update` improves Q, V and policy.
4. `store` adds the episode to the replay buffer and its plan to the plan buffer.

The learner is one epoch behind: rollouts act with the weights and plans that the last epoch left,
while the learner makes the updates that the epochs before call for. So rollouts can run beside the
learner, and the results are the same for any number of environments. Plan library and success
signal are ours, not in the paper.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import nn

from ptp_core.agents.agent import Cancelled
from ptp_core.agents.registry import Method, method_named
from ptp_core.agents.subgoal_agent import SubgoalAgent
from ptp_core.data.env_spec import reset_options
from ptp_core.data.trajectory import PracticeEpisode
from ptp_core.errors import PlanCancelled
from ptp_core.learning.practice_learner import PracticeLearner
from ptp_core.planners.plan_buffer import PlanBuffer, add_plan
from ptp_core.planners.plan_library import PlanLibrary, PlanLibraryPlanner
from ptp_core.planners.planner import Plan
from ptp_core.practice.practice_settings import PracticeConfig
from ptp_core.practice.success_signal import counts_as_success
from ptp_core.rollout.episode_results import APART, EpisodeSeeds, episode_seeds
from ptp_core.rollout.run_episode import Trace, run_episode
from ptp_core.training.checkpoint import Checkpoint

Sharing = Callable[[], AbstractContextManager[Callable[..., Iterable]]]
"""Gives the ``run`` of `PracticeLearner.update`, for as long as updates are made."""


@dataclass(frozen=True)
class PracticeState:
    """What practice changes."""

    learned: nn.Module  # the parts that practice changes, see `Method.practised_parts`
    buffers: list[list[PlanBuffer]]  # by level, of each planner that starts from the same plans
    library: PlanLibrary
    remember: bool = True  # whether new plans enter the buffers

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        method: Method,
        agents: Sequence[SubgoalAgent],
        library: PlanLibrary,
    ) -> PracticeState:
        """The state of a method's agents of one checkpoint, which begin with the same plans."""
        buffers = [agent.buffers for agent in agents if agent.buffers]
        learned = checkpoint.together(method.practised_parts)
        return cls(learned, buffers, library, method.buffer)


@dataclass(frozen=True)
class RolloutRequest:
    """An episode to run."""

    index: int  # of the run's episodes, or of an evaluation's
    seeds: EpisodeSeeds
    evaluate: bool = False  # with mean actions; it is not learned from


@dataclass(frozen=True)
class RolloutResult:
    """What came of a request. Of an evaluation only ``success`` is known."""

    request: RolloutRequest
    success: bool  # the environment's verdict: for reports alone
    counted: bool = False  # as a success, by the success signal: for library and learner
    episode: PracticeEpisode | None = None
    goal: np.ndarray | None = None  # codes (N,)
    plan: Plan | None = None  # None also where the method does not plan
    reused: int | None = None  # number in the library of the plan that was done again


Rollouts = Callable[[Sequence[RolloutRequest]], Iterable[RolloutResult]]
"""Begins rollouts with the state that the last epoch left; their results in any order."""


@dataclass(frozen=True)
class EpochResult:
    """What an epoch adds to a run."""

    episodes: list[PracticeEpisode]  # in the order of their requests
    metrics: dict[str, Any]  # see `epoch_metrics`


def practise_epoch(
    config: PracticeConfig,
    number: int,
    state: PracticeState,
    learner: PracticeLearner,
    rollouts: Rollouts,
    *,
    sharing: Sharing,
    cancelled: Cancelled = None,
) -> EpochResult:
    """Do epoch ``number``, from 0; afterwards ``state`` and ``learner`` are ready for the next.

    ``learner`` trains ``state.learned``. ``rollouts`` have networks and plans of their own, which
    are those of ``state`` at the call. Raises PlanCancelled when ``cancelled()`` says so.
    """
    began = time.perf_counter()
    requests = sample_tasks(config, number)
    acting = rollouts(requests)
    losses = update(learner, sharing, cancelled)
    learned = time.perf_counter()
    ended = {result.request: result for result in acting}
    acted = time.perf_counter()
    results = [ended[request] for request in requests]
    practised = [result for result in results if not result.request.evaluate]
    learned_from = [store(result, state, learner) for result in practised]
    seconds = {"learning_seconds": learned - began, "epoch_seconds": acted - began}
    metrics = epoch_metrics(number, results, learner, seconds, losses, learned_from)
    return EpochResult([result.episode for result in practised], metrics)


def sample_tasks(config: PracticeConfig, number: int) -> list[RolloutRequest]:
    """The episodes of epoch ``number``, and those of an evaluation where one is due.

    The seeds draw scene and goal of ``config.task``.
    """
    first = number * config.episodes
    requests = [
        RolloutRequest(index, episode_seeds(config.seed, config.task, index))
        for index in range(first, first + config.episodes)
    ]
    if number % config.evaluate_every == 0:
        requests += evaluation_requests(config)
    return requests


def evaluation_requests(config: PracticeConfig) -> list[RolloutRequest]:
    """The episodes of an evaluation: the same ones each time, which practice never sees."""
    seed = config.seed + APART
    return [
        RolloutRequest(index, episode_seeds(seed, config.task, index), evaluate=True)
        for index in range(config.evaluation_episodes)
    ]


def rollout(
    config: PracticeConfig,
    env: gymnasium.Env,
    agent: SubgoalAgent,
    request: RolloutRequest,
    checkpoint: Checkpoint,
    cancelled: Cancelled = None,
) -> RolloutResult:
    """Run one episode: reset, plan, act until its end, check success.

    ``checkpoint``: whose encoder the agent has. Raises PlanCancelled, and what `run_episode`
    raises.
    """
    trace = None if request.evaluate else Trace()
    end = run_episode(
        env,
        agent,
        options=reset_options(config.task, config.protocol),
        seeds=request.seeds,
        max_steps=config.max_steps,
        trace=trace,
        cancelled=cancelled,
    )
    if trace is None:
        return RolloutResult(request, end.success)
    planner = agent.planner
    episode = trace.episode()
    ends = episode.codes[-1], trace.goal
    counted = counts_as_success(config.success_signal, end.success, *ends, checkpoint)
    if episode.instruction is not None:
        episode = dataclasses.replace(episode, succeeded=counted)
    return RolloutResult(
        request,
        end.success,
        counted,
        episode,
        trace.goal,
        # Only what was planned beforehand can be done again.
        trace.plan if method_named(config.method).plans else None,
        planner.again if isinstance(planner, PlanLibraryPlanner) else None,
    )


def update(learner: PracticeLearner, sharing: Sharing, cancelled: Cancelled) -> dict[str, float]:
    """Make the updates that are due, UTD ratio times practised steps; the metrics of the last."""
    metrics: dict[str, float] = {}
    with sharing() as run:
        while learner.due > 0:
            metrics = learner.update(run)
            if cancelled is not None and cancelled():
                raise PlanCancelled("practice was cancelled")
    return metrics


def store(result: RolloutResult, state: PracticeState, learner: PracticeLearner) -> bool:
    """Keep a practised episode, its plan and how that ended; whether it is learned from.

    A new plan goes into plan buffer and plan library. Where the learner takes successes only, the
    steps of other episodes count for the UTD ratio alone.
    """
    library = state.library
    if result.plan is not None:
        if result.reused is None:
            for buffers in state.buffers if state.remember else []:
                add_plan(buffers, result.plan)
            ends = np.stack([result.episode.codes[0], result.goal])
            plan = library.add(result.plan, *latents_of(ends, learner.checkpoint))
        else:
            plan = library.plans[result.reused]
        library.judge(plan, result.counted)
    learned_from = result.counted or not learner.successes_only
    learner.add(result.episode, learn=learned_from)
    return learned_from


def latents_of(codes: np.ndarray, checkpoint: Checkpoint) -> torch.Tensor:
    """Latents (..., D) of codes (..., N), on the CPU."""
    vqvae = checkpoint.vqvae
    return vqvae.lookup(torch.from_numpy(codes.astype(np.int64)).to(vqvae.codebook.device)).cpu()


def epoch_metrics(
    number: int,
    results: Sequence[RolloutResult],
    learner: PracticeLearner,
    seconds: dict[str, float],
    losses: dict[str, float],
    learned_from: list[bool],
) -> dict[str, Any]:
    """Figures of an epoch, as they stand in its JSON; ``learned_from``: of each episode.

    "steps" and "updates" are those of the whole run. The practice success rate is the
    environment's verdict, "counted_as_success" the success signal's.
    """
    practised = [result for result in results if not result.request.evaluate]
    evaluated = [result for result in results if result.request.evaluate]
    metrics = {
        "epoch": number + 1,
        "steps": learner.steps,
        "updates": learner.updates,
        "practice_success_rate": sum(result.success for result in practised) / len(practised),
        "counted_as_success": sum(result.counted for result in practised),
        **seconds,
        "losses": losses,
        "learned_from": learned_from,
    }
    if evaluated:
        metrics["evaluation"] = evaluation_metrics(number, evaluated)
    return metrics


def evaluation_metrics(epochs: int, results: Sequence[RolloutResult]) -> dict[str, int]:
    """Figures of an evaluation after ``epochs`` epochs of practice."""
    successes = sum(result.success for result in results)
    return {"epoch": epochs, "episodes": len(results), "successes": successes}
