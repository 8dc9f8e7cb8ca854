# SPDX-License-Identifier: Apache-2.0
"""The agent of LBP and its baselines: told what to do, it plans anew while it acts.

Encoder, text encoder, planner and chunked policy are given; methods differ in the planner. A plan
is not followed: the policy gets all its latents, and the next plan replaces it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import nn

from ptp_core.agents.agent import (
    AgentSeeds,
    Cancelled,
    Decision,
    Goal,
    ImageGoal,
    LanguageGoal,
    LatentGoal,
    Observation,
)
from ptp_core.agents.coded_agent import CodedAgent, compact
from ptp_core.config import to_dict
from ptp_core.data.trajectory import CAMERA, GRIPPER
from ptp_core.errors import GoalError, InputError
from ptp_core.planners.planner import Plan, stop_if
from ptp_core.policies.actors import sampling_settings
from ptp_core.policies.rest_rule import RestRule
from ptp_core.policies.temporal_ensemble import TemporalEnsemble

if TYPE_CHECKING:
    from ptp_core.agents.registry import Method
    from ptp_core.encoders.sentence_goals import SentenceGoals
    from ptp_core.training.checkpoint import Checkpoint


class InstructedPlanner(Protocol):
    """Predicts latents on the way, from the current latent and an instruction or a goal."""

    config: Any
    levels: int  # latents of a plan
    ends_at_goal: bool  # whether the last latent of a plan is the goal

    def subgoals(
        self,
        latents: torch.Tensor,
        language: torch.Tensor | None,
        goals: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Plan latents (B, levels, D) from near to far, for latents (B, D).

        Raises GoalError for goal latents (B, D) where it plans from instructions alone.
        """
        ...


