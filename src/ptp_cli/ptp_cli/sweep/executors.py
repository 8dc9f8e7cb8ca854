# SPDX-License-Identifier: Apache-2.0
"""Executors of a sweep's runs: processes of this machine, or tasks on a Ray cluster."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ptp_cli.sweep.sweep_config import SweepConfig, SweepRun
from ptp_core.errors import InputError
from ptp_core.processes import die_with_parent

LOG = "practice.log"  # in the run's folder: output of its newest process
PATIENCE = 20.0  # s in which a run must end after the request to stop
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class SweepJob(Protocol):
    """A run that an executor was given."""

    def begun(self) -> bool:
        """Whether it has started; else it waits for a machine."""
        ...

    def poll(self) -> int | None:
        """Exit status, None while it runs. Raises InputError when it was lost."""
        ...

    def ask_to_stop(self) -> None:
        """Request its end; it can be resumed from its folder later."""
        ...

    def stop(self, deadline: float) -> None:
        """Wait for its end until ``deadline``, in s of the monotonic clock; then end it."""
        ...


class Executor(Protocol):
    """Executes runs."""

    places: int | None  # runs at once; None: it takes all and queues them itself

    def start(self, run: SweepRun) -> SweepJob:
        """Start or queue a run."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class Processes:
    """Runs as processes of this machine, ``places`` at a time with ``threads`` threads each."""

    def __init__(self, places: int, threads: int) -> None:
        self.places: int | None = places
        self._threads = threads

    def start(self, run: SweepRun) -> ProcessJob:
        """Start a run."""
        return ProcessJob(launch(run.words, run.folder / LOG, self._threads))

    def close(self) -> None:
        """Nothing is held."""


class ProcessJob:
    """A run as a process."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process

    def begun(self) -> bool:
        """Always True: a process starts at once."""
        return True

    def poll(self) -> int | None:
        """Exit status, None while it runs."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """Send SIGINT, as Ctrl-C does."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def stop(self, deadline: float) -> None:
        """Wait for its end, then kill it; practice can resume after that."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def launch(
    words: Sequence[str],
    log: Path,
    threads: int,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen:
    """Start ``ptp`` with these arguments; its output goes to ``log``.

    The process ends when this one ends. Only this process gets Ctrl-C of the terminal.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "ptp_cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**(os.environ if env is None else env), **dict.fromkeys(POOLS, str(threads))},
            start_new_session=True,
            preexec_fn=_as_a_child,
        )


def last_words(log: Path, lines: int = 5) -> list[str]:
    """The last lines of a run's log, without progress bars."""
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 16_384))
        text = file.read().decode(errors="replace")
        found = [line.strip() for line in re.split(r"[\r\n]+", text)]
        return [line for line in found if line and "%|" not in line][-lines:]
    return []


def _as_a_child() -> None:
    """End with the parent (Linux), and unblock signals, which shells and Ray block."""
    heard = (signal.SIGINT, signal.SIGTERM)
    for number in heard:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, heard)
    die_with_parent()


CURE = (
    "Ray is not installed, and --ray needs it (0.3 GB): run `make sweep`, or, without a checkout, "
    "`pip install ray==2.60.0`"
)
GIB = 2**30
LOOPBACK = "127.0.0.1"
# Where it is 0, Ray makes no cluster of several machines. Otherwise it replaces a loopback address
# by one that others reach (`resolve_ip_for_localhost`): its servers listen on every interface.
ONE_MACHINE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
STORE = 128 * 2**20  # bytes of Ray's object store on this machine: next to nothing is sent
PAUSE = 0.2  # s
ANSWER = 5.0  # s that a cluster has to answer


def require_ray() -> None:
    """Raise InputError, which says how to get Ray, where it is missing."""
    if importlib.util.find_spec("ray") is None:
        raise InputError(CURE)


