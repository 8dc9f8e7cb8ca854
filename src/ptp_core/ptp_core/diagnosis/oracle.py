# SPDX-License-Identifier: Apache-2.0
"""Is success lost by the planner or by the policy? Oracle subgoals beside the agent's own plans.

Oracle subgoals are privileged: images of the ends of the stages of the environment's scripted
plan, in the very scene of the episode. What fails with them, the policy has lost; what fails only
without them, the planner has lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np

from ptp_core.agents.agent import Agent
from ptp_core.data.env_spec import reset_options
from ptp_core.errors import InputError
from ptp_core.rollout.episode_results import EpisodeResult, episode_seeds, summarise
from ptp_core.rollout.run_episode import STAGE_IMAGES, run_episode

PARTS = "parts"  # optional entry of info: {part of the goal: whether it holds now}
ORACLE, PLANNED = "oracle", "planned"


def oracle_success(
    env: gymnasium.Env,
    agent: Agent,
    tasks: Sequence[str],
    *,
    protocol: str,
    episodes: int,
    seed: int,
    max_steps: int,
) -> Iterator[dict[str, dict[str, Any]]]:
    """Yield the figures so far after each episode: {task: {"oracle": row, "planned": row}}.

    Each scene is played twice with the same seeds, with oracle subgoals and with the agent's own
    plans; an agent without a planner pursues the goal itself. A row is what `summarise` gives, and
    "parts": the share of episodes at whose end each part of the goal holds; None where the
    environment tells none. Raises InputError before the first episode where the environment has
    no stage images.
    """
    check_stage_images(env, reset_options(tasks[0], protocol))
    told = _GoalParts(env)
    figures: dict[str, dict[str, Any]] = {}
    for task in tasks:
        rows: dict[str, list[tuple[int, int, EpisodeResult]]] = {ORACLE: [], PLANNED: []}
        parts: dict[str, list[dict[str, bool]]] = {ORACLE: [], PLANNED: []}
        for episode in range(episodes):
            seeds = episode_seeds(seed, task, episode)
            for kind in (ORACLE, PLANNED):
                result = run_episode(
                    told,
                    agent,
                    options=reset_options(task, protocol),
                    seeds=seeds,
                    max_steps=max_steps,
                    oracle=kind == ORACLE,
                )
                rows[kind].append((episode, seeds.env, result))
                parts[kind].append(told.parts)
                row = {**summarise(rows[kind]), "parts": _shares(parts[kind])}
                figures.setdefault(task, {})[kind] = row
                yield figures


def check_stage_images(env: gymnasium.Env, options: dict[str, Any]) -> None:
    """Raise InputError where ``env`` gives no stage images when it is reset with ``options``."""
    name = type(env.unwrapped).__name__
    lacks = f"{name} gives no images of its stages, so there are no oracle subgoals"
    try:
        _, info = env.reset(seed=0, options={**options, STAGE_IMAGES: True})
    except ValueError as error:
        raise InputError(f"{lacks} ({error})") from error
    if STAGE_IMAGES not in info:
        raise InputError(f'{lacks}: info has no "{STAGE_IMAGES}"')


class _GoalParts(gymnasium.Wrapper):
    """Remembers which parts of the goal hold now, as the environment tells."""

    parts: dict[str, bool]

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(**options)
        self.parts = dict(info.get(PARTS, {}))
        return observation, info

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.parts = dict(info.get(PARTS, {}))
        return observation, reward, terminated, truncated, info


def _shares(episodes: Sequence[dict[str, bool]]) -> dict[str, float] | None:
    if not all(episodes):
        return None
    return {name: float(np.mean([parts[name] for parts in episodes])) for name in episodes[0]}
