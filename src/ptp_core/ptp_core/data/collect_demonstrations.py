# SPDX-License-Identifier: Apache-2.0
"""Collect demonstrations of primitives, of chains of them or of tasks, by the scripted expert.

Trajectory i depends on (seed, i) alone. The number of env workers, their order and interruptions
do not change it.
"""

from __future__ import annotations

import importlib
import multiprocessing
import queue
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from ptp_core.config import DataConfig
from ptp_core.data.coverage import report_coverage, write_report
from ptp_core.data.dataset import Dataset, DatasetWriter
from ptp_core.data.env_check import (
    check_actions,
    check_expert,
    check_not_black,
    check_observation,
)
from ptp_core.data.expert_rollout import (
    demonstrate,
    demonstration_options,
    read_observation,
)
from ptp_core.data.files import check_new_folder
from ptp_core.data.trajectory import Metadata
from ptp_core.errors import ConfigError, DatasetError, InputError, PtpError, quoted
from ptp_core.guests.known_guests import guest_factory, is_guest
from ptp_core.processes import follow_parent
from ptp_core.progress import Bar


class _Shown(NamedTuple):
    """What a trajectory shows."""

    segments: list[tuple[str, bool]]  # primitive and success of each
    success: bool
    task: str | None  # None: no whole task
    attempts: int  # that it took

    @classmethod
    def of(cls, known: Metadata) -> _Shown:
        segments = [(segment.primitive, segment.success) for segment in known.segments]
        return cls(
            segments, known.success, known.extra.get("task"), known.extra.get("attempts", 1)
        )


POLL_SECONDS = 1.0  # how often the parent checks that its workers are alive


def collect(
    config: DataConfig, out: str | Path, *, progress: bool = True, limit: int | None = None
) -> dict[str, Any]:
    """Collect ``config.trajectories`` demonstrations into the folder ``out``; resume if it exists.

    ``limit`` stops after that many new trajectories. Returns counts: total, new, per primitive
    {"shown", "success_rate"} of the new ones, per task that was shown whole the same over all
    attempts, and ``coverage``, the report that coverage.json then holds, or None where it is
    unknown. Ctrl-C leaves a usable folder.
    Raises ConfigError without an environment, InputError for one that cannot be imported.
    """
    if not config.env:
        raise ConfigError("data.env is not given: name an environment as module:factory")
    check_new_folder(Path(out))
    env = make_environment(config.env, config.env_kwargs)
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
        return {
            "total": len(writer.indices()),
            "new": tally.count,
            "primitives": _summary(tally.primitives),
            "tasks": _summary(tally.tasks),
            "coverage": _report_coverage(config, Path(out)),
        }


def _report_coverage(config: DataConfig, folder: Path) -> dict[str, Any] | None:
    """Write what the whole data set covers into its folder; None where it is unknown."""
    env = make_environment(config.env, config.env_kwargs)
    try:
        report = report_coverage(env, config.env, Dataset(folder).scenes())
    finally:
        env.close()
    if report is not None:
        write_report(folder, report)
    return report


def _collect_missing(
    config: DataConfig,
    writer: DatasetWriter,
    missing: Sequence[int],
    tally: _Tally,
    progress: bool,
) -> None:
    out, description = writer.folder, writer.description
    with Bar(
        total=config.trajectories,
        initial=config.trajectories - len(missing),
        unit="trajectory",
        desc="collect",
        disable=not progress,
    ) as bar:

        def finished(shown: _Shown) -> None:
            tally.add(shown)
            bar.update(1)
            bar.set_postfix(success=f"{tally.success_rate:.2f}", refresh=False)
            if tally.count % 100 == 0:
                writer.pack()

        if config.num_envs == 1 or len(missing) < 2:
            _work(config, out, description, missing, finished)
        else:
            _run_workers(config, out, description, missing, finished)


def describe(config: DataConfig, env: gymnasium.Env) -> dict[str, Any]:
    """Describe the origin of a data set: environment, settings, action names.

    An environment may add camera, action scale and version through ``dataset_attributes()``; see
    `ptp_core.data.expert_rollout` for the names of action and proprioception dimensions.
    """
    extra = getattr(env.unwrapped, "dataset_attributes", dict)()
    return {
        "env": config.env,
        "env_kwargs": config.env_kwargs,
        "steps": config.steps,
        "chain": None if config.chain is None else list(config.chain),
        "protocol": config.protocol,
        "half_way": config.half_way,
        **({"tasks": list(config.tasks)} if config.tasks else {}),
        **({} if config.keep_failures else {"keep_failures": False}),
        "noise_std": config.noise_std,
        "bursts": config.bursts,
        **({"repeats": config.repeats} if config.repeats else {}),
        **({"elsewhere": config.elsewhere} if config.elsewhere else {}),
        "seed": config.seed,
        **extra,
    }


