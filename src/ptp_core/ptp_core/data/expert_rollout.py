# SPDX-License-Identifier: Apache-2.0
"""One demonstration: an environment's scripted expert, with noise, recorded step by step.

An environment gives these entries of ``info`` after ``reset(options={"task": "demonstration"})``
and after each step. The last column says what a demonstration has without one:

    expert_action   the expert's action now, (A,)                       required
    primitive       name of the primitive that it shows                 required
    success         whether the primitive's goal holds now              required
    target          dict of `Target`'s fields                           no target
    instruction     a sentence that asks for it                         no instruction
    expert_done     whether the expert has finished and retreats        time of finishing unknown
    proprioception  float32 (P,), the robot's own state                 no proprioception
    images          further cameras by name, uint8 (H, W, 3)            one camera
    scene           dict of numbers, at the reset: the arrangement      coverage unknown

With ``options["chain"] = n`` the expert shows up to n primitives one after the other, and info
also has ``segment``, the index of the current one from 0, and ``chain_done``, whether the last one
has ended. ``options["protocol"]`` and ``options["half_way"]`` are passed on where the settings
have them: how scenes are drawn, and the share of demonstrations that begin half-way.

With ``options["elsewhere"] = True`` the scene and what is shown are the same, but an object that
the work does not move lies elsewhere; ``info["elsewhere"]`` says at the reset whether one does.

With ``options["demonstrated_task"]``, the name of a task, the expert shows the task whole: info
has what a chain has, ``task_instruction``, the sentence that asks for the task, and
``task_success``, whether its goal holds now.

``env.unwrapped.dataset_attributes()`` may give "action_channels" and "proprioception_channels",
lists of dicts of `Channel`'s fields.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ptp_core.config import DataConfig
from ptp_core.data.trajectory import (
    CAMERA,
    CHAIN,
    Channel,
    Metadata,
    Segment,
    Trajectory,
    in_sequence,
    read_target,
)
from ptp_core.errors import DatasetError, InputError

CHAIN_LENGTHS = 1  # spawn key of the generator that draws chain lengths
BURSTS = 2  # spawn key of the generator that draws bursts of noise
ATTEMPTS = 3  # spawn key of the seeds of later attempts
MOST_ATTEMPTS = 20  # at a demonstration that must succeed
BURSTS_EACH = (1, 3)  # fewest and most bursts of a demonstration that has any
BURST_STEPS = (4, 10)  # fewest and most control steps of a burst


def read_observation(
    observation: Any, info: dict[str, Any], env: str = "the environment"
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Images by camera, uint8 (H, W, 3), and proprioception, float32 (P,) or None.

    An observation is one image, of the camera "camera", or a dict in which images stand under the
    names of their cameras, and "proprioception". ``info`` may add "images" and "proprioception".
    Raises InputError for anything else.
    """
    parts = dict(observation) if isinstance(observation, dict) else {CAMERA: observation}
    parts = {**parts, **info.get("images", {})}
    proprioception = parts.pop("proprioception", info.get("proprioception"))
    for name, image in parts.items():
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise InputError(
                f"{env}: the observation {name} is {image.dtype} {image.shape}; images must be "
                "uint8 (H, W, 3)"
            )
    if proprioception is not None:
        proprioception = np.asarray(proprioception, dtype=np.float32)
        if proprioception.ndim != 1 or not np.isfinite(proprioception).all():
            raise InputError(f"{env}: proprioception must be a vector of finite numbers")
    return parts, proprioception


def demonstrate(env: gymnasium.Env, index: int, config: DataConfig) -> Trajectory:
    """Make trajectory number ``index``, which depends on the seed and on the index alone.

    Where failures are not kept, a demonstration that fails is made again with other seeds.

    Raises:
        DatasetError: the environment ended it too early, or none of many attempts succeeded.

    """
    for attempt in range(1 if config.keep_failures else MOST_ATTEMPTS):
        trajectory = _attempt(env, index, config, attempt)
        if trajectory.metadata.success or config.keep_failures:
            return trajectory
    raise DatasetError(
        f"trajectory {index} failed in {MOST_ATTEMPTS} scenes: look at the expert of "
        f"{config.env}, lower data.noise_std, or set data.keep_failures"
    )


