# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of training: our stages and replay buffer, and IQL beside that of d3rlpy."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from ptp_cli.bench import peer_worker
from ptp_cli.bench.measuring import (
    BenchSettings,
    Figures,
    cores,
    median,
    milliseconds,
    torch_threads,
)
from ptp_cli.machine import available_cores
from ptp_core.config import IQLConfig, TrainConfig, VQVAEConfig
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.replay_buffer import ReplayBuffer
from ptp_core.data.trajectory import CARTESIAN
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.errors import PtpError
from ptp_core.learning.accelerated_iql import (
    accelerated_update,
    multiplies_bfloat16,
    shared_networks,
)
from ptp_core.learning.iql import IQL, Batch
from ptp_core.progress import Bar
from ptp_core.training.iql_stage import fill_buffer, train_iql
from ptp_core.training.vqvae_stage import train_vqvae

LEARN_THREADS = 1
FRAMES = 76  # of a demonstration
CPU = torch.device("cpu")


def measure_learn(settings: BenchSettings) -> Figures:
    """The training stages themselves, on random data: the work is the same as on real data.

    With the networks of the checkpoint, and with those of the paper.
    """
    checkpoint = settings.load()
    released = _without_auto(checkpoint.config)
    rng = np.random.default_rng(0)
    data = _random_codes(settings.pick(4000, 20), released.vqvae, rng)
    figures: Figures = {"learn_threads": LEARN_THREADS, "learn_frames": len(data.codes)}
    figures |= _replay(fill_buffer(data, released.iql), released.iql.batch_size, settings, rng)
    with torch_threads(LEARN_THREADS), _bar(4) as bar:
        for suffix, config in (("", released), ("_paper_networks", TrainConfig())):
            figures[f"vqvae_images_per_s{suffix}"] = _images(config, settings, rng)
            bar.update()
            vqvae = checkpoint.vqvae
            if config is not released:
                vqvae = VQVAE(config.vqvae).requires_grad_(False)
            figures[f"iql_updates_per_s{suffix}"] = _updates(config, vqvae, data, settings)
            bar.update()
    update_ms = 1e3 / figures["iql_updates_per_s"]
    figures["replay_sample_speedup"] = update_ms / figures["replay_sample_ms"]
    figures["vqvae_batch_size"] = released.vqvae.batch_size
    figures["iql_batch_size"] = released.iql.batch_size
    return figures


def _replay(
    buffer: ReplayBuffer, batch_size: int, settings: BenchSettings, rng: np.random.Generator
) -> Figures:
    times = milliseconds(lambda: buffer.sample(batch_size, rng), settings.pick(300, 5))
    return {
        "replay_sample_ms": median(times),
        "replay_batch_size": batch_size,
        "replay_bytes_per_transition": buffer.bytes_per_transition,
    }


def _images(config: TrainConfig, settings: BenchSettings, rng: np.random.Generator) -> float:
    """Images a second of the encoder's training, with quantisation."""
    vqvae = dataclasses.replace(config.vqvae, quantise_after=0, **_budget(settings))
    config = dataclasses.replace(config, vqvae=vqvae)
    shape = (2 * vqvae.batch_size, vqvae.image_size, vqvae.image_size, 3)
    images = rng.integers(256, size=shape, dtype=np.uint8)
    with _folder() as folder:
        _, result = train_vqvae(
            config, images, folder, validation=images[:8], device=CPU, progress=False
        )
    return vqvae.batch_size * result["steps"] / result["seconds"]


def _updates(
    config: TrainConfig, vqvae: VQVAE, data: EncodedDataset, settings: BenchSettings
) -> float:
    """Gradient steps a second of IQL, drawing batches included."""
    iql = dataclasses.replace(config.iql, **_budget(settings))
    config = dataclasses.replace(config, iql=iql)
    validation, _ = data.split(0.1)
    with _folder() as folder:
        _, result = train_iql(config, vqvae, data, folder, validation=validation, progress=False)
    return result["steps"] / result["seconds"]


def _budget(settings: BenchSettings) -> dict[str, float | int]:
    if settings.quick:
        return {"steps": 2, "max_minutes": 0.0}
    return {"steps": 10**6, "max_minutes": 0.25}


def _without_auto(config: TrainConfig) -> TrainConfig:
    if config.iql.reward_epsilon != "auto":
        return config
    return dataclasses.replace(config, iql=dataclasses.replace(config.iql, reward_epsilon=2.0))


def _random_codes(
    trajectories: int, config: VQVAEConfig, rng: np.random.Generator
) -> EncodedDataset:
    frames = trajectories * FRAMES
    return EncodedDataset(
        codes=rng.integers(
            config.codebook_size, size=(frames, config.latent.codes), dtype=np.uint16
        ),
        actions=rng.uniform(-1, 1, size=(frames, len(CARTESIAN))).astype(np.float32),
        lengths=np.full(trajectories, FRAMES),
        encoder_id="random",
    )


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ptp-bench-") as folder:
        yield Path(folder)


