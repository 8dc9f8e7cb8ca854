# SPDX-License-Identifier: Apache-2.0
"""A toy environment with instructions, two cameras, proprioception and actions of seven numbers.

Seven joints go up or down; the pictures show how high they are on the whole. It has nothing in
common with what the robot of this project sees and does: `ptp_core.toy_agent` acts in it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np

from ptp_core.errors import InputError

SPEED = 0.1  # rad a step, at an action of 1
REACHED = 0.25  # rad above or below the start, of every joint
IMAGES = {"front": (32, 48, 3), "wrist": (24, 24, 3)}


def make_env(max_steps: int = 400) -> ToyArm:
    """Factory for ``--env ptp_core.toy_arm:make_env``."""
    return ToyArm(max_steps)


class ToyArm(gymnasium.Env):
    """Tasks "up" and "down": `reset` gives the instruction, `step` moves by seven actions."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}
    tasks = ("up", "down")

    def __init__(self, max_steps: int = 400) -> None:
        images = {name: gymnasium.spaces.Box(0, 255, s, np.uint8) for name, s in IMAGES.items()}
        joints = gymnasium.spaces.Box(-np.inf, np.inf, (7,), np.float32)
        self.observation_space = gymnasium.spaces.Dict({**images, "proprioception": joints})
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (7,), np.float32)
        self.max_steps = max_steps
        self._task = ""
        self._joints = np.zeros(7, np.float32)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Start an episode of ``options["task"]``."""
        super().reset(seed=seed)
        self._task = (options or {}).get("task", "up")
        if self._task not in self.tasks:
            raise InputError(f'unknown task "{self._task}"; the toy arm has up and down')
        self._joints, self._steps = np.zeros(7, np.float32), 0
        return self._seen(), self._info()

    def step(self, action):
        """Move every joint."""
        self._joints = self._joints + SPEED * np.clip(action, -1, 1).astype(np.float32)
        self._steps += 1
        info = self._info()
        ended = self._steps >= self.max_steps
        return self._seen(), 0.0 if info["success"] else -1.0, False, ended, info

    def _seen(self) -> dict[str, np.ndarray]:
        level = int(np.clip(128 + 100 * self._joints.mean(), 0, 255))
        images = {name: np.full(shape, level, np.uint8) for name, shape in IMAGES.items()}
        return {**images, "proprioception": self._joints.copy()}

    def _info(self) -> dict[str, Any]:
        way = 1.0 if self._task == "up" else -1.0
        success = bool((way * self._joints > REACHED).all())
        return {"success": success, "instruction": f"move all joints {self._task}"}