def _attempt(env: gymnasium.Env, index: int, config: DataConfig, attempt: int) -> Trajectory:
    """Run the scripted expert with Gaussian action noise.

    The stored action is the one that was executed: noisy and clipped. A single primitive is
    recorded for ``config.steps`` steps: once it is done, the expert holds position or retreats.
    A chain, or a task, ends with its last primitive, or with one that takes longer than
    ``config.steps``.
    """
    shown = shown_index(config, index)
    (env_seed, _), (_, noise_seed) = (_seeds(config, number, attempt) for number in (shown, index))
    rng = np.random.default_rng(noise_seed)
    options: dict[str, Any] = {"task": "demonstration"}
    if config.chain is not None:
        key = (shown, CHAIN_LENGTHS)
        lengths = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=key))
        options["chain"] = int(lengths.integers(config.chain[0], config.chain[1] + 1))
    options |= demonstration_options(config, shown)
    if shown_before(config, index) == "elsewhere":
        options["elsewhere"] = True
    record, bursts = _Record(), None
    observation, info = env.reset(seed=env_seed, options=options)
    while not record.is_over(info, config):
        record.see(observation, info)
        expert = np.asarray(info["expert_action"])
        step = len(record.actions)
        if bursts is None:
            bursts = _draw_bursts(config, index, len(expert))
        meant = bursts.get(step, expert)
        noisy = meant + config.noise_std * rng.standard_normal(len(expert))
        action = np.clip(noisy, -1.0, 1.0).astype(np.float32)
        observation, reward, _, truncated, info = env.step(action)
        record.act(action, expert, reward, info)
        if truncated and not record.is_over(info, config):
            raise DatasetError(
                f"the environment ended trajectory {index} after {len(record.actions)} steps, "
                f"{config.steps} were asked for; lower data.steps"
            )
    return record.trajectory(index, env, config, env_seed, attempt)


def shown_before(config: DataConfig, index: int) -> str | None:
    """How number ``index`` shows the one before again: "repeats", "elsewhere" or not at all."""
    share = config.repeats + config.elsewhere
    before, now = int(index * share), int((index + 1) * share)
    if now == before:
        return None
    moved = config.elsewhere / share
    return "elsewhere" if int(now * moved) > int(before * moved) else "repeats"


def shown_index(config: DataConfig, index: int) -> int:
    """The demonstration whose scene number ``index`` shows: the one before, or itself."""
    return index - (shown_before(config, index) is not None)


def _seeds(config: DataConfig, index: int, attempt: int) -> tuple[int, int]:
    """Seeds of the environment and of the noise."""
    key = (index, ATTEMPTS, attempt) if attempt else (index,)
    seed = np.random.SeedSequence(entropy=config.seed, spawn_key=key)
    env_seed, noise_seed = (int(word) for word in seed.generate_state(2))
    return env_seed, noise_seed


def demonstration_options(config: DataConfig, index: int) -> dict[str, Any]:
    """Options of ``env.reset`` for demonstration number ``index``, but for a chain's length."""
    options: dict[str, Any] = {}
    if config.tasks:
        options["demonstrated_task"] = config.tasks[index % len(config.tasks)]
    if config.protocol:
        options["protocol"] = config.protocol
    if config.half_way:
        options["half_way"] = config.half_way
    return options


