# SPDX-License-Identifier: Apache-2.0
"""One rollout: reset the environment, let the agent act, check success at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from ptp_core.agents.agent import (
    Agent,
    AgentSeeds,
    AgentSpec,
    Decision,
    Goal,
    ImageGoal,
    LanguageGoal,
    LatentAgent,
    Observation,
    StateGoal,
)
from ptp_core.data.env_check import check_not_black
from ptp_core.data.env_spec import spec_of
from ptp_core.data.expert_rollout import read_observation
from ptp_core.data.trajectory import CAMERA, PracticeEpisode
from ptp_core.errors import GoalError, InputError, PlanCancelled
from ptp_core.planners.planner import Plan
from ptp_core.rollout.episode_results import (
    COST_TERMS,
    MAX_STEPS,
    EpisodeResult,
    EpisodeSeeds,
    is_idle,
)

STAGE_IMAGES = "stage_images"  # name of the reset option and of the entry of info


class Trace:
    """Records an episode for the learner, step by step; for agents with latents."""

    def __init__(self) -> None:
        self._latents: list[np.ndarray] = []
        self._actions: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []
        self._proprioception: list[np.ndarray] = []
        self._feels = False
        self.plan: Plan | None = None  # the first plan
        self.goal: np.ndarray | None = None  # latent
        self.instruction: str | None = None

    def begin(self, agent: LatentAgent, goal: Goal) -> None:
        """Note the goal, and whether the agent uses proprioception."""
        self.goal = agent.goal_latent
        self.instruction = goal.text if isinstance(goal, LanguageGoal) else None
        self._feels = bool(agent.spec.proprioception)

    def step(self, observation: Observation, decision: Decision) -> None:
        """Note one decision and the observation that it answers."""
        self._feel(observation)
        if self.plan is None:
            self.plan = decision.plan
        self._latents.append(decision.latent)
        self._actions.append(decision.action)
        self._targets.append(decision.target)

    def end(self, observation: Observation, latent: np.ndarray) -> None:
        """Note the last observation."""
        self._feel(observation)
        self._latents.append(latent)

    def _feel(self, observation: Observation) -> None:
        if self._feels:
            self._proprioception.append(observation.proprioception)

    def episode(self) -> PracticeEpisode:
        """The whole episode."""
        parts = self._latents, self._actions, self._targets
        own = np.stack(self._proprioception) if self._feels else None
        return PracticeEpisode(*(np.stack(part) for part in parts), own, self.instruction)


def run_episode(
    env: gymnasium.Env,
    agent: Agent,
    *,
    options: dict[str, Any],
    seeds: EpisodeSeeds,
    max_steps: int = MAX_STEPS,
    oracle: bool = False,
    instruction: str | None = None,
    on_plan: Callable[[Plan], None] | None = None,
    on_step: Callable[[Decision], None] | None = None,
    trace: Trace | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> EpisodeResult:
    """Run one episode of at most ``max_steps``.

    ``options`` are passed to ``env.reset`` (task, protocol). ``oracle`` takes subgoals from the
    environment, as images of the ends of its scripted stages, uint8 (K - 1, H, W, 3) in
    info["stage_images"]; the goal is the last subgoal. ``instruction``: what the agent is told
    instead of the environment's own goal. ``on_plan`` is called with each new plan, then
    ``on_step`` with the decision of that step. ``trace`` records the episode for learning.
    ``cancelled`` is called every step and planner round; PlanCancelled is raised when true.
    Raises SpecError where environment and agent do not fit, InputError for an environment that
    breaks its contract.
    """
    observation, goal, info = _begin(env, agent, options, seeds, oracle, instruction, cancelled)
    if trace is not None:
        trace.begin(agent, goal)

    moving = [name != "gripper" for name in agent.spec.actions]
    plans: list[Plan] = []
    latencies: list[float] = []
    idle: list[bool] = []
    first_success, switches, timed_out, done = None, 0, 0, False
    began = time.perf_counter()
    while len(latencies) < max_steps and not done:
        if cancelled is not None and cancelled():
            raise PlanCancelled("the episode was cancelled")
        seen = time.perf_counter()
        decision = agent.act(observation, cancelled)
        latencies.append(time.perf_counter() - seen)
        agent.spec.check_action(decision.action)
        if decision.plan is not None:
            plans.append(decision.plan)
            if on_plan is not None:
                on_plan(decision.plan)
        if on_step is not None:
            on_step(decision)
        if trace is not None:
            trace.step(observation, decision)
        switches += decision.switched
        timed_out += decision.timed_out
        idle.append(is_idle(decision.action[moving]))
        raw, _, terminated, truncated, info = env.step(decision.action)
        observation = _observation(env, raw, info, len(latencies))
        done = terminated or truncated
        if first_success is None and _entry(info, "success", env):
            first_success = len(latencies)
    seconds = time.perf_counter() - began
    if trace is not None:
        trace.end(observation, agent.encode(observation))
    searched = bool(plans) and not oracle
    return EpisodeResult(
        success=bool(info["success"]),
        steps=len(latencies),
        first_success=first_success,
        plan_seconds=sum(plan.seconds for plan in plans) if searched else None,
        plan_cost=plans[0].cost if searched else None,
        plan_costs=_terms(plans[0]) if searched else None,
        subgoals_reached=switches - timed_out,
        subgoals_timed_out=timed_out,
        idle_fraction=float(np.mean(idle[:first_success])) if idle else None,
        final_distance=agent.distance(observation),
        seconds=seconds,
        latencies=np.array(latencies),
        instruction=goal.text if isinstance(goal, LanguageGoal) else None,
        stages_reached=info.get("stages_reached"),
        stages=info.get("stages"),
    )


def _begin(
    env: gymnasium.Env,
    agent: Agent,
    options: dict[str, Any],
    seeds: EpisodeSeeds,
    oracle: bool,
    instruction: str | None,
    cancelled: Callable[[], bool] | None,
) -> tuple[Observation, Goal, dict[str, Any]]:
    """Reset environment and agent; return the first observation, the goal and ``info``."""
    if oracle:
        options = {**options, STAGE_IMAGES: True}
    spec_of(env, type(env.unwrapped).__name__).check_agent(agent.spec)
    try:
        raw, info = env.reset(seed=seeds.env, options=options)
    except ValueError as error:
        raise InputError(f"the environment cannot be reset with {options}: {error}") from error
    name = type(env.unwrapped).__name__
    if not isinstance(raw, dict):
        check_not_black(raw, "the first observation", name)
    goal = _goal(env, agent.spec, info) if instruction is None else LanguageGoal(instruction)
    subgoals = None
    if oracle:
        images = _entry(info, STAGE_IMAGES, env)
        subgoals = [*(ImageGoal({CAMERA: image}) for image in images), goal]
    observation = _observation(env, raw, info, 0)
    agent.reset(
        observation,
        goal,
        AgentSeeds(seeds.plan, seeds.policy),
        subgoals=subgoals,
        cancelled=cancelled,
    )
    return observation, goal, info


def _observation(env: gymnasium.Env, raw: Any, info: dict[str, Any], step: int) -> Observation:
    images, proprioception = read_observation(raw, info, type(env.unwrapped).__name__)
    return Observation(images, proprioception, seq=step)


def _goal(env: gymnasium.Env, spec: AgentSpec, info: dict[str, Any]) -> Goal:
    """The goal of the episode: the first kind that agent and environment both have."""
    for kind in spec.goals:
        if kind == "image" and (image := info.get("goal_image")) is not None:
            images = image if isinstance(image, dict) else {CAMERA: image}
            for shown in images.values():
                check_not_black(shown, "the goal image", type(env.unwrapped).__name__)
            return ImageGoal(images)
        if kind == "language" and info.get("instruction"):
            return LanguageGoal(info["instruction"])
        if kind == "state" and (state := info.get("goal_state")) is not None:
            return StateGoal(np.asarray(state, np.float32))
    asked = {"image": "goal_image", "language": "instruction", "state": "goal_state"}
    names = " or ".join(f'"{asked[kind]}"' for kind in spec.goals if kind in asked)
    raise GoalError(
        f"{type(env.unwrapped).__name__}: info has no {names}, which {spec.agent} needs for its "
        "goal; see the toy_env"
    )


def _terms(plan: Plan) -> dict[str, float] | None:
    """The plan's cost by term; None for a plan of the library, which stores only the sum."""
    known = all(name in plan.costs for name in COST_TERMS)
    return {name: plan.costs[name] for name in COST_TERMS} if known else None


def _entry(info: dict[str, Any], key: str, env: gymnasium.Env) -> Any:
    if key not in info:
        raise InputError(f'{type(env.unwrapped).__name__}: info has no "{key}"; see the toy_env')
    return info[key]
