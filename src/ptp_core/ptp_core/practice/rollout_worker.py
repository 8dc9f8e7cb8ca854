# SPDX-License-Identifier: Apache-2.0
"""Rollouts in a process of their own, with the state that an epoch left on the disk.

An interrupted run goes on from the files of the same state.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ptp_core.agents.agent import Cancelled
from ptp_core.agents.registry import AgentOptions, build_agent, method_named
from ptp_core.agents.subgoal_agent import SubgoalAgent
from ptp_core.data.collect_demonstrations import make_environment
from ptp_core.data.file_limits import MOST_WEIGHTS, OverBudget, at_most
from ptp_core.errors import CheckpointError
from ptp_core.planners.plan_buffer import load_buffers, save_buffers
from ptp_core.planners.plan_library import PlanLibrary
from ptp_core.practice.epoch import PracticeState, RolloutRequest, RolloutResult, rollout
from ptp_core.practice.practice_settings import PracticeConfig
from ptp_core.training.checkpoint import load_checkpoint

WEIGHTS, BUFFERS, PLANS = "weights.safetensors", "buffers.safetensors", "plans.safetensors"


def save_state(state: PracticeState, folder: Path) -> None:
    """Write all into ``folder``; of plan buffers those of the first planner."""
    (folder / WEIGHTS).write_bytes(save(state.learned.state_dict()))
    if state.buffers:
        save_buffers(folder / BUFFERS, state.buffers[0])
    state.library.save(folder / PLANS)


def load_state(state: PracticeState, folder: Path) -> None:
    """Let ``state`` be the one in ``folder``. Raises CheckpointError where a file does not fit."""
    try:
        state.learned.load_state_dict(load_file(at_most(folder / WEIGHTS, MOST_WEIGHTS)))
    except (OSError, SafetensorError, RuntimeError, OverBudget) as error:
        raise CheckpointError(f"{folder / WEIGHTS}: cannot be used ({error})") from error
    for buffers in state.buffers:
        load_buffers(folder / BUFFERS, buffers)
    state.library.plans.clear()
    state.library.load(folder / PLANS)


@dataclass(frozen=True)
class RolloutJob:
    """A request with the folder of the state to act with; None: the checkpoint's."""

    request: RolloutRequest
    state: Path | None


class RolloutWorker:
    """Environment and agents of one env worker, for `ptp_core.worker_pool.Workers`.

    It practises and evaluates with the same networks and plans. Practice may sample its actions
    and tries plans of the library; evaluation takes mean actions and the best plans.
    """

    def __init__(self, config: PracticeConfig) -> None:
        self._config = config
        self._checkpoint = checkpoint = load_checkpoint(config.checkpoint)
        library = PlanLibrary(checkpoint.encoder_id, signal=config.success_signal)
        self._practiser = self._agent(config.actions == "sample", library, explore=True)
        self._evaluator = self._agent(False, library, explore=False)
        method, agents = method_named(config.method), [self._practiser, self._evaluator]
        self._state = PracticeState.of(checkpoint, method, agents, library)
        self._loaded: Path | None = None
        self._env = make_environment(config.env, config.env_kwargs)

    def run(self, job: RolloutJob, cancelled: Cancelled) -> RolloutResult:
        """Run an episode. Raises PlanCancelled, and CheckpointError for a damaged state."""
        if job.state is not None and job.state != self._loaded:
            load_state(self._state, job.state)
            self._loaded = job.state
        agent = self._evaluator if job.request.evaluate else self._practiser
        return rollout(self._config, self._env, agent, job.request, self._checkpoint, cancelled)

    def close(self) -> None:
        """Free the environment."""
        self._env.close()

    def _agent(self, sample: bool, library: PlanLibrary, explore: bool) -> SubgoalAgent:
        """The method's; ``sample``: it draws its actions, else they are the mean ones."""
        config = self._config
        method = method_named(config.method)
        follower = config.follower
        if method.follows:
            follower = follower or method.follower(self._checkpoint.config)
            follower = dataclasses.replace(follower, sample_actions=sample)
        options = AgentOptions(
            planner=config.planner,
            follower=follower,
            library=library if config.reuse_plans else None,
            explore=explore,
        )
        return build_agent(config.method, self._checkpoint, options)
