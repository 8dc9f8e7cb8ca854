# SPDX-License-Identifier: Apache-2.0
"""Benchmark of the simulated table: steps per second of one and of several, and reset times."""

from __future__ import annotations

import multiprocessing
import signal
import time
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from ptp_cli.bench.measuring import BenchSettings, Figures, cores, median
from ptp_cli.machine import available_cores
from ptp_core.errors import PtpError
from ptp_core.progress import Bar

if TYPE_CHECKING:
    from ptp_sim.env import TableEnv

DEMONSTRATION = {"task": "demonstration"}
EPISODE_STEPS = 75  # control steps of a demonstration in the training data
START_PATIENCE = 120.0  # s until every environment must have started


def measure_sim(settings: BenchSettings) -> Figures:
    """Steps with image, their parts, resets by kind, and several environments at once."""
    from ptp_sim.env import make_env

    figures: Figures = {"sim_cores": 1}
    with cores(1):
        env = make_env()
        figures["sim_image_pixels"] = env.observation_space.shape[0]
        try:
            figures |= _steps(env, settings)
            figures |= _parts(env, settings)
            figures |= _resets(env, settings)
        finally:
            env.close()
    return figures | _side_by_side(settings)


def _steps(env: TableEnv, settings: BenchSettings) -> Figures:
    """Median over episodes that the scripted expert plays, first one not counted."""
    episodes, steps = settings.pick(24, 2), settings.pick(EPISODE_STEPS, 5)
    rates = []
    for seed in _bar(range(episodes + 1), "sim: steps"):
        _, info = env.reset(seed=seed, options=DEMONSTRATION)
        began = time.perf_counter()
        for _ in range(steps):
            *_, info = env.step(info["expert_action"])
        rates.append(steps / (time.perf_counter() - began))
    return {"sim_steps_per_s": median(rates[1:]), "sim_steps_per_s_slowest": min(rates[1:])}


def _parts(env: TableEnv, settings: BenchSettings) -> Figures:
    """Physics (with inverse kinematics) and camera of a step, on actions played once before."""
    steps = settings.pick(EPISODE_STEPS, 5)
    physics, render = [], []
    for seed in _bar(range(settings.pick(8, 1)), "sim: parts of a step"):
        _, info = env.reset(seed=seed, options=DEMONSTRATION)
        deltas = []
        for _ in range(steps):
            deltas.append(env.scale.to_delta(info["expert_action"]))
            *_, info = env.apply(deltas[-1])
        env.reset(seed=seed, options=DEMONSTRATION)
        for delta in deltas:
            began = time.perf_counter()
            env.world.step(delta)
            between = time.perf_counter()
            env.world.observe()
            physics.append((between - began) * 1e3)
            render.append((time.perf_counter() - between) * 1e3)
    return {"sim_step_physics_ms": median(physics), "sim_render_ms": median(render)}


def _resets(env: TableEnv, settings: BenchSettings) -> Figures:
    """Median time until the first image, by kind of scene."""
    count, varied_count = settings.pick(12, 1), settings.pick(5, 1)
    tasks = env.tasks
    # The first reset of a task reads its goal images.
    for task in tasks:
        env.reset(seed=0, options={"task": task, "protocol": "paper"})
    plans = {
        "demonstration": [DEMONSTRATION] * (len(tasks) * count),
        "paper": [{"task": task, "protocol": "paper"} for task in tasks] * count,
        "varied": [{"task": task, "protocol": "varied"} for task in tasks] * varied_count,
    }
    times: dict[str, list[float]] = {}
    with _bar(None, "sim: resets", sum(map(len, plans.values()))) as bar:
        for kind, options in plans.items():
            times[kind] = []
            for seed, option in enumerate(options):
                began = time.perf_counter()
                env.reset(seed=seed, options=option)
                times[kind].append((time.perf_counter() - began) * 1e3)
                bar.update()
    return {
        "sim_reset_ms": median(times["demonstration"] + times["paper"]),
        "sim_reset_demonstration_ms": median(times["demonstration"]),
        "sim_reset_paper_ms": median(times["paper"]),
        "sim_reset_varied_ms": median(times["varied"]),
    }


def _side_by_side(settings: BenchSettings) -> Figures:
    """Steps a second of 2, 4, ... environments together, up to one a core; each in its process."""
    most = max(2, settings.pick(available_cores(), 2))
    counts = [2**k for k in range(1, most.bit_length()) if 2**k <= most]
    counts = sorted({*counts, most})
    windows, seconds = settings.pick(3, 1), settings.pick(5.0, 0.2)
    return {
        f"sim_steps_per_s_{num_envs}_envs": median(_together(num_envs, windows, seconds))
        for num_envs in _bar(counts, "sim: environments side by side")
    }


def _together(num_envs: int, windows: int, seconds: float) -> list[float]:
    """Steps a second of all environments in each window of ``seconds``."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(num_envs)
    readers, processes = [], []
    try:
        for index in range(num_envs):
            reader, writer = context.Pipe(duplex=False)
            arguments = (index, windows, seconds, barrier, writer)
            process = context.Process(target=_environment, args=arguments, daemon=True)
            process.start()
            writer.close()
            readers.append(reader)
            processes.append(process)
        rates = [reader.recv() for reader in readers]
    except EOFError:
        raise PtpError("an environment of the benchmark died (out of memory?)") from None
    finally:
        for process in processes:
            process.terminate()
            process.join()
    return [sum(window) for window in zip(*rates)]


def _environment(index: int, windows: int, seconds: float, barrier, writer: Connection) -> None:
    """Play demonstrations; all environments begin each window together."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its environments
    from ptp_sim.env import make_env

    env = make_env()
    seed, rates = 10_000 * index, []
    _play(env, seed, time.perf_counter())
    for _ in range(windows):
        barrier.wait(START_PATIENCE)
        deadline = time.perf_counter() + seconds
        steps, spent = 0, 0.0
        while time.perf_counter() < deadline:
            seed += 1
            done, lasted = _play(env, seed, deadline)
            steps += done
            spent += lasted
        rates.append(steps / spent)
    writer.send(rates)
    env.close()


def _play(env: TableEnv, seed: int, deadline: float) -> tuple[int, float]:
    """One demonstration, cut at the deadline: steps and the seconds that they took."""
    _, info = env.reset(seed=seed, options=DEMONSTRATION)
    steps, began = 0, time.perf_counter()
    while steps < EPISODE_STEPS:
        *_, info = env.step(info["expert_action"])
        steps += 1
        if time.perf_counter() > deadline:
            break
    return steps, time.perf_counter() - began


def _bar(items, name: str, total: int | None = None) -> Bar:
    return Bar(items, desc=name, total=total, leave=False)
