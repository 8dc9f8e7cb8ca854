# SPDX-License-Identifier: Apache-2.0
"""Toy environments for tests and first trials.

`ToyEnv` has the interface that the method expects. A white square (the hand) moves over a dark
table. While its gripper is closed, a green square within reach moves along. Each target task asks
for one of the squares to be somewhere.

`ToyArm` has nothing in common with what the robot of this project sees and does: instructions, two
cameras, proprioception and actions of seven numbers. Seven joints go up or down; the pictures show
how high they are on the whole. `ptp_core.toy_agent` acts in it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np

from ptp_core.data.trajectory import CAMERA, CARTESIAN
from ptp_core.errors import InputError

SIZE = 48  # pixels a side of an image
STEP = 2.0  # pixels a unit action
REACH = 4.0  # pixels between hand and block for a grasp
TOLERANCE = 4.0  # pixels, success
MARGIN = 4.0  # pixels that the squares keep from the border
PRIMITIVES = ("reach", "carry")
PROTOCOLS = ("paper", "varied")  # the block at its place; up to 4 pixels away
GOALS = {"A": (36.0, 12.0), "B": (12.0, 36.0), "C": (36.0, 36.0)}  # block (x, y), pixels
ARM_SPEED = 0.1  # rad a step, at an action of 1
ARM_REACHED = 0.25  # rad above or below the start, of every joint
ARM_IMAGES = {"front": (32, 48, 3), "wrist": (24, 24, 3)}


def make_env(max_steps: int = 400) -> ToyEnv:
    """Factory for ``--env ptp_core.toy_env:make_env``."""
    return ToyEnv(max_steps=max_steps)


def make_arm(max_steps: int = 400) -> ToyArm:
    """Factory for ``--env ptp_core.toy_env:make_arm``."""
    return ToyArm(max_steps)


def make_told_env(**options: Any) -> ToldToyEnv:
    """Factory for ``--env ptp_core.toy_env:make_told_env``; options as of `ToyEnv`."""
    return ToldToyEnv(**options)


def make_state_env(**options: Any) -> StateToyEnv:
    """Factory for ``--env ptp_core.toy_env:make_state_env``; options as of `ToyEnv`."""
    return StateToyEnv(**options)


class ToyEnv(gymnasium.Env):
    """Push-and-place in the plane: 48 x 48 uint8 images, five actions in [-1, 1].

    Actions: dx, dy, (unused), (unused), gripper (> 0 closed). Rewards: 0 on success, else -1.
    Tasks "A", "B", "C" and "demonstration" are chosen by ``reset(options={"task": ...})``; a
    demonstration takes "primitive", "chain", the number of primitives in one scene, and
    "elsewhere": the block of "reach" lies elsewhere then.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}
    tasks = tuple(GOALS)
    protocols = PROTOCOLS
    primitives = PRIMITIVES
    goals = ("image",)
    cameras: ClassVar[dict[str, tuple[int, int]]] = {CAMERA: (SIZE, SIZE)}
    action_names = CARTESIAN
    proprioception_names = ("hand_x", "hand_y")

    def __init__(self, max_steps: int = 400) -> None:
        self.observation_space = gymnasium.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (len(CARTESIAN),), np.float32)
        self.max_steps = max_steps
        self._hand = np.zeros(2)
        self._block = np.zeros(2)
        self._goal = np.zeros(2)
        self._primitive = ""
        self._segment = self._chain = 0
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Start an episode; see the class for ``options``."""
        super().reset(seed=seed)
        options = options or {}
        extra = {}
        task = options.get("task", next(iter(GOALS)))
        low, high = MARGIN + 2, SIZE - MARGIN - 2
        self._steps = 0
        self._primitive = ""
        self._segment = self._chain = 0
        self._hand = np.array([24.0, 24.0])
        self._block = np.array([12.0, 12.0])
        if task == "demonstration":
            self._hand = self.np_random.uniform(low, high, 2)
            self._block = self.np_random.uniform(low, high, 2)
            self._goal = self.np_random.uniform(low, high, 2)
            self._primitive = options.get("primitive") or self.np_random.choice(PRIMITIVES)
            self._chain = options.get("chain") or 0
            if options.get("elsewhere"):
                extra["elsewhere"] = self._primitive == "reach"
                if extra["elsewhere"]:
                    self._block = self.np_random.uniform(low, high, 2)
        elif task in GOALS:
            self._goal = np.array(GOALS[task])
            protocol = options.get("protocol", PROTOCOLS[0])
            if protocol not in PROTOCOLS:
                raise InputError(f'unknown protocol "{protocol}"; the toy has paper and varied')
            if protocol == "varied":
                self._block = self._block + self.np_random.uniform(-4, 4, 2)
        else:
            raise InputError(f'unknown task "{task}"; the toy has A, B, C and demonstration')
        return self._image(self._hand, self._block), self._info() | extra

    def step(self, action):
        """Move the hand; a closed gripper near the block carries it."""
        action = np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0)
        reached = self._success()  # seen for one step before a chain goes on
        held = action[4] > 0 and np.linalg.norm(self._hand - self._block) < REACH
        limits = (MARGIN, SIZE - MARGIN)
        self._hand = np.clip(self._hand + STEP * action[:2], *limits)
        if held:
            self._block = np.clip(self._block + STEP * action[:2], *limits)
        self._steps += 1
        if reached and self._segment + 1 < self._chain:
            self._segment += 1
            self._goal = self.np_random.uniform(MARGIN + 2, SIZE - MARGIN - 2, 2)
            self._primitive = PRIMITIVES[self._segment % 2]
        info = self._info()
        reward = 0.0 if info["success"] else -1.0
        truncated = self._steps >= self.max_steps
        return self._image(self._hand, self._block), reward, False, truncated, info

    def _subject(self) -> np.ndarray:
        return self._hand if self._primitive == "reach" else self._block

    def _success(self) -> bool:
        return bool(np.linalg.norm(self._subject() - self._goal) < TOLERANCE)

    def _info(self) -> dict[str, Any]:
        success = self._success()
        info = {
            "success": success,
            "proprioception": self._hand.astype(np.float32),
            "state": {"hand": self._hand.copy(), "block": self._block.copy()},
            "goal_image": self._image(self._goal, self._goal),
        }
        if self._primitive:
            info["primitive"] = str(self._primitive)
            info["expert_action"] = self._expert(success)
            info["expert_done"] = success
            subject = {"reach": "hand", "carry": "block"}[info["primitive"]]
            side = "right" if self._goal[0] > SIZE / 2 else "left"
            info["target"] = {
                "kind": f"{subject}_xy",
                "values": self._goal.tolist(),
                "unit": "pixel",
                "place": side,
            }
            info["instruction"] = f"move the {subject} to the {side}"
            if self._chain:
                info["segment"] = self._segment
                info["chain_done"] = success and self._segment + 1 == self._chain
        return info

    def dataset_attributes(self) -> dict[str, Any]:
        """What the numbers of proprioception are."""
        names = self.proprioception_names
        return {"proprioception_channels": [{"name": name, "unit": "pixel"} for name in names]}

    def _expert(self, success: bool) -> np.ndarray:
        action = np.zeros(len(CARTESIAN), dtype=np.float32)
        near = np.linalg.norm(self._hand - self._block) < REACH - 1
        carrying = self._primitive == "carry" and near and not success
        target = self._goal if carrying or self._primitive == "reach" else self._block
        if not success:
            action[:2] = np.clip((target - self._hand) / STEP, -1, 1)
        action[4] = 1.0 if carrying else -1.0
        return action

    @staticmethod
    def _image(hand: np.ndarray, block: np.ndarray) -> np.ndarray:
        image = np.full((SIZE, SIZE, 3), 60, dtype=np.uint8)
        for centre, radius, colour in ((block, 2, (80, 220, 60)), (hand, 3, (240, 240, 240))):
            x, y = np.round(centre).astype(int)
            image[max(y - radius, 0) : y + radius, max(x - radius, 0) : x + radius] = colour
        return image


class ToldToyEnv(ToyEnv):
    """The toy whose target tasks have words, the first of its goals."""

    instructions: ClassVar = {task: f"do what {task} asks for" for task in ToyEnv.tasks}
    goals = ("language", "image")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """As the toy's."""
        self._words = self.instructions.get((options or {}).get("task", self.tasks[0]), "")
        return super().reset(seed=seed, options=options)

    def _info(self) -> dict[str, Any]:
        return {"instruction": self._words, **super()._info()}


