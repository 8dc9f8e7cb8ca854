# SPDX-License-Identifier: Apache-2.0
"""Executor interface for runs of a sweep, and the executor with local processes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ptp_cli.sweep.sweep_config import Run
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

    def start(self, run: Run) -> SweepJob:
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

    def start(self, run: Run) -> ProcessJob:
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
