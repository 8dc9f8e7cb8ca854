# SPDX-License-Identifier: Apache-2.0
"""Which skill is weak? Each primitive alone, with the image that its expert leaves as the goal.

The expert's image is privileged: it comes from the very scene that the agent then starts in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from ptp_core.agents.agent import Agent
from ptp_core.data.env_spec import reset_options
from ptp_core.data.expert_rollout import read_observation
from ptp_core.errors import InputError
from ptp_core.rollout.episode_results import MAX_STEPS, EpisodeResult, episode_seeds, summarise
from ptp_core.rollout.run_episode import STAGE_IMAGES, run_episode

RETREAT = 45  # control steps that the expert goes on after its work, as demonstrations end
PURSUIT = 150  # control steps that the agent has


def primitive_success(
    env: gymnasium.Env,
    agent: Agent,
    primitives: Sequence[str],
    *,
    protocol: str,
    episodes: int,
    seed: int,
    pursuit: int = PURSUIT,
) -> Iterator[dict[str, dict[str, Any]]]:
    """Yield the figures so far after each scene: {primitive: row}.

    Scenes are those of demonstrations. The agent pursues the goal without subgoals for ``pursuit``
    steps. A row is what `summarise` gives, and "expert_failed": scenes that the expert did not
    solve and that the agent therefore did not play; where none was solved, a row has only the
    counts. Raises InputError where the environment names no primitives or has no expert.
    """
    if not primitives:
        name = type(env.unwrapped).__name__
        raise InputError(f"{name} names no primitives: give it an attribute `primitives`")
    figures: dict[str, dict[str, Any]] = {}
    for name in primitives:
        rows: list[tuple[int, int, EpisodeResult]] = []
        failed = 0
        options = {**reset_options("demonstration", protocol), "primitive": name}
        for episode in range(episodes):
            seeds = episode_seeds(seed, name, episode)
            goal = expert_end(env, seeds.env, options)
            if goal is None:
                failed += 1
            else:
                result = run_episode(
                    _GivenGoal(env, goal),
                    agent,
                    options=options,
                    seeds=seeds,
                    max_steps=pursuit,
                    oracle=True,  # the goal itself is the only subgoal
                )
                rows.append((episode, seeds.env, result))
            counts = summarise(rows) if rows else {"episodes": 0, "successes": 0}
            figures[name] = {**counts, "expert_failed": failed}
            yield figures


def expert_end(
    env: gymnasium.Env, seed: int, options: Mapping[str, Any]
) -> Mapping[str, np.ndarray] | None:
    """Let the scripted expert act until its work is done and `RETREAT` steps more.

    Returns the last images by camera, uint8 (H, W, 3); None where the primitive's goal does not
    hold then. Without ``info["expert_done"]`` the work is done when the goal holds first.
    """
    name = type(env.unwrapped).__name__
    try:
        observation, info = env.reset(seed=seed, options=dict(options))
    except ValueError as error:
        raise InputError(f"{name} cannot be reset with {dict(options)}: {error}") from error
    if "expert_action" not in info:
        raise InputError(f'{name}: info has no "expert_action"; there is no expert to learn from')
    after = steps = 0
    truncated = False
    while after < RETREAT and steps < MAX_STEPS and not truncated:
        after += bool(after or info.get("expert_done", info["success"]))
        action = np.clip(info["expert_action"], -1.0, 1.0).astype(np.float32)
        observation, _, _, truncated, info = env.step(action)
        steps += 1
    return read_observation(observation, info, name)[0] if info["success"] else None


class _GivenGoal(gymnasium.Wrapper):
    """Shows ``goal``, images by camera, as the goal of every episode, and no stage before it."""

    def __init__(self, env: gymnasium.Env, goal: Mapping[str, np.ndarray]) -> None:
        super().__init__(env)
        self._goal = dict(goal)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        asked = {key: value for key, value in (options or {}).items() if key != STAGE_IMAGES}
        observation, info = self.env.reset(seed=seed, options=asked)
        return observation, {**info, "goal_image": self._goal, STAGE_IMAGES: ()}
