# SPDX-License-Identifier: Apache-2.0
"""Episodes of practice and its evaluations, with the knowledge that an epoch left on the disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from ptp_core.agents.method import AgentOptions
from ptp_core.agents.registry import build_agent, method_named
from ptp_core.agents.subgoal_agent import SubgoalAgent
from ptp_core.data.collect_demonstrations import make_environment
from ptp_core.data.env_spec import reset_options
from ptp_core.errors import CheckpointError
from ptp_core.learning.online_learner import PracticeEpisode
from ptp_core.planners.plan_buffer import PlanBuffer, load_buffers, save_buffers
from ptp_core.planners.plan_library import PlanLibrary, PlanLibraryPlanner
from ptp_core.planners.planner import Plan
from ptp_core.practice.practice_settings import PracticeConfig
from ptp_core.practice.success_signal import counts_as_success
from ptp_core.rollout.episode_results import APART, episode_seeds
from ptp_core.rollout.run_episode import Trace, run_episode
from ptp_core.training.checkpoint import load_checkpoint

WEIGHTS, BUFFERS, PLANS = "weights.safetensors", "buffers.safetensors", "plans.safetensors"


@dataclass(frozen=True, order=True)
class RolloutRequest:
    """An episode to play with the knowledge in ``state``; None: the checkpoint's."""

    index: int  # of the run's episodes, or of an evaluation's
    evaluate: bool = False  # mean actions, with seeds that practice does not use
    state: Path | None = None


@dataclass(frozen=True)
class RolloutResult:
    """What came of a job; what is for learning is None where it was an evaluation."""

    success: bool  # the simulator's verdict: for reports alone
    counts: bool | None = None  # as a success, by the success signal: for library and learner
    episode: PracticeEpisode | None = None
    goal: np.ndarray | None = None  # codes (144,)
    plan: Plan | None = None  # None also where the method does not plan
    again: int | None = None  # number in the library of the plan that was done again


class PracticeState:
    """What practice changes: weights, plans to start from, plans that worked. Kept in a folder.

    ``learned``: the networks that practice changes. ``buffers``: of each planner that is to start
    from the same plans; those of the first are kept.
    """

    def __init__(
        self, learned: nn.Module, buffers: Sequence[list[PlanBuffer]], library: PlanLibrary
    ) -> None:
        self.learned = learned
        self.buffers = [each for each in buffers if each]
        self.library = library

    def save(self, folder: Path) -> None:
        """Write all into ``folder``."""
        (folder / WEIGHTS).write_bytes(save(self.learned.state_dict()))
        if self.buffers:
            save_buffers(folder / BUFFERS, self.buffers[0])
        self.library.save(folder / PLANS)

    def load(self, folder: Path) -> None:
        """Take over what ``save`` wrote. Raises CheckpointError where a file does not fit."""
        try:
            self.learned.load_state_dict(load_file(folder / WEIGHTS))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise CheckpointError(f"{folder / WEIGHTS}: cannot be used ({error})") from error
        for buffers in self.buffers:
            load_buffers(folder / BUFFERS, buffers)
        self.library.plans.clear()
        self.library.load(folder / PLANS)


class RolloutWorker:
    """Environment and agents of one process: a worker for `RolloutRequest`."""

    def __init__(self, config: PracticeConfig) -> None:
        self._config = config
        self._checkpoint = checkpoint = load_checkpoint(config.checkpoint)
        library = PlanLibrary(checkpoint.encoder_id, signal=config.success_signal)
        self._practiser = self._agent(config.actions == "sample", library, explore=True)
        self._evaluator = self._agent(False, library, explore=False)
        agents = self._practiser, self._evaluator
        self._knowledge = PracticeState(
            self._practiser.learned, [agent.buffers for agent in agents], library
        )
        self._state: Path | None = None
        self._env = make_environment(config.env, config.env_kwargs)

    def run(self, job: RolloutRequest, cancelled: Callable[[], bool] | None) -> RolloutResult:
        """Play an episode; raises PlanCancelled."""
        if job.state is not None and job.state != self._state:
            self._knowledge.load(job.state)
            self._state = job.state
        config = self._config
        trace = None if job.evaluate else Trace()
        agent = self._evaluator if job.evaluate else self._practiser
        result = run_episode(
            self._env,
            agent,
            options=reset_options(config.task, config.protocol),
            seeds=episode_seeds(config.seed + APART * job.evaluate, config.task, job.index),
            max_steps=config.max_steps,
            trace=trace,
            cancelled=cancelled,
        )
        if trace is None:
            return RolloutResult(result.success)
        again = agent.planner.again if isinstance(agent.planner, PlanLibraryPlanner) else None
        counts = counts_as_success(
            config.success_signal, result.success, result.final_distance, self._checkpoint
        )
        return RolloutResult(
            result.success, counts, trace.episode(), trace.goal, trace.plan, again
        )

    def _agent(self, sample: bool, library: PlanLibrary, explore: bool) -> SubgoalAgent:
        """The method's; ``sample``: it draws its actions, else they are the mean ones."""
        config = self._config
        stored = self._checkpoint.config.follower
        follower = config.follower or method_named(config.method).follower(stored)
        options = AgentOptions(
            planner=config.planner,
            follower=dataclasses.replace(follower, sample_actions=sample),
            library=library if config.reuse_plans else None,
            explore=explore,
        )
        return build_agent(config.method, self._checkpoint, options)

    def close(self) -> None:
        """Free the environment."""
        self._env.close()
