# SPDX-License-Identifier: Apache-2.0
"""Collect demonstrations of single primitives with the environment's scripted expert.

Trajectory i depends on (seed, i) alone: the number of workers, their order and interruptions do
not change it.
"""

from __future__ import annotations

import importlib
import multiprocessing
import queue
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from tqdm import tqdm

from ptp_core.config import DataConfig
from ptp_core.data.dataset import DatasetWriter
from ptp_core.data.trajectory import Trajectory
from ptp_core.errors import ConfigError, DatasetError, InputError
from ptp_core.shapes import ACTION_DIM, IMAGE_SIZE

POLL_SECONDS = 1.0  # how often the parent looks whether its workers live


def collect(
    config: DataConfig, out: str | Path, *, progress: bool = True, limit: int | None = None
) -> dict[str, Any]:
    """Collect ``config.trajectories`` demonstrations into the folder ``out``; resume if it exists.

    ``limit`` stops after that many new trajectories. Returns counts: total, new, and per
    primitive {"trajectories", "success_rate"} of the new ones. Ctrl-C leaves a usable folder.
    Raises ConfigError without an environment, InputError for one that cannot be imported.
    """
    if not config.env:
        raise ConfigError("data.env is not given: name an environment as module:factory")
    make = environment_factory(config.env)
    env = make(**config.env_kwargs)
    try:
        _check_env(env, config)
        description = describe(config, env)
    finally:
        env.close()
    writer = DatasetWriter(out, description)
    with writer.locked():
        writer.pack()
        have = writer.indices()
        missing = [index for index in range(config.trajectories) if index not in have]
        tally = _Tally()
        try:
            _collect_missing(config, writer, missing[:limit], tally, progress)
        finally:
            writer.pack(minimum=1)
        return {"total": len(writer.indices()), "new": tally.count, "primitives": tally.summary()}


def _collect_missing(
    config: DataConfig,
    writer: DatasetWriter,
    missing: Sequence[int],
    tally: _Tally,
    progress: bool,
) -> None:
    out, description = writer.folder, writer.description
    with tqdm(
        total=config.trajectories,
        initial=config.trajectories - len(missing),
        unit="trajectory",
        desc="collect",
        disable=not progress,
    ) as bar:

        def finished(primitive: str, success: bool) -> None:
            tally.add(primitive, success)
            bar.update(1)
            bar.set_postfix(success=f"{tally.success_rate:.2f}", refresh=False)
            if tally.count % 100 == 0:
                writer.pack()

        if config.workers == 1 or len(missing) < 2:
            _work(config, out, description, missing, finished)
        else:
            _run_workers(config, out, description, missing, finished)


def describe(config: DataConfig, env: gymnasium.Env) -> dict[str, Any]:
    """Return what a data set records about its origin.

    An environment may add camera, action scale and version through ``dataset_attributes()``.
    """
    extra = getattr(env.unwrapped, "dataset_attributes", dict)()
    return {
        "env": config.env,
        "env_kwargs": config.env_kwargs,
        "steps": config.steps,
        "noise_std": config.noise_std,
        "seed": config.seed,
        **extra,
    }


def environment_factory(name: str) -> Callable[..., gymnasium.Env]:
    """Import ``module:factory``; InputError says what is missing."""
    module_name, _, factory_name = name.partition(":")
    try:
        return getattr(importlib.import_module(module_name), factory_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f'environment "{name}" cannot be imported: {error}') from error


def make_environment(name: str, arguments: dict[str, Any]) -> gymnasium.Env:
    """An environment of ``module:factory``; InputError says what cannot be imported or made."""
    factory = environment_factory(name)
    try:
        return factory(**arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} cannot be made: {error}") from error