def _bar(total: int) -> Bar:
    return Bar(total=total, desc="learn", unit="training", leave=False)


COMPLETE = "complete"  # file that says that an installation was finished


def cache_folder() -> Path:
    """Where the peers are installed: kept between runs, safe to delete."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "ptp", "bench")


def peer_python(requirement: str, folder: Path | None = None) -> Path:
    """The Python that imports ``requirement`` ("name==version"), installed at the first use.

    It takes torch and numpy from this process's environment, so that both sides run the same.
    Raises PtpError where it cannot be installed.
    """
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    folder = folder or cache_folder() / f"{requirement.replace('==', '-')}-{version}"
    python = folder / "bin" / "python"
    if (folder / COMPLETE).exists() and python.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=False)
    packages = sysconfig.get_path("purelib", vars={"base": str(folder)})
    Path(packages, "ours.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    command += ["--retries", "1", "--timeout", "20", requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise PtpError(f"{requirement} cannot be installed ({last}); it needs the network once")
    (folder / COMPLETE).touch()
    return python


PEER = "d3rlpy==2.8.1"
PEER_THREADS = 2
PEER_BATCH = 256  # transitions
LATENT = VQVAEConfig().latent  # the paper's
ACTIONS = len(CARTESIAN)


def measure_peers(settings: BenchSettings) -> Figures:
    """Updates a second of IQL: d3rlpy's and ours with the paper's networks, and with the released.

    Ours in the digits that ``precision: auto`` takes on this machine, and in float32. Each turn
    times all of them, one after the other; a ratio is the median over turns.
    """
    threads = min(PEER_THREADS, available_cores())
    released = settings.load().config.iql
    python = peer_python(PEER)
    turns, updates = settings.pick(25, 1), settings.pick(5, 1)
    device = torch.device("cpu")
    with (
        cores(threads),
        torch_threads(threads),
        _peer(python, threads) as peer,
        shared_networks(device) as run,
    ):
        calls = {
            "d3rlpy": peer,
            "paper": _ours(IQLConfig(precision="auto"), run),
            "paper_float32": _ours(IQLConfig(precision="float32"), run),
            "released": _ours(dataclasses.replace(released, precision="auto"), run),
        }
        for call in calls.values():
            call(updates)  # what is done once is not timed
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in Bar(range(turns), desc="peers: iql", leave=False):
            for name, call in calls.items():
                seconds[name].append(call(updates))
    rate = {name: updates / median(taken) for name, taken in seconds.items()}

    def ratio(name: str) -> float:
        return median([a / b for a, b in zip(seconds["d3rlpy"], seconds[name])])

    return {
        "peers_threads": threads,
        "peers_iql_batch_size": PEER_BATCH,
        "peers_d3rlpy_version": PEER.partition("==")[2],
        "peers_d3rlpy_iql_updates_per_s": rate["d3rlpy"],
        "peers_iql_updates_per_s_paper_networks": rate["paper"],
        "peers_iql_updates_per_s_paper_networks_float32": rate["paper_float32"],
        "peers_iql_updates_per_s": rate["released"],
        "peers_iql_ratio_paper_networks": ratio("paper"),
        "peers_iql_ratio_paper_networks_float32": ratio("paper_float32"),
        "peers_iql_ratio": ratio("released"),
        "peers_iql_bfloat16": multiplies_bfloat16(device),
    }


def _ours(config: IQLConfig, run: Callable) -> Callable[[int], float]:
    """Seconds of a number of our updates, on a batch in memory as the peer's."""
    torch.manual_seed(0)
    iql = IQL(config, LATENT, ACTIONS)
    state, following, goals = torch.randn(3, PEER_BATCH, LATENT.size)
    actions = torch.rand(PEER_BATCH, ACTIONS) * 2 - 1
    batch = Batch(state, actions, following, goals, -torch.ones(PEER_BATCH))

    def update(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            accelerated_update(iql, batch, run)
        return time.perf_counter() - began

    return update


@contextmanager
def _peer(python: Path, threads: int) -> Iterator[Callable[[int], float]]:
    """Seconds of a number of d3rlpy's updates, in its own process."""
    sizes = (2 * LATENT.size, ACTIONS, PEER_BATCH, threads)
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    env.pop("PYTHONPATH", None)  # the peer's packages come first
    process = subprocess.Popen(
        [python, "-I", peer_worker.__file__, *map(str, sizes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )

    def update(count: int) -> float:
        print(count, file=process.stdin, flush=True)
        for line in process.stdout:
            if line.startswith("seconds "):  # not what the library logs
                return float(line.split()[1])
        last = (process.stderr.read().strip().splitlines() or ["no reason given"])[-1]
        raise PtpError(f"{PEER} stopped: {last}")

    try:
        yield update
    finally:
        process.stdin.close()
        process.terminate()
        process.wait()
