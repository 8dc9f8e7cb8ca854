# SPDX-License-Identifier: Apache-2.0
"""Benchmark against other libraries on the same cores: IQL of d3rlpy.

The peer library is installed in a Python environment of its own.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ptp_cli.bench import peer_worker
from ptp_cli.bench.measuring import (
    BenchSettings,
    Figures,
    available_cores,
    cores,
    median,
    torch_threads,
)
from ptp_core.config import IQLConfig, VQVAEConfig
from ptp_core.data.trajectory import CARTESIAN
from ptp_core.errors import PtpError
from ptp_core.learning.accelerated_iql import (
    accelerated_update,
    multiplies_bfloat16,
    shared_networks,
)
from ptp_core.learning.iql import IQL, Batch
from ptp_core.progress import Bar

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
THREADS = 2
BATCH = 256  # transitions
LATENT = VQVAEConfig().latent  # the paper's
ACTIONS = len(CARTESIAN)


def measure(settings: BenchSettings) -> Figures:
    """Updates a second of IQL: d3rlpy's and ours with the paper's networks, and with the released.

    Ours in the digits that ``precision: auto`` takes on this machine, and in float32. Each turn
    times all of them, one after the other; a ratio is the median over turns.
    """
    threads = min(THREADS, available_cores())
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
        "peers_iql_batch_size": BATCH,
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
    state, following, goals = torch.randn(3, BATCH, LATENT.size)
    actions = torch.rand(BATCH, ACTIONS) * 2 - 1
    batch = Batch(state, actions, following, goals, -torch.ones(BATCH))

    def update(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            accelerated_update(iql, batch, run)
        return time.perf_counter() - began

    return update


@contextmanager
def _peer(python: Path, threads: int) -> Iterator[Callable[[int], float]]:
    """Seconds of a number of d3rlpy's updates, in its own process."""
    sizes = (2 * LATENT.size, ACTIONS, BATCH, threads)
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
