# SPDX-License-Identifier: Apache-2.0
"""Run one episode of an evaluation in process, and draw its frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import gymnasium
import numpy as np

from ptp_cli.film.film_frame import FilmText, PlanImages, film_frame
from ptp_cli.report.report_pictures import environment_for_people
from ptp_core.agents.registry import build_agent, method_named
from ptp_core.data.env_spec import reset_options, spec_of
from ptp_core.planners.plan_library import PlanLibrary
from ptp_core.rollout.episode_results import EpisodeResult, episode_seeds
from ptp_core.rollout.evaluation import EvaluationConfig, as_declared
from ptp_core.rollout.run_episode import run_episode
from ptp_core.training.checkpoint import load_checkpoint

if TYPE_CHECKING:
    from ptp_core.agents.agent import Agent, Decision
    from ptp_core.encoders.vqvae import VQVAE
    from ptp_core.planners.planner import Plan

OPENING, ENDING = 1.5, 3.0  # s that the first and the last frame are shown
AFTER = 40  # control steps shown after the first success


@dataclass(frozen=True)
class FilmedEpisode:
    """An episode and its frames, uint8 (H, W, 3) RGB, each with the seconds that it is shown."""

    result: EpisodeResult
    frames: list[np.ndarray]
    seconds: list[float]


def film_episode(
    config: EvaluationConfig,
    episode: int = 0,
    *,
    instruction: str | None = None,
    title: str = "",
    every: int = 2,
    rate: float = 12.0,
) -> FilmedEpisode:
    """Run episode ``episode`` of an evaluation of one task as `ptp evaluate` does, and film it.

    ``instruction``: what the agent is told instead of the environment's own goal. ``title``: words
    above the film, where the agent is not told any. ``every``: control steps between frames.
    ``rate``: frames a second. More than AFTER steps after the first success, only the last moment
    is shown. Raises what `evaluate` and `run_episode` raise.
    """
    config.check()
    config = as_declared(config)
    (task,) = config.tasks
    checkpoint = load_checkpoint(config.checkpoint)
    library = None
    if config.reuse_plans is not None:
        library = PlanLibrary(checkpoint.encoder_id, config.reuse_plans)
    options = config.options(library=library, policies=config.finetuned_policies(checkpoint))
    agent = build_agent(config.method, checkpoint, options)
    env = _WatchedEnv(environment_for_people(config.env, config.env_kwargs))
    try:
        spec = spec_of(env, config.env)
        if instruction is None and config.paraphrases:
            instruction = spec.paraphrase(task, episode)
        taken = _Taken(env, agent, checkpoint.vqvae, method_named(config.method).follows, every)
        result = run_episode(
            env,
            agent,
            options=reset_options(task, config.protocol),
            seeds=episode_seeds(config.seed, task, episode),
            max_steps=config.max_steps,
            oracle=config.subgoals == "oracle",
            instruction=instruction,
            on_plan=taken.planned,
            on_step=taken.stepped,
        )
        taken.end(result)
    finally:
        env.close()
    return _drawn(taken, result, title, config.max_steps, rate)


class _WatchedEnv(gymnasium.Wrapper):
    """Keeps the newest image and the goal image."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.goal: np.ndarray | None = None
        self._image: np.ndarray | None = None

    def reset(self, **options):
        """Start an episode."""
        observation, info = self.env.reset(**options)
        self.goal, self._image = _first(info.get("goal_image")), _first(observation)
        return observation, info

    def step(self, action):
        """Run one control step."""
        observation, *rest = self.env.step(action)
        self._image = _first(observation)
        return observation, *rest

    def view(self) -> np.ndarray:
        """Return what there is to see now, uint8 (H, W, 3), in the size for people if it can."""
        large = self.env.render() if self.env.render_mode == "rgb_array" else None
        return self._image if large is None else large


def _first(images):
    """The image, or the first of several cameras or observations."""
    if isinstance(images, dict):
        images = next((v for v in images.values() if np.ndim(v) == 3), None)
    return images


@dataclass(frozen=True)
class _Moment:
    """A moment that may become a frame."""

    step: int
    camera: np.ndarray
    plan: np.ndarray  # uint8 (K, H, W, 3)
    pursued: int | None


class _Taken:
    """Notes the moments of an episode. ``every``: control steps between them."""

    def __init__(
        self, env: _WatchedEnv, agent: Agent, vqvae: VQVAE, follows: bool, every: int
    ) -> None:
        self._env, self._vqvae, self._every = env, vqvae, every
        self._follows = follows
        self.ends_at_goal = getattr(getattr(agent, "planner", None), "ends_at_goal", False)
        self.moments: list[_Moment] = []
        self._plan: Plan | None = None
        self._images: np.ndarray | None = None  # of the plan; None: not decoded
        self._steps, self._pursued = 0, None

    @property
    def goal(self) -> np.ndarray | None:
        """The goal image that the environment gave."""
        return self._env.goal

    def planned(self, plan: Plan) -> None:
        """A new plan came into use."""
        self._plan, self._images = plan, None

    def stepped(self, decision: Decision) -> None:
        """The agent has decided; its action is not executed yet."""
        self._pursued = decision.subgoal_index if self._follows else None
        if self._steps % self._every == 0:
            self._note()
        self._steps += 1

    def end(self, result: EpisodeResult) -> None:
        """The episode has ended."""
        self._steps = result.steps
        self._note()

    def _note(self) -> None:
        if self._images is None:
            self._images = np.zeros((0, 1, 1, 3), np.uint8)
            if self._plan is not None and len(self._plan.latents):
                self._images = self._vqvae.decode(self._plan.latents).cpu().numpy()
        moment = _Moment(self._steps, self._env.view(), self._images, self._pursued)
        self.moments.append(moment)


def _drawn(
    taken: _Taken, result: EpisodeResult, title: str, steps: int, rate: float
) -> FilmedEpisode:
    told = result.instruction
    title = title if told is None else f"“{told}”"
    *during, last = taken.moments
    if result.first_success is not None:
        during = [m for m in during if m.step <= result.first_success + AFTER]
    frames = []
    for moment in (*during, last):
        images, goal = list(moment.plan), taken.goal if told is None else None
        if taken.ends_at_goal and images:  # its last latent is the goal, given or predicted
            predicted = images.pop()
            goal = predicted if goal is None else goal
        plan = PlanImages(images, goal, predicted=taken.ends_at_goal and told is not None)
        success = result.success if moment is last else None
        text = FilmText(title, moment.step, steps, moment.pursued, success)
        frames.append(film_frame(moment.camera, plan, text))
    seconds = [OPENING, *[1.0 / rate] * (len(frames) - 2), ENDING]
    return FilmedEpisode(result, frames, seconds)
