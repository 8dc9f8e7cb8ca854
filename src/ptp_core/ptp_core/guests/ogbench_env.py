# SPDX-License-Identifier: Apache-2.0
"""OGBench's manipulation environments (arXiv 2410.20092) behind the contract of ``--env``.

Runs in OGBench's own Python. Goals, limits and success are the benchmark's: five tasks, a goal
observation, 200 to 1500 control steps, and an episode ends at its first success. Demonstrations
are what the authors' generator (data_gen_scripts/generate_manipspace.py) records: "play" follows
their plan oracle with its noise, from one random target to the next; "noisy" their Markov oracle.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
from typing import Any

import gymnasium
import numpy as np

NAME = re.compile(r"(visual-)?(cube-(?:single|double|triple|quadruple)|scene)-(play|noisy)-v0")
KNOWN = "[visual-](cube-single|cube-double|cube-triple|cube-quadruple|scene)-(play|noisy)-v0"
CUBES = {"cube-single": 1, "cube-double": 2, "cube-triple": 3, "cube-quadruple": 4, "scene": 1}
ACTIONS = {"dx": 0.05, "dy": 0.05, "dz": 0.05, "dyaw": 0.3, "gripper": 1.0}  # at an action of 1
NOISE = 0.1  # of both oracles (the generator's default)
NOISE_SMOOTHING = 0.5  # of the plan oracle's noise, in control steps
NOISE_SCALES = np.array([1.0, 1.0, 1.0, 3.0, 10.0])  # of the Markov oracle's, by action
MIN_NORM = 0.4  # of the Markov oracle's actions
# Range from which an episode draws how often a cube is put on another one.
STACKING = {
    "cube-single": (0.0, 0.0),
    "cube-double": (0.0, 0.25),
    "cube-triple": (0.05, 0.35),
    "cube-quadruple": (0.1, 0.5),
    "scene": (0.5, 0.5),
}


def make_env(name: str, shadowsize: int = 0) -> OGBenchEnv:
    """Make ``visual-scene-play-v0`` and the like. Raises ValueError for another name.

    shadowsize: pixels a side of the shadow maps; 0: the benchmark's 4096. With 1024 an image takes
    two thirds of the time and differs by less than one grey level on average. Data, goals and
    evaluation need the same.
    """
    found = NAME.fullmatch(name)
    if found is None:
        raise ValueError(f'there is no "{name}"; there are {KNOWN}')
    if shadowsize < 0:
        raise ValueError(f"shadowsize is {shadowsize}; it must be at least 0")
    visual, family, kind = found.groups()
    if not visual:
        os.environ["MUJOCO_GL"] = "disabled"  # states need no renderer
    return OGBenchEnv(bool(visual), family, kind, shadowsize)


class OGBenchEnv(gymnasium.Env):
    """One of the environments, as images of 64 x 64 pixels or as the state.

    Images: the observation is uint8 (64, 64, 3), the goal ``info["goal_image"]``, and
    proprioception what the benchmark's states say of the arm. States: the observation is
    {"proprioception": the benchmark's state, float32}, the goal ``info["goal_state"]``.
    """

    primitives = ()
    action_names = tuple(ACTIONS)

    def __init__(self, visual: bool, family: str, kind: str, shadowsize: int) -> None:
        self._visual, self._family, self._kind = visual, family, kind
        self._shadowsize = shadowsize
        self._simulations: dict[str, Any] = {}  # by mode: made when they are needed
        task = self._simulation("task")
        self.proprioception_names = tuple(_names(family))[: len(ARM) if visual else None]
        self.tasks = tuple(one["task_name"] for one in task.task_infos)
        self._limit = gymnasium.spec(self._id).max_episode_steps
        self.episode_steps = dict.fromkeys(self.tasks, self._limit)
        numbers = gymnasium.spaces.Box(
            -np.inf, np.inf, (len(self.proprioception_names),), np.float32
        )
        image = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
        self.observation_space = (
            image if visual else gymnasium.spaces.Dict({"proprioception": numbers})
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (len(ACTIONS),), np.float32)
        self.goals = ("image",) if visual else ("state",)
        self.cameras = {"camera": (64, 64)} if visual else {}
        self._inner: Any = task
        self._oracles: dict[str, Any] = {}  # by what they move
        self._steps = 0
        if visual:
            self._check_renderer()

    @property
    def _id(self) -> str:
        return f"{'visual-' if self._visual else ''}{self._family}-v0"

    def dataset_attributes(self) -> dict[str, Any]:
        """What the numbers are, and with which physics and renderer data were made."""
        return {
            "action_channels": [
                {"name": name, "unit": UNITS.get(name, ""), "scale": scale}
                for name, scale in ACTIONS.items()
            ],
            "proprioception_channels": [
                {"name": name, "unit": "", "scale": 1.0} for name in self.proprioception_names
            ],
            "ogbench": importlib.metadata.version("ogbench"),
            "mujoco": importlib.metadata.version("mujoco"),
            "shadowsize": self._shadowsize or 4096,
        }

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Start an official task, or a demonstration. Raises ValueError for another task."""
        options = dict(options or {})
        task = options.get("task", self.tasks[0])
        if options.get("protocol"):
            raise ValueError("OGBench's environments have no protocols: name none")
        self._demonstrates = task == "demonstration"
        if not self._demonstrates and task not in self.tasks:
            raise ValueError(
                f'unknown task "{task}"; there are {", ".join(self.tasks)}, demonstration'
            )
        mode = "data_collection" if self._demonstrates else "task"
        self._inner = inner = self._simulation(mode)
        if seed is not None:
            inner.action_space.seed(seed)
            np.random.seed(seed)
        self._steps, self._healthy = 0, True
        choice = {} if self._demonstrates else {"task_id": self.tasks.index(task) + 1}
        observation, found = inner.reset(seed=seed, options=choice)
        info = self._info(found)
        if self._demonstrates:
            self._begin_oracle(observation, found)
            info |= self._expert(observation, found)
        elif self._visual:
            info["goal_image"] = found["goal"]
        else:
            info["goal_state"] = found["goal"].astype(np.float32)
        return self._seen(observation), info

    def step(self, action):
        """One control step of 0.05 s; a task ends at its first success."""
        inner = self._inner
        observation, _, terminated, _, found = inner.step(np.asarray(action, np.float64))
        self._steps += 1
        info = self._info(found)
        if self._demonstrates:
            self._healthy &= self._is_healthy()
            if self._oracle.done:
                self._next_target()
            info |= self._expert(observation, found)
            return self._seen(observation), 0.0, False, False, info
        info["success"] = bool(found["success"])
        reward = 0.0 if info["success"] else -1.0
        return self._seen(observation), reward, terminated, self._steps >= self._limit, info

    def close(self) -> None:
        """Free the renderers."""
        for simulation in self._simulations.values():
            simulation.close()

    def _seen(self, observation: np.ndarray) -> Any:
        if self._visual:
            return observation
        return {"proprioception": observation.astype(np.float32)}

    def _info(self, found: dict[str, Any]) -> dict[str, Any]:
        info: dict[str, Any] = {"success": False}
        if self._visual:
            info["proprioception"] = _state(self._inner)[: len(ARM)].astype(np.float32)
        return info

    def _simulation(self, mode: str) -> Any:
        """The benchmark's environment in "task" or "data_collection" mode."""
        if mode not in self._simulations:
            try:
                importlib.import_module("ogbench.manipspace")
            except ImportError as error:
                if error.name in ("ogbench", "mujoco", "dm_control"):
                    raise
                raise _no_renderer(error) from error  # MuJoCo loads its renderer when imported
            spec = gymnasium.spec(self._id)
            base = gymnasium.envs.registration.load_env_creator(spec.entry_point)
            settings = {**spec.kwargs, "mode": mode, "terminate_at_goal": mode == "task"}
            self._simulations[mode] = _seeded(base, self._shadowsize)(**settings)
        return self._simulations[mode]

    def _check_renderer(self) -> None:
        try:
            self._inner.reset(seed=0, options={"task_id": 1})
        except Exception as error:  # what a missing display raises depends on the library
            raise _no_renderer(error) from error

    def _begin_oracle(self, observation: np.ndarray, found: dict[str, Any]) -> None:
        """Draw what holds for a whole demonstration, and let the first oracle plan."""
        if not self._oracles:
            self._oracles = _oracles(self._inner, self._family, self._kind)
        self._stacking = np.random.uniform(*STACKING[self._family])
        self._noise = np.random.uniform(0, NOISE) if self._kind == "noisy" else 0.0
        self._oracle = self._oracles[str(found["privileged/target_task"])]
        self._oracle.reset(observation, found)

    def _next_target(self) -> None:
        observation, found = self._inner.set_new_target(p_stack=self._stacking)
        self._oracle = self._oracles[str(found["privileged/target_task"])]
        self._oracle.reset(observation, found)

    def _expert(self, observation: np.ndarray, found: dict[str, Any]) -> dict[str, Any]:
        """What the authors' generator would execute now, with its noise."""
        action = np.asarray(self._oracle.select_action(observation, found), np.float64)
        if self._noise:
            action = action + np.random.normal(0, self._noise * NOISE_SCALES)
        return {
            "expert_action": np.clip(action, -1.0, 1.0).astype(np.float32),
            "primitive": self._kind,
            "success": self._healthy,
        }

    def _is_healthy(self) -> bool:
        """Whether the scene's cube is where a goal image would show it (the generator's test)."""
        if self._family != "scene":
            return True
        _, y, z = self._inner.data.joint("object_joint_0").qpos[:3]
        return y < 0.29 and (y > -0.3 or 0.06 <= z <= 0.08)


ARM = (
    *(f"joint_{k}" for k in range(6)),
    *(f"joint_{k}_velocity" for k in range(6)),
    *("effector_x", "effector_y", "effector_z", "effector_cos_yaw", "effector_sin_yaw"),
    *("gripper_opening", "gripper_contact"),
)
"""What a state says of the arm, scaled as the benchmark does."""

UNITS = {"dx": "m", "dy": "m", "dz": "m", "dyaw": "rad"}


def _names(family: str) -> list[str]:
    """A name for each number of the benchmark's state."""
    names = list(ARM)
    for k in range(CUBES[family]):
        parts = ("x", "y", "z", "qw", "qx", "qy", "qz", "cos_yaw", "sin_yaw")
        names += [f"cube_{k}_{part}" for part in parts]
    if family == "scene":
        for k in range(2):
            names += [f"button_{k}_{part}" for part in ("off", "on", "position", "velocity")]
        for what in ("drawer", "window"):
            names += [f"{what}_{part}" for part in ("position", "velocity")]
    return names


def _state(inner: Any) -> np.ndarray:
    """The benchmark's state, float64, of an environment that observes images, too."""
    kind, inner._ob_type = inner._ob_type, "states"
    try:
        return inner.compute_observation()
    finally:
        inner._ob_type = kind


def _seeded(base: type, shadowsize: int) -> type:
    """The benchmark's class with one action space and other shadows.

    It makes a new action space at each look. The two random actions that settle a goal scene come
    from it, so that no seed would fix the goal.
    """

    class Simulation(base):
        action_space = gymnasium.spaces.Box(-1.0, 1.0, (len(ACTIONS),), np.float32)

        def build_mjcf_model(self) -> Any:
            root = super().build_mjcf_model()
            if shadowsize:
                root.visual.quality.shadowsize = shadowsize  # before there is a renderer
            return root

    return Simulation


def _oracles(inner: Any, family: str, kind: str) -> dict[str, Any]:
    """The authors' oracles, by what they move."""
    package, suffix = ("plan", "Plan") if kind == "play" else ("markov", "Markov")
    noise = {"noise": NOISE, "noise_smoothing": NOISE_SMOOTHING}
    settings = noise if kind == "play" else {"min_norm": MIN_NORM}
    found = {}
    for what in ("cube", "button", "drawer", "window") if family == "scene" else ("cube",):
        module = importlib.import_module(f"ogbench.manipspace.oracles.{package}.{what}_{package}")
        patience = {"max_step": 100} if (what, kind, family) == ("cube", "noisy", "scene") else {}
        oracle = getattr(module, f"{what.capitalize()}{suffix}Oracle")
        found[what] = oracle(env=inner, **settings, **patience)
    return found


def _no_renderer(error: Exception) -> RuntimeError:
    return RuntimeError(
        f"nothing draws with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')} ({error}): install "
        "libegl1 and libgl1-mesa-dri, or set MUJOCO_GL=osmesa and install libosmesa6"
    )