class StateToyEnv(ToyEnv):
    """The toy without images: the state is where hand and block are, 0 in the middle of the table.

    Observations are {"proprioception": the state}, goals ``info["goal_state"]``.
    """

    goals = ("state",)
    cameras: ClassVar[dict[str, tuple[int, int]]] = {}
    proprioception_names = ("hand_x", "hand_y", "block_x", "block_y")

    def __init__(self, max_steps: int = 400) -> None:
        super().__init__(max_steps)
        numbers = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
        self.observation_space = gymnasium.spaces.Dict({"proprioception": numbers})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """As the toy's."""
        _, info = super().reset(seed=seed, options=options)
        return self._seen(), info

    def step(self, action):
        """As the toy's."""
        _, *rest = super().step(action)
        return self._seen(), *rest

    def dataset_attributes(self) -> dict[str, Any]:
        """What the numbers of the state are."""
        names = self.proprioception_names
        return {"proprioception_channels": [{"name": name, "unit": ""} for name in names]}

    def _seen(self) -> dict[str, np.ndarray]:
        return {"proprioception": self._state(self._hand, self._block)}

    def _info(self) -> dict[str, Any]:
        info = super()._info()
        del info["goal_image"], info["proprioception"]
        return {**info, "goal_state": self._state(self._goal, self._goal)}

    @staticmethod
    def _state(hand: np.ndarray, block: np.ndarray) -> np.ndarray:
        return (np.concatenate([hand, block]) / (SIZE / 2) - 1).astype(np.float32)


