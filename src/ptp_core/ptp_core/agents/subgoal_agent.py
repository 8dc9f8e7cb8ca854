# SPDX-License-Identifier: Apache-2.0
"""The agent of PTP and its baselines: a policy pursues planned subgoals, then the goal.

Encoder, planner and goal-conditioned policy are given. Methods differ in the planner and in when
it plans. Without a planner the policy pursues the goal itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn

from ptp_core.agents.agent import (
    AgentSeeds,
    AgentSpec,
    CameraSpec,
    Cancelled,
    Decision,
    Goal,
    ImageGoal,
    LatentGoal,
    LatentSpec,
    Observation,
)
from ptp_core.agents.coded_agent import CodedAgent, compact
from ptp_core.config import FollowerConfig, to_dict
from ptp_core.data.trajectory import CAMERA, CARTESIAN
from ptp_core.errors import ConfigError, InputError
from ptp_core.planners.plan_buffer import PlanBuffer
from ptp_core.planners.plan_library import PlanLibraryPlanner
from ptp_core.planners.planner import Plan, Planner
from ptp_core.policies.actors import actor_of, sampling_settings
from ptp_core.policies.chunked_policy import ChunkedPolicy
from ptp_core.policies.subgoal_follower import (
    FollowerState,
    SubgoalFollower,
    latent_distance,
    work_left,
)

if TYPE_CHECKING:
    from ptp_core.agents.registry import AgentOptions, Method
    from ptp_core.encoders.vqvae import VQVAE
    from ptp_core.learning.goal_classifier import GoalClassifier
    from ptp_core.practice.policy_library import FineTunedPolicies
    from ptp_core.training.checkpoint import Checkpoint

WORK_DONE = 0.5
"""Probability of work that is left below which a classifier calls a goal reached."""
Replan = Literal["once", "on_reach"] | int
"""When plans are made: once, also each time the pursuit moves on, or every so many steps."""


def subgoal_spec(
    agent: str,
    vqvae: VQVAE,
    actions: Sequence[str] = CARTESIAN,
    encoder_id: str = "",
    proprioception: Sequence[str] = (),
) -> AgentSpec:
    """The spec of a `SubgoalAgent` of this name and encoder.

    ``actions``, ``proprioception``: names of their dimensions. Policies on latents alone leave
    proprioception out of their own spec.
    """
    size = vqvae.config.image_size
    return AgentSpec(
        agent=agent,
        cameras=(CameraSpec(CAMERA, size, size),),
        actions=tuple(actions),
        goals=("image", "latent"),
        proprioception=tuple(proprioception),
        latent=LatentSpec("indices", (vqvae.latent.codes,), encoder_id, len(vqvae.codebook)),
    )


def subgoal_agent(
    method: Method,
    checkpoint: Checkpoint,
    options: AgentOptions,
    planner: Planner | None = None,
    config: Any = None,
    settings: Mapping[str, Any] | None = None,
    *,
    buffers: Sequence[PlanBuffer] = (),
) -> SubgoalAgent:
    """Build a method's agent around its planner, as the options say.

    ``config``: the planner's dataclass. ``settings``: what plans depend on beside it.
    ``buffers``: the planner's plan buffers. The policy is the part that the method learns.
    """
    from ptp_core.practice.policy_library import FineTunedPlanner

    follower = options.follower or method.follower(checkpoint.config)
    if planner is not None and options.library is not None:
        planner = PlanLibraryPlanner(planner, options.library, explore=options.explore)
    if planner is not None and options.policies is not None:
        planner = FineTunedPlanner(planner, options.policies)
    agent = SubgoalAgent(
        checkpoint,
        planner,
        follower,
        name=method.name,
        policy=checkpoint.part(method.learned),
        policies=options.policies,
        remember=options.remember,
        classifier=checkpoint.part("classifier") if "classifier" in method.parts else None,
        strict=checkpoint.goal_classifier if "classifier" in method.parts else None,
    )
    agent.settings = {
        "planner": None if config is None else to_dict(config),
        **(settings or {}),
        **agent.settings,
    }
    agent.buffers = list(buffers)
    return agent


class SubgoalAgent(CodedAgent):
    """Follows a plan with a policy. Weights are read at every call.

    Observations and goals are images, or code indices that another process encoded. Both give
    bit-identical decisions. ``follower`` defaults to the checkpoint's settings;
    ``replan`` to the follower's.
    ``policy``: with ``act`` as `IQL` has it, which is the default.
    ``policies``: fine-tuned ones, in place of the checkpoint's for the goals that they practised.
    ``remember`` lets the planner's later plans start from those of this agent, where it can.
    ``classifier`` says when a target is reached; None: the L2 distance of latents does.
    ``strict`` says when the goal of a plan whose end was reached is far; None: ``classifier``.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        planner: Planner | None = None,
        follower: FollowerConfig | None = None,
        *,
        name: str = "ptp",
        policy: nn.Module | None = None,
        replan: Replan | None = None,
        policies: FineTunedPolicies | None = None,
        remember: bool = False,
        classifier: GoalClassifier | None = None,
        strict: GoalClassifier | None = None,
    ) -> None:
        if replan is None:
            replan = (follower or checkpoint.config.follower).replan
        if isinstance(replan, int) and replan < 1:
            raise ConfigError(f"replan is {replan}; it must be once, on_reach, or 1 step or more")
        self.config = follower = follower or checkpoint.config.follower
        self.vqvae = checkpoint.vqvae
        self.learned = checkpoint.iql if policy is None else policy
        self.planner = planner
        self.buffers: list[PlanBuffer] = []  # of the planner, one a level
        self.settings: dict[str, Any] = {"follower": to_dict(follower)}
        if isinstance(self.learned, ChunkedPolicy):
            self.settings["policy"] = sampling_settings(self.learned.config)
        self._actor = actor_of(self.learned, self.config.sample_actions)
        own = checkpoint.spec.proprioception if self._actor.proprioceptive else ()
        self.spec = dataclasses.replace(checkpoint.spec, agent=name, proprioception=own)
        if classifier is None:
            self._measure = latent_distance
            self._near = checkpoint.config.iql.reward_epsilon
        else:
            self._measure, self._near = work_left(classifier), WORK_DONE
            self.config = dataclasses.replace(self.config, distance_threshold=WORK_DONE)
        self._replan = replan
        self._moving = np.array([name != "gripper" for name in self.spec.actions])
        self._policies = policies
        self._remember = remember
        strictly = None if strict is None else work_left(strict)
        self._follower = SubgoalFollower(self.config, self._measure, strictly)
        self._draws = torch.Generator()  # seeds the planner's search
        self._goal: torch.Tensor | None = None  # codes (N,)
        self._targets = np.zeros((0,), np.uint16)  # codes (K + 1, N): the plan, then the goal
        self._plan: Plan | None = None  # new plan that no decision has reported yet
        self._pursued: Plan | None = None  # newest plan of this episode
        self._given_up: tuple[torch.Tensor, ...] = ()  # see `Plan`
        self._since = 0  # steps since the newest plan

    def reset(
        self,
        observation: Observation,
        goal: Goal,
        seeds: AgentSeeds,
        *,
        subgoals: Sequence[Goal] | None = None,
        cancelled: Cancelled = None,
    ) -> None:
        """Begin an episode with a plan from ``observation``, where there is a planner.

        ``subgoals``: images or codes in place of a plan; an empty sequence pursues the goal.
        """
        self._goal = self._goal_codes(goal)
        target = self._lookup(self._goal)
        if self._policies is not None:
            self._policies.use_for(target)
        self._actor.reset(seeds.policy)
        self._draws = torch.Generator().manual_seed(seeds.plan)
        self._plan = self._pursued = None
        self._given_up = ()
        if subgoals:
            codes = torch.stack([self._goal_codes(subgoal) for subgoal in subgoals])
            latents = self._lookup(codes).cpu()
            self._plan = Plan(codes.cpu(), latents, cost=0.0, costs={}, seconds=0.0)
            self._pursue(codes, target)
        elif self.planner is None or subgoals is not None:
            self._pursue(None, target)
        else:
            self._make_plan(self._codes(observation), cancelled)

    def act(self, observation: Observation, cancelled: Cancelled = None) -> Decision:
        """Choose the action for the current observation."""
        if self._goal is None:
            raise InputError("the agent has no goal yet: call reset before act")
        codes = self._codes(observation)
        if self._since == self._replan and self.planner is not None:
            self._make_plan(codes, cancelled)
        latent = self._lookup(codes)
        state = self._follower.step(latent)
        action = self._actor.act(latent, state.goal, observation.proprioception)
        if self.config.rest and state.arrived:
            action = np.where(self._moving, np.float32(0.0), action)
        plan, self._plan = self._plan, None
        decision = Decision(
            action=action,
            plan=plan,
            latent=compact(codes),
            target=self._targets[state.index],
            subgoal_index=state.index,
            distance=state.distance,
            reward=float(state.distance < self._near) - 1.0,
            switched=state.switched,
            timed_out=state.timed_out,
        )
        self._since += 1
        if state.outdated and self._replan == "on_reach" and self.planner is not None:
            if self._pursued is not None:
                self._note_failure(state)
            self._make_plan(codes, cancelled)
        return decision

    def distance(self, observation: Observation) -> float:
        """Distance from the observation's latent to the goal's, as the follower measures it."""
        if self._goal is None:
            raise InputError("the agent has no goal yet: call reset first")
        last, goal = self._lookup(torch.stack([self._codes(observation), self._goal]))
        return self._measure(last, goal)

    def encode(self, observation: Observation) -> np.ndarray:
        """Codes, uint16 (N,), of an observation."""
        return compact(self._codes(observation))

    @property
    def goal_latent(self) -> np.ndarray:
        """Codes, uint16 (N,), of the goal of this episode."""
        if self._goal is None:
            raise InputError("the agent has no goal yet: call reset first")
        return compact(self._goal)

    def _make_plan(self, codes: torch.Tensor, cancelled: Cancelled) -> None:
        start, goal = self._lookup(torch.stack([codes, self._goal]))
        self._plan = self._pursued = self.planner.plan(
            start,
            goal,
            self._draws,
            cancelled=cancelled,
            remember=self._remember,
            earlier=self._pursued,
        )
        self._pursue(self._plan.codes, goal)

    def _note_failure(self, state: FollowerState) -> None:
        """Tell the plan whether its first subgoal or the goal was given up, or its end doubted."""
        plan, given_up = self._pursued, self._given_up
        if state.timed_out or state.missed:
            given_up = (*given_up, plan.latents[0])
        self._given_up = given_up
        self._pursued = dataclasses.replace(
            plan, missed=state.missed, doubted=state.doubted, given_up=given_up
        )

    def _pursue(self, plan: torch.Tensor | None, goal: torch.Tensor) -> None:
        """Follow the plan, codes (K, N), then ``goal``, a latent (D,)."""
        self._follower.reset(None if plan is None else self._lookup(plan), goal)
        ends = [self._goal[None].cpu()] if plan is None else [plan.cpu(), self._goal[None].cpu()]
        self._targets = compact(torch.cat(ends))
        self._since = 0

    def _goal_codes(self, goal: Goal) -> torch.Tensor:
        self.spec.check_goal(goal)
        if isinstance(goal, LatentGoal):
            return self._on_device(goal.latent)
        assert isinstance(goal, ImageGoal)  # the spec allows no other kinds
        return self._encode(goal.images[CAMERA])
