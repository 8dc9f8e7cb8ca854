# SPDX-License-Identifier: Apache-2.0
"""Other libraries beside ours, in turns on the same cores: IQL of d3rlpy."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ptp_cli.bench import peer_worker
from ptp_cli.bench.peer_environment import peer_python
from ptp_cli.bench.settings import BenchSettings, Figures
from ptp_cli.bench.timing import available_cores, cores, median, torch_threads
from ptp_core.config import IQLConfig, VQVAEConfig
from ptp_core.data.metadata import CARTESIAN
from ptp_core.errors import PtpError
from ptp_core.learning.accelerated_iql import (
    accelerated_update,
    multiplies_bfloat16,
    shared_networks,
)
from ptp_core.learning.iql import IQL, Batch
from ptp_core.progress import Bar

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