def init_arguments(address: str, config: SweepConfig, places: int | None) -> dict[str, Any]:
    """Arguments of ray.init.

    A Ray takes work from whoever reaches it. One of this machine listens on loopback alone, with
    `ONE_MACHINE` besides.
    """
    arguments: dict[str, Any] = {
        "address": address,
        "log_to_driver": False,
        "logging_level": "ERROR",
    }
    if address == "local":
        arguments |= {
            "object_store_memory": STORE,
            "include_dashboard": False,
            "_node_ip_address": LOOPBACK,
        }
        if places is not None:
            arguments["num_cpus"] = places * config.cores
    return arguments


class RayExecutor:
    """Hands runs to Ray as tasks that ask for the cores and the memory of ``config``.

    Every machine of the cluster needs this project at the same path. The sweep's folder, the
    checkpoint and the demonstrations must be on a shared file system. The sweep reads the progress
    of runs there, and Ray resumes a run there when a machine is lost.

    ``address`` as of ray.init: "local" starts a Ray of this machine, "auto" finds one that runs.
    ``places`` bounds the runs at once. Raises InputError where no cluster answers.
    """

    def __init__(self, address: str, config: SweepConfig, places: int | None = None) -> None:
        require_ray()
        _require_answer(address)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would call its makers
        if address == "local":
            os.environ[ONE_MACHINE] = "0"  # Ray reads it as it is imported
        import ray

        self.places = places
        self._ray = ray
        try:
            ray.init(**init_arguments(address, config, places))
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"--ray {address}: no cluster answers ({reason}); one that wants a token gets it "
                "from RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
            ) from error
        # Ray runs a task again whose machine or worker was lost.
        self._practise = ray.remote(_practise).options(
            num_cpus=config.cores, memory=int(config.memory_gib * GIB), max_retries=3
        )
        self._threads = config.threads

    def start(self, run: SweepRun) -> RayJob:
        """Queue a run."""
        log = (run.folder / LOG).absolute()
        with contextlib.suppress(FileNotFoundError):
            log.unlink()  # it is made anew when the run begins
        task = self._practise.remote(run.words, str(log), self._threads, os.getcwd())
        return RayJob(self._ray, task, log)

    def close(self) -> None:
        """Leave the cluster, or end the one of this machine."""
        self._ray.shutdown()


class RayJob:
    """A run as a task of Ray."""

    def __init__(self, ray, task, log: Path) -> None:
        self._ray = ray
        self._task = task
        self._log = log

    def begun(self) -> bool:
        """Whether some machine has begun its log."""
        return self._log.exists()

    def poll(self) -> int | None:
        """Exit status, None while it runs or waits. Raises InputError when it was lost."""
        done, _ = self._ray.wait([self._task], timeout=0)
        if not done:
            return None
        try:
            return self._ray.get(self._task)
        except self._ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise InputError(f"lost by Ray: {lines[-1]}") from error

    def ask_to_stop(self) -> None:
        """Have Ray interrupt it, or take it out of the queue."""
        self._ray.cancel(self._task)

    def stop(self, deadline: float) -> None:
        """Wait for its end; then have Ray kill it."""
        left = max(0.0, deadline - time.monotonic())
        done, _ = self._ray.wait([self._task], timeout=left)
        if not done:
            self._ray.cancel(self._task, force=True)


def _require_answer(address: str) -> None:
    """Raise InputError where nobody listens at HOST:PORT: Ray itself would try for minutes."""
    if not (found := re.fullmatch(r"(?:ray://)?([^/]+):(\d+)", address)):
        return
    try:
        with socket.create_connection((found[1], int(found[2])), ANSWER):
            pass
    except (OSError, OverflowError) as error:
        raise InputError(f"--ray {address}: nobody listens there ({error})") from error


def _practise(words: tuple[str, ...], log: str, threads: int, cwd: str) -> int:
    """Practise on a machine of the cluster; the exit status. Ray interrupts it to cancel it."""
    job = ProcessJob(launch(words, Path(log), threads, cwd))
    try:
        while (status := job.poll()) is None:
            time.sleep(PAUSE)  # short: an interruption is heard between two
        return status
    finally:
        job.ask_to_stop()
        job.stop(time.monotonic() + PATIENCE / 2)