class ToyArm(gymnasium.Env):
    """Tasks "up" and "down": `reset` gives the instruction, `step` moves by seven actions."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}
    tasks = ("up", "down")
    instructions: ClassVar = {task: f"move all joints {task}" for task in tasks}
    paraphrases: ClassVar = {
        "up": ("lift every joint up", "go up with all of them"),
        "down": ("lower every joint", "go down with all of them"),
    }

    def __init__(self, max_steps: int = 400) -> None:
        box = gymnasium.spaces.Box
        images = {name: box(0, 255, shape, np.uint8) for name, shape in ARM_IMAGES.items()}
        joints = box(-np.inf, np.inf, (7,), np.float32)
        self.observation_space = gymnasium.spaces.Dict({**images, "proprioception": joints})
        self.action_space = box(-1.0, 1.0, (7,), np.float32)
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
        self._joints = self._joints + ARM_SPEED * np.clip(action, -1, 1).astype(np.float32)
        self._steps += 1
        info = self._info()
        ended = self._steps >= self.max_steps
        return self._seen(), 0.0 if info["success"] else -1.0, False, ended, info

    def _seen(self) -> dict[str, np.ndarray]:
        level = int(np.clip(128 + 100 * self._joints.mean(), 0, 255))
        images = {name: np.full(shape, level, np.uint8) for name, shape in ARM_IMAGES.items()}
        return {**images, "proprioception": self._joints.copy()}

    def _info(self) -> dict[str, Any]:
        way = 1.0 if self._task == "up" else -1.0
        success = bool((way * self._joints > ARM_REACHED).all())
        return {"success": success, "instruction": self.instructions[self._task]}