def demonstrate(env: gymnasium.Env, index: int, config: DataConfig) -> Trajectory:
    """Run the scripted expert with Gaussian action noise for ``config.steps`` steps.

    The stored action is the one that was executed: noisy and clipped. After its primitive is done
    the expert goes on (it holds or retreats), so every trajectory has the same length.
    """
    seed = np.random.SeedSequence(entropy=config.seed, spawn_key=(index,))
    env_seed, noise_seed = (int(word) for word in seed.generate_state(2))
    rng = np.random.default_rng(noise_seed)
    images = np.empty((config.steps, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    actions = np.empty((config.steps, ACTION_DIM), dtype=np.float32)
    rewards = np.empty(config.steps, dtype=np.float32)
    image, info = env.reset(seed=env_seed, options={"task": "demonstration"})
    for step in range(config.steps):
        noisy = info["expert_action"] + config.noise_std * rng.standard_normal(ACTION_DIM)
        images[step] = image
        actions[step] = np.clip(noisy, -1.0, 1.0)
        image, rewards[step], _, truncated, info = env.step(actions[step])
        if truncated and step + 1 < config.steps:
            raise DatasetError(
                f"the environment ended trajectory {index} after {step + 1} steps, "
                f"{config.steps} were asked for; lower data.steps"
            )
    attributes = {
        "primitive": info["primitive"],
        "success": bool(info["success"]),
        "seed": env_seed,
    }
    return Trajectory(index, images, actions, rewards, attributes)


class _Tally:
    """Successes by primitive."""

    def __init__(self) -> None:
        self.results: dict[str, list[bool]] = {}

    def add(self, primitive: str, success: bool) -> None:
        self.results.setdefault(primitive, []).append(success)

    @property
    def count(self) -> int:
        return sum(len(results) for results in self.results.values())

    @property
    def success_rate(self) -> float:
        return sum(sum(results) for results in self.results.values()) / max(self.count, 1)

    def summary(self) -> dict[str, dict[str, float]]:
        return {
            name: {"trajectories": len(results), "success_rate": float(np.mean(results))}
            for name, results in sorted(self.results.items())
        }


def _work(
    config: DataConfig,
    out: str | Path,
    description: dict[str, Any],
    indices: Sequence[int],
    finished: Callable[[str, bool], None],
    stop: Callable[[], bool] = lambda: False,
) -> None:
    writer = DatasetWriter(out, description)
    env = environment_factory(config.env)(**config.env_kwargs)
    try:
        for index in indices:
            if stop():
                break
            trajectory = demonstrate(env, index, config)
            writer.add(trajectory)
            finished(trajectory.attributes["primitive"], trajectory.attributes["success"])
    finally:
        env.close()


def _worker(config, out, description, indices, results, stop) -> None:
    """Run in a spawned process: report (primitive, success), then None, or an error text."""
    try:
        _work(
            config,
            out,
            description,
            indices,
            lambda primitive, success: results.put((primitive, success)),
            lambda: stop.is_set() or not multiprocessing.parent_process().is_alive(),
        )
        results.put(None)
    except KeyboardInterrupt:
        results.put(None)
    except Exception:
        results.put(traceback.format_exc())


def _run_workers(
    config: DataConfig,
    out: str | Path,
    description: dict[str, Any],
    indices: Sequence[int],
    finished: Callable[[str, bool], None],
) -> None:
    context = multiprocessing.get_context("spawn")
    results, stop = context.Queue(), context.Event()
    count = min(config.workers, len(indices))
    workers = [
        context.Process(
            target=_worker,
            args=(config, out, description, indices[number::count], results, stop),
            daemon=True,
        )
        for number in range(count)
    ]
    for worker in workers:
        worker.start()
    running = count
    try:
        while running:
            try:
                result = results.get(timeout=POLL_SECONDS)
            except queue.Empty:
                dead = [worker for worker in workers if worker.exitcode not in (None, 0)]
                if dead:
                    raise DatasetError(
                        f"a collecting process died (exit code {dead[0].exitcode}); "
                        "run the command again to resume"
                    ) from None
                continue
            if result is None:
                running -= 1
            elif isinstance(result, str):
                raise DatasetError(f"a collecting process failed:\n{result}")
            else:
                finished(*result)
    finally:
        stop.set()
        for worker in workers:
            worker.join(timeout=30)
            if worker.is_alive():
                worker.terminate()


def _check_env(env: gymnasium.Env, config: DataConfig) -> None:
    image, action = env.observation_space, env.action_space
    shape = (IMAGE_SIZE, IMAGE_SIZE, 3)
    if image.shape != shape or image.dtype != np.uint8 or action.shape != (ACTION_DIM,):
        raise InputError(
            f"{config.env}: the method needs uint8 {shape} images and ({ACTION_DIM},) actions, "
            f"this environment has {image.dtype} {image.shape} and {action.shape}"
        )
    _, info = env.reset(seed=0, options={"task": "demonstration"})
    for key in ("expert_action", "primitive", "success"):
        if key not in info:
            raise InputError(
                f'{config.env}: info has no "{key}" after reset(options={{"task": '
                '"demonstration"}); there is no expert to learn from'
            )
