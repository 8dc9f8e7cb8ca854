# SPDX-License-Identifier: Apache-2.0
"""One episode in process: reset, plan, follow the plan, judge the last observation."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch

from ptp_core.data.env_check import check_shown
from ptp_core.errors import InputError, PlanCancelled
from ptp_core.planners.base import Plan, Planner
from ptp_core.planners.subgoal_controls import oracle_plan
from ptp_core.practice.controller import ActResult, Controller
from ptp_core.practice.online_learner import PracticeEpisode
from ptp_core.practice.result import COST_TERMS, MAX_STEPS, EpisodeResult, is_idle
from ptp_core.practice.seeds import EpisodeSeeds

if TYPE_CHECKING:
    from ptp_core.models.vqvae import VQVAE


STAGE_IMAGES = "stage_images"  # reset option, and the entry of info with the pictures


class Trace:
    """What the learner needs of an episode, filled in while it runs."""

    def __init__(self) -> None:
        self._codes: list[np.ndarray] = []
        self._actions: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []
        self._pursued = np.zeros((0, 0), np.uint16)
        self.plan: Plan | None = None
        self.goal: torch.Tensor | None = None  # codes (144,)

    def begin(self, plan: Plan | None, goal: torch.Tensor) -> None:
        """Note the plan, if there is one, and the goal: codes (144,)."""
        self.plan, self.goal = plan, goal.cpu()
        ends = [goal[None]] if plan is None else [plan.codes, goal[None].cpu()]
        self._pursued = torch.cat(ends).cpu().numpy().astype(np.uint16)

    def step(self, codes: torch.Tensor, decision: ActResult) -> None:
        """Note one decision at codes (144,)."""
        self._codes.append(codes.cpu().numpy().astype(np.uint16))
        self._actions.append(decision.action)
        self._targets.append(self._pursued[decision.subgoal_index])

    def end(self, codes: torch.Tensor) -> None:
        """Note the last observation, codes (144,)."""
        self._codes.append(codes.cpu().numpy().astype(np.uint16))

    def episode(self) -> PracticeEpisode:
        """The whole episode."""
        parts = self._codes, self._actions, self._targets
        return PracticeEpisode(*(np.stack(part) for part in parts))


def run_episode(
    env: gymnasium.Env,
    vqvae: VQVAE,
    controller: Controller,
    planner: Planner | None,
    *,
    options: dict[str, Any],
    seeds: EpisodeSeeds,
    max_steps: int = MAX_STEPS,
    remember: bool = False,
    oracle: bool = False,
    on_plan: Callable[[Plan], None] | None = None,
    on_step: Callable[[torch.Tensor, ActResult], None] | None = None,
    trace: Trace | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> EpisodeResult:
    """Run one episode of at most ``max_steps``; ``planner`` None pursues the goal directly.

    ``options`` goes to ``env.reset`` (task, protocol). ``remember`` lets the planner's later
    plans start from this one. ``oracle`` takes the subgoals from the environment, which is asked
    for pictures of what the stages of its scripted plan end with, uint8 (K - 1, 48, 48, 3) as
    info["stage_images"]; the goal is the last subgoal, and ``planner`` is not used.
    ``on_plan`` hears the plan before the first step, ``on_step`` codes (144,) and decision of
    every step; ``trace`` keeps what can be learned from.
    ``cancelled`` is asked every step and planner round; PlanCancelled is raised when true.
    """
    if oracle:
        options = {**options, STAGE_IMAGES: True}
    try:
        image, info = env.reset(seed=seeds.env, options=options)
    except ValueError as error:
        raise InputError(f"the environment cannot be reset with {options}: {error}") from error
    name = type(env.unwrapped).__name__
    check_shown(image, "the first observation", name)
    goal = _encode(vqvae, check_shown(_entry(info, "goal_image", env), "the goal image", name))
    plan = None
    if oracle:
        plan = oracle_plan(vqvae, _entry(info, STAGE_IMAGES, env), goal)
    elif planner is not None:
        latents = vqvae.lookup(torch.stack([_encode(vqvae, image), goal]))
        rng = torch.Generator().manual_seed(seeds.plan)
        plan = planner.plan(*latents, rng, cancelled=cancelled, remember=remember)
    if on_plan is not None and plan is not None:
        on_plan(plan)
    controller.start(plan, goal, seeds.policy)
    if trace is not None:
        trace.begin(plan, goal)

    latencies: list[float] = []
    idle: list[bool] = []
    first_success, switches, timed_out, done = None, 0, 0, False
    began = time.perf_counter()
    while len(latencies) < max_steps and not done:
        if cancelled is not None and cancelled():
            raise PlanCancelled("the episode was cancelled")
        seen = time.perf_counter()
        codes = _encode(vqvae, image)
        decision = controller.act(codes)
        latencies.append(time.perf_counter() - seen)
        if on_step is not None:
            on_step(codes, decision)
        if trace is not None:
            trace.step(codes, decision)
        switches += decision.switched
        timed_out += decision.timed_out
        idle.append(is_idle(decision.action))
        image, _, terminated, truncated, info = env.step(decision.action)
        done = terminated or truncated
        if first_success is None and _entry(info, "success", env):
            first_success = len(latencies)
    seconds = time.perf_counter() - began
    end = _encode(vqvae, image)
    if trace is not None:
        trace.end(end)
    last, target = vqvae.lookup(torch.stack([end, goal])).detach()
    searched = plan is not None and not oracle
    return EpisodeResult(
        success=bool(info["success"]),
        steps=len(latencies),
        first_success=first_success,
        plan_seconds=plan.seconds if searched else None,
        plan_cost=plan.cost if searched else None,
        plan_costs=_terms(plan) if searched else None,
        subgoals_reached=switches - timed_out,
        subgoals_timed_out=timed_out,
        idle_fraction=float(np.mean(idle[:first_success])) if idle else None,
        final_distance=float(torch.linalg.vector_norm(last - target)),
        seconds=seconds,
        latencies=np.array(latencies),
    )


@torch.no_grad()
def _encode(vqvae: VQVAE, image: np.ndarray) -> torch.Tensor:
    """Codes (144,) of an image, uint8 (48, 48, 3)."""
    batch = torch.from_numpy(np.ascontiguousarray(image))[None]
    return vqvae.encode(batch.to(vqvae.codebook.device))[0]


def _terms(plan: Plan) -> dict[str, float] | None:
    """Its cost by term; None for a plan of the library, which knows the sum alone."""
    known = all(name in plan.costs for name in COST_TERMS)
    return {name: plan.costs[name] for name in COST_TERMS} if known else None


def _entry(info: dict[str, Any], key: str, env: gymnasium.Env) -> Any:
    if key not in info:
        raise InputError(f'{type(env.unwrapped).__name__}: info has no "{key}"; see the toy_env')
    return info[key]
