# SPDX-License-Identifier: Apache-2.0
"""Executor of a sweep on a Ray cluster, where Ray schedules the runs.

Every machine of the cluster needs this project at the same path. The sweep's folder, the
checkpoint and the demonstrations must be on a shared file system. The sweep reads the progress of
runs there, and Ray resumes a run there when a machine is lost.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import socket
import time
from pathlib import Path

from ptp_cli.sweep.executor import LOG, PATIENCE, ProcessJob, launch
from ptp_cli.sweep.sweep_config import Run, SweepConfig
from ptp_core.errors import InputError

CURE = (
    "Ray is not installed, and --ray needs it (0.3 GB): run `make sweep`, or, without a checkout, "
    "`pip install ray==2.60.0`"
)
GIB = 2**30
LOOPBACK = "127.0.0.1"
STORE = 128 * 2**20  # bytes of Ray's object store on this machine: next to nothing is sent
PAUSE = 0.2  # s
ANSWER = 5.0  # s that a cluster has to answer


def require_ray() -> None:
    """Raise InputError, which says how to get Ray, where it is missing."""
    if importlib.util.find_spec("ray") is None:
        raise InputError(CURE)


class RayExecutor:
    """Hands runs to Ray as tasks that ask for the cores and the memory of ``config``.

    ``address`` as of ray.init: "local" starts a Ray of this machine, "auto" finds one that runs.
    ``places`` bounds the runs at once. Raises InputError where no cluster answers.
    """

    def __init__(self, address: str, config: SweepConfig, places: int | None = None) -> None:
        require_ray()
        _require_answer(address)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would call its makers
        import ray

        self.places = places
        self._ray = ray
        # A Ray takes work from whoever reaches it: one of this machine listens on loopback alone.
        local: dict = {
            "object_store_memory": STORE,
            "include_dashboard": False,
            "_node_ip_address": LOOPBACK,
        }
        if places is not None:
            local["num_cpus"] = places * config.cores
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level="ERROR",
                **(local if address == "local" else {}),
            )
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

    def start(self, run: Run) -> RayJob:
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
