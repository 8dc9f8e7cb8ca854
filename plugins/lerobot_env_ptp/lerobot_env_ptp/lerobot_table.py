# SPDX-License-Identifier: Apache-2.0
"""An environment of ours with the observations that LeRobot reads. LeRobot is not needed here."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np

from ptp_core.data.collect_demonstrations import make_environment
from ptp_core.data.env_spec import spec_of
from ptp_core.data.expert_rollout import read_observation
from ptp_core.errors import InputError

GYM_ID = "ptp/LerobotTable-v0"
GOAL = "goal"  # name of the camera that shows the goal image
USUAL_STEPS = 400  # of tasks that declare none


class LerobotTable(gymnasium.Env):
    """Wraps an environment of our contract for `lerobot-eval`.

    Observation: {"pixels": {camera: uint8 (H, W, 3)}, "agent_pos": float32 (P,)}, the last one
    where there is proprioception. With ``goal_image`` the goal is one more camera. Action: float32
    (A,), cut to [-1, 1]. An episode terminates at the first success, and is truncated after the
    task's steps; ``info["is_success"]`` says which. ``task_description`` is the sentence of the
    task. Source of these names: `lerobot.envs.utils.preprocess_observation` and
    `lerobot.scripts.lerobot_eval.rollout` of lerobot 0.6.1.

    ``factory`` is "module:function". Raises InputError where it, the task or the protocol is
    unknown, or where a goal image is asked for and there is none.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 24}

    def __init__(
        self,
        task: str = "A",
        protocol: str = "",
        factory: str = "ptp_sim.env:make_env",
        goal_image: bool = False,
        render_mode: str | None = "rgb_array",
    ) -> None:
        self.render_mode = render_mode
        self._env = make_environment(factory, {})
        spec = spec_of(self._env, factory)
        if task not in spec.tasks:
            raise InputError(f"unknown task {task}; {factory} has {', '.join(spec.tasks)}")
        self._options = {"task": task}
        if chosen := spec.choose_protocol(protocol):
            self._options["protocol"] = chosen
        self._with_goal = goal_image
        self._newest = np.zeros((0, 0, 3), np.uint8)  # image of the first camera
        self._goal: np.ndarray | None = None
        self.task, self.task_description = task, ""
        self._max_episode_steps = spec.longest_episode((task,), USUAL_STEPS)
        self._steps = 0
        boxes = {c.name: (c.height, c.width, 3) for c in spec.cameras}
        if goal_image:
            boxes[GOAL] = next(iter(boxes.values()))
        image = gymnasium.spaces.Box
        spaces: dict[str, gymnasium.Space] = {
            "pixels": gymnasium.spaces.Dict(
                {name: image(0, 255, shape, np.uint8) for name, shape in boxes.items()}
            )
        }
        if spec.proprioception:
            size = len(spec.proprioception)
            spaces["agent_pos"] = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.observation_space = gymnasium.spaces.Dict(spaces)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (len(spec.actions),), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Start an episode. ``options`` are LeRobot's own and are left out."""
        super().reset(seed=seed)
        observation, info = self._env.reset(seed=seed, options=dict(self._options))
        self._steps = 0
        self.task_description = info.get("instruction") or self.task
        self._goal = self._goal_image(info) if self._with_goal else None
        return self._seen(observation, info), {"is_success": bool(info["success"])}

    def step(self, action: np.ndarray):
        """Run one control step; see the class."""
        action = np.asarray(action, np.float32)
        if not np.isfinite(action).all():
            raise InputError(f"the action {action.tolist()} is not finite")
        observation, reward, ended, truncated, info = self._env.step(np.clip(action, -1.0, 1.0))
        self._steps += 1
        success = bool(info["success"])
        truncated = bool(truncated) or self._steps >= self._max_episode_steps
        seen = self._seen(observation, info)
        return seen, float(reward), bool(ended) or success, truncated, {"is_success": success}

    def render(self) -> np.ndarray:
        """The newest image of the first camera, uint8 (H, W, 3)."""
        return self._newest

    def close(self) -> None:
        """Free the environment."""
        self._env.close()

    def _goal_image(self, info: dict[str, Any]) -> np.ndarray:
        shown = info.get("goal_image")
        if isinstance(shown, dict):
            shown = next(iter(shown.values()), None)
        if shown is None:
            raise InputError(f"task {self.task} has no goal image: leave goal_image out")
        return np.asarray(shown, np.uint8)

    def _seen(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        images, proprioception = read_observation(observation, info)
        self._newest = next(iter(images.values()))
        pixels = {**images, **({} if self._goal is None else {GOAL: self._goal})}
        seen: dict[str, Any] = {"pixels": pixels}
        if proprioception is not None:
            seen["agent_pos"] = proprioception
        return seen


def register() -> None:
    """Register `GYM_ID` with gymnasium."""
    if GYM_ID not in gymnasium.registry:
        gymnasium.register(GYM_ID, entry_point="lerobot_env_ptp.lerobot_table:LerobotTable")