def environment_factory(name: str) -> Callable[..., gymnasium.Env]:
    """Import ``module:factory`` or find ``guest:environment``; InputError says what is missing."""
    if is_guest(name):
        return guest_factory(name)
    module_name, _, factory_name = name.partition(":")
    try:
        return getattr(importlib.import_module(module_name), factory_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f'environment "{name}" cannot be imported: {error}') from error


def make_environment(name: str, arguments: dict[str, Any]) -> gymnasium.Env:
    """Make an environment of ``module:factory``; InputError where that fails."""
    factory = environment_factory(name)
    try:
        return factory(**arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} cannot be made: {error}") from error


class _Tally:
    """Counts of trajectories, and results by primitive and, of every attempt, by task."""

    def __init__(self) -> None:
        self.primitives: dict[str, list[bool]] = {}
        self.tasks: dict[str, list[bool]] = {}
        self.count = 0

    def add(self, shown: _Shown) -> None:
        self.count += 1
        for primitive, success in shown.segments:
            self.primitives.setdefault(primitive, []).append(success)
        if shown.task is not None:
            results = self.tasks.setdefault(shown.task, [])
            results += [*[False] * (shown.attempts - 1), shown.success]

    @property
    def success_rate(self) -> float:
        results = [success for results in self.primitives.values() for success in results]
        return sum(results) / max(len(results), 1)


def _summary(results_of: Mapping[str, list[bool]]) -> dict[str, dict[str, float]]:
    return {
        name: {"shown": len(results), "success_rate": float(np.mean(results))}
        for name, results in sorted(results_of.items())
    }


def _work(
    config: DataConfig,
    out: str | Path,
    description: dict[str, Any],
    indices: Sequence[int],
    finished: Callable[[_Shown], None],
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
            finished(_Shown.of(trajectory.metadata))
    finally:
        env.close()


def _worker(config, out, description, indices, results, stop) -> None:
    """Run in a spawned process: report what each trajectory shows, then None, or an error."""
    follow_parent()  # a simulator that hangs never asks whether to stop
    try:
        _work(
            config,
            out,
            description,
            indices,
            results.put,
            lambda: stop.is_set() or not multiprocessing.parent_process().is_alive(),
        )
        results.put(None)
    except KeyboardInterrupt:
        results.put(None)
    except PtpError as error:
        results.put(error)
    except Exception:
        results.put(traceback.format_exc())


def _run_workers(
    config: DataConfig,
    out: str | Path,
    description: dict[str, Any],
    indices: Sequence[int],
    finished: Callable[[_Shown], None],
) -> None:
    context = multiprocessing.get_context("spawn")
    results, stop = context.Queue(), context.Event()
    count = min(config.num_envs, len(indices))
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
            elif isinstance(result, PtpError):
                raise result
            else:
                finished(result)
    finally:
        stop.set()
        for worker in workers:
            worker.join(timeout=30)
            if worker.is_alive():
                worker.terminate()


def _check_env(env: gymnasium.Env, config: DataConfig) -> None:
    known = getattr(env.unwrapped, "tasks", ())
    if unknown := [task for task in config.tasks if task not in known]:
        raise InputError(
            f"{config.env} has no task {quoted(unknown[0])} to demonstrate; it has "
            f"{', '.join(known) or 'none'}"
        )
    action = env.action_space
    if not isinstance(action, gymnasium.spaces.Box) or len(action.shape) != 1:
        raise InputError(f"{config.env}: actions must be a vector of numbers, not {action}")
    check_actions(action, config.env)
    options: dict[str, Any] = {"task": "demonstration", **demonstration_options(config, 0)}
    if config.chain is not None:
        options["chain"] = config.chain[0]
    if config.elsewhere:
        options["elsewhere"] = True
    try:
        observation, info = env.reset(seed=0, options=options)
    except ValueError as error:
        raise InputError(f"{config.env}: {error}") from error
    check_observation(observation, env.observation_space, "the first observation", config.env)
    images, _ = read_observation(observation, info, config.env)
    for camera, image in images.items():
        check_not_black(image, f"the first image of {camera}", config.env)
    needed = ["expert_action", "primitive", "success"]
    if config.chain is not None or config.tasks:
        needed += ["segment", "chain_done"]
    if config.tasks:
        needed += ["task_instruction", "task_success"]
    if config.elsewhere:
        needed.append("elsewhere")
    for key in needed:
        if key not in info:
            raise InputError(
                f'{config.env}: info has no "{key}" after reset(options={options}); there is no '
                "expert to learn from"
            )
    check_expert(info["expert_action"], config.env, action.shape[0])
