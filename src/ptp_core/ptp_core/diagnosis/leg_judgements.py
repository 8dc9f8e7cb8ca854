# SPDX-License-Identifier: Apache-2.0
"""Why are plans of legs wrong? Their networks on true legs, and the true plan's cost beside.

A true leg leads from one stage of the environment's scripted plan to the next; its images are
privileged. The generator draws the end of each from its start, with the latent action that its
encoder infers. The classifiers judge the drawn end and the true one. Where the plan of true legs
costs less than the one that was found, the search has missed it; else the judges prefer another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from torch.nn import functional

from ptp_core.agents.agent import Agent
from ptp_core.agents.subgoal_agent import SubgoalAgent
from ptp_core.data.env_spec import reset_options
from ptp_core.data.expert_rollout import read_observation
from ptp_core.data.trajectory import CAMERA
from ptp_core.diagnosis.oracle import check_stage_images
from ptp_core.errors import ConfigError
from ptp_core.planners.leg_planner import LegPlanner
from ptp_core.rollout.episode_results import episode_seeds
from ptp_core.rollout.run_episode import STAGE_IMAGES

Row = dict[str, float]

MEANS = (
    *("known", "told_apart", "single_true", "single_drawn"),
    *("true_legs", "legs", "first", "all", "missed"),
)


def planner_of_legs(agent: Agent) -> LegPlanner:
    """The planner of an agent that plans legs. Raises ConfigError for others."""
    planner = getattr(agent, "planner", None)
    if not isinstance(agent, SubgoalAgent) or not isinstance(planner, LegPlanner):
        raise ConfigError(f"{agent.spec.agent} plans no legs")
    return planner


@torch.inference_mode()
def leg_judgements(
    env: gymnasium.Env,
    agent: Agent,
    tasks: Sequence[str],
    *,
    protocol: str,
    episodes: int,
    seed: int,
) -> Iterator[dict[str, dict[str, Any]]]:
    """Yield the figures so far after each scene: {task: {"legs": rows, "plans": row}}.

    A row of "legs" is that of one true leg, over scenes:

        "error", "copied": median SmoothL1 of the drawn end, and of the start in its place
        "known": share of scenes whose drawn end has its work done, as the goal classifier sees it
        "told_apart": share of those in which it is not done at the start
        "single_true", "single_drawn": share in which one demonstration does the leg, to the true
            end and to the drawn one; left out without such a classifier
        "work_left", "logit_true", "logit_drawn": medians of what these shares are of; nats and
            logits

    The row "plans" is that of whole plans; both kinds of rows have the number of "scenes":

        "true_legs", "legs": mean number of legs of the scripted plan and of the plan found
        "first", "all": share of plans whose first leg, or every leg, does the work of the true one
        "cost", "true_cost": median cost of the plan found, and of the true legs, drawn
        "missed": share of scenes in which the true legs cost less than the plan found

    Raises ConfigError for an agent that plans no legs, InputError where the environment has no
    stage images.
    """
    planner = planner_of_legs(agent)
    check_stage_images(env, reset_options(tasks[0], protocol))
    figures: dict[str, dict[str, Any]] = {}
    for task in tasks:
        legs: dict[int, list[Row]] = {}  # by their number
        plans: list[Row] = []
        for episode in range(episodes):
            seeds = episode_seeds(seed, task, episode)
            states = _states(env, planner, seeds.env, reset_options(task, protocol))
            z = planner.generator.encode(states[:-1], states[1:])[0]
            for number, row in enumerate(_judge(planner, states, z)):
                legs.setdefault(number, []).append(row)
            plans.append(_compare(planner, states, z, seeds.plan))
            figures[task] = {
                "legs": [_pooled(rows) for rows in legs.values()],
                "plans": _pooled(plans),
            }
            yield figures


def _states(
    env: gymnasium.Env, planner: LegPlanner, seed: int, options: dict[str, Any]
) -> torch.Tensor:
    """Latents (K + 1, D) of the start, the ends of stages before the last, and the goal."""
    observation, info = env.reset(seed=seed, options={**options, STAGE_IMAGES: True})
    name = type(env.unwrapped).__name__
    start = read_observation(observation, info, name)[0][CAMERA]
    goal = info["goal_image"]
    goal = goal[CAMERA] if isinstance(goal, dict) else goal
    images = torch.from_numpy(np.stack([start, *info[STAGE_IMAGES], goal]))
    codes = planner.vqvae.encode(images.to(planner.vqvae.codebook.device))
    return planner.vqvae.lookup(codes)


def _judge(planner: LegPlanner, states: torch.Tensor, z: torch.Tensor) -> list[Row]:
    start, end = states[:-1], states[1:]
    drawn = planner.vqvae.quantise(planner.generator(z, start))[1]
    measured = {
        "error": functional.smooth_l1_loss(drawn, end, reduction="none").mean(1),
        "copied": functional.smooth_l1_loss(start, end, reduction="none").mean(1),
        "known": (planner.classifier(drawn, end) > 0).float(),
        "told_apart": (planner.classifier(start, end) < 0).float(),
        "work_left": planner.classifier.work_left(drawn, end),
    }
    if planner.single is not None:
        for name, other in (("true", end), ("drawn", drawn)):
            logits = planner.single(start, other)
            measured |= {f"single_{name}": (logits > 0).float(), f"logit_{name}": logits}
    return [{name: float(v[i]) for name, v in measured.items()} for i in range(len(z))]


def _compare(planner: LegPlanner, states: torch.Tensor, z: torch.Tensor, seed: int) -> Row:
    start, goal = states[0], states[-1]
    plan = planner.plan(start, goal, torch.Generator().manual_seed(seed))
    latents = plan.latents.to(states)
    shared = min(len(latents), len(z))
    right = planner.classifier(latents[:shared], states[1 : shared + 1]) > 0
    true_cost = planner.cost_of(start, goal, z)
    return {
        "true_legs": float(len(z)),
        "legs": float(len(latents)),
        "first": float(right[0]),
        "all": float(len(latents) == len(z) and bool(right.all())),
        "cost": plan.cost,
        "true_cost": true_cost,
        "missed": float(true_cost < plan.cost),
    }


def _pooled(rows: Sequence[Row]) -> dict[str, float | int]:
    """Means of shares and of numbers of legs, medians of the rest, and the number of scenes."""
    found: dict[str, float | int] = {"scenes": len(rows)}
    for name in rows[0]:
        pool = np.mean if name in MEANS else np.median
        found[name] = float(pool([row[name] for row in rows]))
    return found