def _draw_bursts(config: DataConfig, index: int, actions: int) -> dict[int, np.ndarray]:
    """Actions (A,) in [-1, 1] by step that replace the expert's; a share of ``config.bursts``.

    A burst holds one random action, so that it leads away from the goal, and the expert then
    shows the way back. A critic needs such contrast: an expert alone shows no worse action.
    """
    key = (index, BURSTS)
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=key))
    if rng.random() >= config.bursts:
        return {}
    found: dict[int, np.ndarray] = {}
    for _ in range(rng.integers(*BURSTS_EACH, endpoint=True)):
        start = int(rng.integers(config.steps * 2 // 3))
        steps = int(rng.integers(*BURST_STEPS, endpoint=True))
        action = rng.uniform(-1.0, 1.0, actions)
        found |= dict.fromkeys(range(start, start + steps), action)
    return found


class _Record:
    """Records the steps of a demonstration, and where its primitives begin and end."""

    def __init__(self) -> None:
        self.actions: list[np.ndarray] = []
        self._expert_actions: list[np.ndarray] = []
        self._scene: dict[str, float] = {}
        self._elsewhere = False  # whether an object lies elsewhere than in the one before
        self._images: dict[str, list[np.ndarray]] = {}
        self._proprioception: list[np.ndarray] = []
        self._rewards: list[float] = []
        self._segments: list[dict[str, Any]] = []  # fields of Segment
        self._number: int | None = None  # index of the current segment
        self._task: tuple[str, bool] | None = None  # instruction and success of a whole task

    def is_over(self, info: dict[str, Any], config: DataConfig) -> bool:
        if not self._segments:
            return False
        chained = config.chain is not None or bool(config.tasks)
        if chained and info["chain_done"]:
            return True
        if info.get("segment") != self._number:
            return False  # another primitive begins
        segment = self._segments[-1]
        if chained and segment["done"] is not None:
            return False  # the environment goes on with the next one
        return len(self.actions) - segment["start"] >= config.steps

    def see(self, observation: Any, info: dict[str, Any]) -> None:
        """Note the observation of a step, before its action."""
        step = len(self.actions)
        if not step:
            scene = info.get("scene", {})
            self._scene = {name: float(value) for name, value in scene.items()}
            self._elsewhere = bool(info.get("elsewhere"))
        if not self._segments or info.get("segment") != self._number:
            self._number = info.get("segment")
            target = read_target(info.get("target"))
            self._segments.append(
                {
                    "start": step,
                    "primitive": str(info["primitive"]),
                    "target": target,
                    "instruction": str(info.get("instruction", "")),
                    "done": None,
                }
            )
        segment = self._segments[-1]
        segment["success"] = bool(info["success"])
        if segment["done"] is None and info.get("expert_done"):
            segment["done"] = step
        images, proprioception = read_observation(observation, info)
        for camera, image in images.items():
            self._images.setdefault(camera, []).append(np.array(image))
        if proprioception is not None:
            self._proprioception.append(proprioception.copy())

    def act(
        self, action: np.ndarray, expert: np.ndarray, reward: float, info: dict[str, Any]
    ) -> None:
        """Note the action, what the expert asked for, and the result."""
        self.actions.append(action)
        self._expert_actions.append(expert)
        self._rewards.append(reward)
        segment = self._segments[-1]
        segment["stop"] = len(self.actions)
        if "task_success" in info:
            self._task = str(info["task_instruction"]), bool(info["task_success"])
        if info.get("segment") == self._number:  # else it is the next primitive's success
            segment["success"] = bool(info["success"])

    def trajectory(
        self, index: int, env: gymnasium.Env, config: DataConfig, seed: int, attempt: int
    ) -> Trajectory:
        segments = tuple(Segment(**segment) for segment in self._segments)
        single = len(segments) == 1
        instruction = in_sequence([segment.instruction for segment in segments])
        success = all(segment.success for segment in segments)
        extra: dict[str, Any] = {"seed": seed}
        shown = shown_index(config, index)
        how = shown_before(config, index)
        if how == "repeats" or (how == "elsewhere" and self._elsewhere):
            extra[how] = shown
        if config.tasks:
            instruction, success = self._task
            extra["task"] = config.tasks[shown % len(config.tasks)]
        if not config.keep_failures:
            extra["attempts"] = attempt + 1
        metadata = Metadata(
            instruction=instruction,
            primitive=segments[0].primitive if single else CHAIN,
            target=segments[0].target if single else None,
            success=success,
            source="scripted",
            env=config.env,
            protocol=config.protocol or "demonstration",
            scene=self._scene,
            segments=segments,
            extra=extra,
        )
        attributes = getattr(env.unwrapped, "dataset_attributes", dict)()
        channels = {
            name: tuple(Channel(**channel) for channel in attributes.get(name, ()))
            for name in ("action_channels", "proprioception_channels")
        }
        return Trajectory(
            index=index,
            images={camera: np.stack(images) for camera, images in self._images.items()},
            actions=np.stack(self.actions),
            rewards=np.array(self._rewards, dtype=np.float32),
            metadata=metadata,
            proprioception=np.stack(self._proprioception) if self._proprioception else None,
            expert_actions=np.stack(self._expert_actions).astype(np.float32),
            **channels,
        )
