# SPDX-License-Identifier: Apache-2.0
"""Where runs are carried out: one interface, and processes of this machine behind it."""

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

LOG = "practice.log"  # in the run's folder: what its newest process said
PATIENCE = 20.0  # s that a run has to end after it was asked to
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class SweepJob(Protocol):
    """A run that was handed over."""

    def begun(self) -> bool:
        """Whether it has a machine; else it waits for one."""
        ...

    def poll(self) -> int | None:
        """Exit status, None while it runs. Raises InputError when it was lost."""
        ...

    def ask_to_stop(self) -> None:
        """Ask it to end; it stays as it is on the disk, to be gone on with."""
        ...

    def stop(self, deadline: float) -> None:
        """Wait for its end until ``deadline``, in s of the monotonic clock; then end it."""
        ...


class Executor(Protocol):
    """Carries out runs."""

    places: int | None  # runs at once; None: it takes all and queues them itself

    def start(self, run: Run) -> SweepJob:
        """Hand a run over."""
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
        """It begins when it is started."""
        return True

    def poll(self) -> int | None:
        """Exit status, None while it runs."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """As Ctrl-C does."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def stop(self, deadline: float) -> None:
        """Wait for its end, then kill it: practice survives that."""
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
    """Start ``ptp`` with these words; what it says goes to ``log``.

    It ends with this process, and Ctrl-C in the terminal is this process's affair alone.
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
    """End with the parent (Linux), and hear signals: shells and Ray make their children deaf."""
    heard = (signal.SIGINT, signal.SIGTERM)
    for number in heard:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, heard)
    die_with_parent()
