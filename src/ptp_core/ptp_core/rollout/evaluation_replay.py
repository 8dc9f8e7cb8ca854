# SPDX-License-Identifier: Apache-2.0
"""Replay episodes of a past evaluation, with the same networks, settings and seeds."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium

from ptp_core.agents.agent import Decision
from ptp_core.agents.method import AgentOptions
from ptp_core.agents.registry import build_agent, method_named
from ptp_core.config import FollowerConfig, PlannerConfig, from_dict
from ptp_core.data.env_spec import reset_options
from ptp_core.errors import InputError
from ptp_core.planners.plan_buffer import load_buffers
from ptp_core.planners.plan_library import PlanLibrary
from ptp_core.planners.planner import Plan
from ptp_core.practice.state_files import BUFFERS, PLANS
from ptp_core.rollout.episode_results import EpisodeResult, episode_seeds
from ptp_core.rollout.past_evaluation import PastEvaluation
from ptp_core.rollout.run_episode import run_episode
from ptp_core.training.checkpoint import Checkpoint, load_checkpoint


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
        follower = from_dict(FollowerConfig, settings.get("follower", {}), source=source)
        method, subgoals = settings["method"], settings.get("subgoals", "planned")
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
