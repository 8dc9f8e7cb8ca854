# SPDX-License-Identifier: Apache-2.0
"""Do an evaluation again, episode by episode: to look at it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gymnasium

from ptp_core.agents.agent import Decision
from ptp_core.agents.subgoal_agent import SubgoalAgent
from ptp_core.config import FollowerConfig, PlannerConfig, from_dict
from ptp_core.data.env_spec import reset_options
from ptp_core.errors import InputError
from ptp_core.planners.base import Plan, Planner
from ptp_core.planners.plan_buffer import load_buffers
from ptp_core.planners.plan_library import PlanLibrary, PlanLibraryPlanner
from ptp_core.practice.actor import BUFFERS, PLANS
from ptp_core.practice.episode import run_episode
from ptp_core.practice.methods import method_named
from ptp_core.practice.past_evaluation import PastEvaluation
from ptp_core.practice.result import EpisodeResult
from ptp_core.practice.search import Search, make_search
from ptp_core.practice.seeds import episode_seeds
from ptp_core.training.checkpoint import Checkpoint, load_checkpoint


class EvaluationAgain:
    """Networks, planner and settings of a past evaluation.

    ``baselines``: folder that it was made with, where its method needs one. The same episode gives
    the same result as then. Raises InputError, ConfigError and CheckpointError where networks or
    settings do not fit.
    """

    def __init__(self, past: PastEvaluation, baselines: Path | None = None) -> None:
        self.past = past
        self.checkpoint: Checkpoint = load_checkpoint(past.checkpoint)
        settings, source = past.settings, past.source
        files = self.checkpoint.manifest["files"]
        for name, sha in (past.networks or {}).items():
            if name not in files or files[name]["sha256"] != sha:
                raise InputError(f"{source}: made with another {name} than {past.checkpoint} has")
        follower = from_dict(FollowerConfig, settings.get("follower", {}), source=source)
        method, subgoals = settings["method"], settings.get("subgoals", "planned")
        config = None
        if method_named(method).search == "ptp" and subgoals != "oracle":
            config = from_dict(PlannerConfig, settings.get("planner", {}), source=source)
        search = make_search(method, self.checkpoint, config, baselines, follower, subgoals)
        recorded = settings.get("baselines_sha256", {})
        used = search.settings.get("baselines_sha256", {})
        if any(recorded.get(name) != sha for name, sha in used.items()):
            raise InputError(f"{source}: made with other baselines than {baselines}")
        search.install_policy(self.checkpoint)
        self._oracle = subgoals == "oracle"
        planner = self._restored(search)
        self._agent = SubgoalAgent(self.checkpoint, planner, search.follower, name=method)

    @property
    def plans(self) -> bool:
        """Whether the method plans; else the policy pursues the goal itself."""
        return self._agent.planner is not None or self._oracle

    def episode(
        self,
        env: gymnasium.Env,
        number: int,
        *,
        on_plan: Callable[[Plan], None] | None = None,
        on_step: Callable[[Decision], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> EpisodeResult:
        """Run episode ``number``, from 0; ``on_plan`` hears the plan before the first step."""
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

    def _restored(self, search: Search) -> Planner | None:
        """The planner with the plans that practice remembers."""
        state = self.past.state
        if state is None:
            return search.planner
        if search.buffers:
            load_buffers(state / BUFFERS, search.buffers)
        if search.planner is None or not self.past.settings.get("reuse_plans"):
            return search.planner
        library = PlanLibrary(self.checkpoint.encoder_id)
        library.load(state / PLANS)
        return PlanLibraryPlanner(search.planner, library, explore=False)