class InstructedAgent(CodedAgent):
    """Acts as an instruction, an image or a latent says. Weights are read at every call.

    ``learned`` is the policy. ``planner`` plans every ``replan`` control steps; without one, the
    policy gets the goal's latent where it takes one, else nothing. ``fixed_goals`` has a goal for
    each known sentence.

    Where the checkpoint has a goal classifier and its ``rest_hold`` is not 0, the arm holds still
    while the work of the goal is done. The goal is the given one, or the one that was
    predicted in this scene. A fixed goal is of another scene and does not count.
    """

    buffers: tuple[()] = ()  # of plans; it keeps none

    def __init__(
        self,
        checkpoint: Checkpoint,
        method: Method,
        *,
        planner: InstructedPlanner | None = None,
        replan: int = 1,
        fixed_goals: SentenceGoals | None = None,
    ) -> None:
        self.vqvae, self.sentences = checkpoint.vqvae, checkpoint.part("sentences")
        self.learned: nn.Module = checkpoint.part(method.learned)
        self.planner, self._replan, self._fixed = planner, replan, fixed_goals
        self._feels = bool(len(self.learned.proprioception_mean))
        self.spec = dataclasses.replace(
            checkpoint.spec,
            agent=method.name,
            goals=method.goals,
            proprioception=checkpoint.spec.proprioception if self._feels else (),
        )
        config = self.learned.config
        self.settings: Mapping[str, Any] = {
            "planner": None if planner is None else to_dict(planner.config),
            "policy": sampling_settings(config),
        }
        judge = checkpoint.goal_classifier if "classifier" in checkpoint.parts else None
        self._rest = RestRule(judge, checkpoint.config.rest_hold)
        self._moving = np.array([name != GRIPPER for name in self.spec.actions])
        self._ensemble = TemporalEnsemble(config.ensemble_decay)
        self._noise, self._draws = torch.Generator(), torch.Generator()
        self._told = False
        self._language: torch.Tensor | None = None  # (1, E)
        self._goal: torch.Tensor | None = None  # latent (1, D), where one is given
        self._subgoals: torch.Tensor | None = None  # (1, levels, D)
        self._plan: Plan | None = None  # new plan that no decision has reported yet
        self._codes_of_plan = np.zeros((0,), np.uint16)  # (levels, N)
        self._since = 0  # control steps since the newest plan

    def reset(
        self,
        observation: Observation,
        goal: Goal,
        seeds: AgentSeeds,
        *,
        subgoals: Sequence[Goal] | None = None,
        cancelled: Cancelled = None,
    ) -> None:
        """Begin an episode. Raises GoalError for subgoals: this agent plans all the time."""
        if subgoals:
            raise GoalError(
                f"{self.spec.agent} plans while it acts and cannot pursue given subgoals: leave "
                "them out"
            )
        self._noise = torch.Generator().manual_seed(seeds.policy)
        self._draws = torch.Generator().manual_seed(seeds.plan)
        codes = self._codes(observation)
        self.pursue(goal)
        if self.planner is not None:
            self._make_plan(self._lookup(codes)[None], cancelled)

    def check_goal(self, goal: Goal) -> None:
        """Raise GoalError and ConfigError as ``pursue`` does, which then has the vector ready."""
        self.spec.check_goal(goal)
        if isinstance(goal, LanguageGoal):
            self.sentences.embed(goal.text)

    def pursue(self, goal: Goal) -> None:
        """Pursue another goal from the next ``act`` on, which plans at once.

        Predictions of actions for the old goal are dropped. Raises GoalError as `AgentSpec`'s
        ``check_goal`` and `SentenceTable.embed` do, and the old goal stays.
        """
        self.spec.check_goal(goal)
        language = target = None
        if isinstance(goal, LanguageGoal):
            language = self.sentences.embed(goal.text)[None]
            if self._fixed is not None:
                row = self.sentences.row(goal.text)
                row = self.sentences.nearest(language[0]) if row is None else row
                target = self._lookup(self._fixed.codes[row])[None]
        elif isinstance(goal, LatentGoal):
            target = self._lookup(self._on_device(goal.latent))[None]
        else:
            assert isinstance(goal, ImageGoal)
            target = self._lookup(self._encode(goal.images[CAMERA]))[None]
        self._told, self._language, self._goal = True, language, target
        self._ensemble.reset()
        self._rest.reset()
        self._subgoals = self._plan = None
        if self.planner is None and target is not None:
            self._subgoals = target[:, None]
            self._codes_of_plan = self._snap(target)

    @torch.inference_mode()
    def act(self, observation: Observation, cancelled: Cancelled = None) -> Decision:
        """Plan, where it is time to, and choose the action for the current observation."""
        self._check_told()
        codes = self._codes(observation)
        latent = self._lookup(codes)[None]
        planned = self.planner is not None
        if planned and (self._subgoals is None or self._since >= self._replan):
            self._make_plan(latent, cancelled)
        own = None
        if self._feels:
            own = torch.from_numpy(observation.proprioception)[None].to(latent.device)
        conditions, attention = self.learned.conditions(
            latent, self._subgoals, self._language, own
        )
        chunk = self.learned.head.sample(conditions, self._noise)[0].cpu().numpy()
        plan, self._plan = self._plan, None
        self._since += 1
        target = distance = None
        if self._subgoals is not None:
            target = self._codes_of_plan[0]
            distance = float(torch.linalg.vector_norm(latent - self._subgoals[:, 0]))
        info = {}
        if attention is not None:
            info = {f"attention_{i}": value for i, value in enumerate(attention[0].tolist())}
        action = self._ensemble.act(chunk)
        if self._rest.step(latent, self._end()):
            action = np.where(self._moving, np.float32(0.0), action)
        return Decision(
            action=action,
            plan=plan,
            latent=compact(codes),
            target=target,
            distance=distance,
            info=info,
        )

    def distance(self, observation: Observation) -> float | None:
        """L2 distance from the observation's latent to the goal's, given or predicted."""
        self._check_told()
        goal = self._goal if self._goal is not None else self._predicted()
        if goal is None:
            return None
        return float(torch.linalg.vector_norm(self._lookup(self._codes(observation)) - goal))

    def encode(self, observation: Observation) -> np.ndarray:
        """Codes, uint16 (N,), of an observation."""
        return compact(self._codes(observation))

    @property
    def goal_latent(self) -> np.ndarray:
        """Codes, uint16 (N,), of the goal, given or predicted. InputError where there is none."""
        self._check_told()
        if self._goal is None and not (self._ends_at_goal and self._subgoals is not None):
            raise InputError(f"{self.spec.agent} knows no latent of the goal {self._what()}")
        return self._codes_of_plan[-1]

    def _predicted(self) -> torch.Tensor | None:
        """The latent (1, D) of the goal as it was predicted; None: it was not."""
        known = self._ends_at_goal and self._subgoals is not None
        return self._subgoals[:, -1] if known else None

    def _end(self) -> torch.Tensor | None:
        """The latent (1, D) at which the arm may rest; None: it is not known."""
        if self._fixed is not None and self._language is not None:
            return None
        if self._goal is not None:
            return self._goal
        predicted = self._predicted()
        return None if predicted is None else self.vqvae.quantise(predicted)[1]

    @property
    def _ends_at_goal(self) -> bool:
        return self.planner is not None and self.planner.ends_at_goal

    def _what(self) -> str:
        return "before it has planned" if self._ends_at_goal else "of an instruction"

    def _check_told(self) -> None:
        if not self._told:
            raise InputError("the agent has no goal yet: call reset before act")

    def _make_plan(self, latent: torch.Tensor, cancelled: Cancelled) -> None:
        stop_if(cancelled)
        began = time.perf_counter()
        found = self.planner.subgoals(latent, self._language, self._goal, self._draws)
        self._subgoals, self._since = found, 0
        self._codes_of_plan = self._snap(found[0])
        self._plan = Plan(
            codes=torch.from_numpy(self._codes_of_plan.astype(np.int64)),
            latents=found[0].cpu(),
            cost=0.0,
            costs={},
            seconds=time.perf_counter() - began,
        )

    @torch.no_grad()
    def _snap(self, latents: torch.Tensor) -> np.ndarray:
        """Nearest codes, uint16 (K, N), of latents (K, D), by which others see a plan."""
        return compact(self.vqvae.quantise(latents)[0])
