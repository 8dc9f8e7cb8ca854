# SPDX-License-Identifier: Apache-2.0
"""Scheduler of a sweep: executes its runs, as many at once as the machine allows."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from ptp_cli.sweep.executors import LOG, PATIENCE, Executor, SweepJob, last_words
from ptp_cli.sweep.sweep_config import SweepRun
from ptp_core.errors import InputError, PtpError
from ptp_core.practice.run_folder import count_epochs, read_metrics, read_run


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation after a number of epochs, with seeds that practice does not use."""

    epoch: int
    successes: int
    episodes: int

    def __str__(self) -> str:
        return f"{self.successes}/{self.episodes} at {self.epoch}"


class RunProgress:
    """Progress of one run, read from its folder. Times are seconds of the caller's clock."""

    def __init__(self, run: SweepRun) -> None:
        self.run = run
        self.epochs = 0  # finished
        self.evaluation: Evaluation | None = None  # the newest
        self._since: tuple[float, int] | None = None  # when it began to run, and from which epoch
        self._newest = 0.0  # when the newest epoch was seen
        self.look(0.0)

    def begin(self, now: float) -> None:
        """The run starts or resumes."""
        self._since = now, self.epochs
        self._newest = now

    def look(self, now: float) -> None:
        """Read what is new. Raises InputError for damaged figures."""
        count = count_epochs(self.run.folder, self.epochs)
        if count == self.epochs:
            return
        metrics = [read_metrics(self.run.folder, number) for number in range(self.epochs, count)]
        for entry in metrics:
            if "evaluation" in entry:
                self.evaluation = _evaluation(entry["evaluation"])
        self.epochs, self._newest = count, now

    def finished(self) -> bool:
        """Whether the run is finished. Raises InputError for a damaged folder."""
        if self.epochs < self.run.epochs:
            return False
        run = read_run(self.run.folder)
        if run.finished and run.evaluations:
            self.evaluation = _evaluation(run.evaluations[-1])
        return run.finished

    @property
    def rate(self) -> float | None:
        """Epochs a second since it began to run; None before the first."""
        if self._since is None or self.epochs == self._since[1] or self._newest <= self._since[0]:
            return None
        return (self.epochs - self._since[1]) / (self._newest - self._since[0])

    def seconds_left(self, now: float) -> float | None:
        """Estimated time until its last epoch is done; None if unknown."""
        if not self.rate or self.epochs >= self.run.epochs:
            return None
        return max(0.0, (self.run.epochs - self.epochs) / self.rate - (now - self._newest))


def _evaluation(entry: dict[str, int]) -> Evaluation:
    return Evaluation(entry["epoch"], entry["successes"], entry["episodes"])


GIB = 2**30


def places(cores: int, memory_gib: float) -> int:
    """Number of runs, with this need of cores and memory, that fit now; at least one."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min((here or 1) // cores, int(free_memory() / GIB / memory_gib)))


def free_memory() -> int:
    """Free memory of this machine or container, in bytes."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            total = min(total, int(line.split()[1]) * 1024)
    limit, used = (_read(f"/sys/fs/cgroup/memory.{name}").strip() for name in ("max", "current"))
    if limit.isdigit() and used.isdigit():
        total = min(total, max(0, int(limit) - int(used)))
    return total


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


LOCK = "sweep.lock"


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder while the block runs. Raises InputError where another sweep does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK, "w")  # noqa: SIM115  closed below
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another ptp sweep works in {folder}") from None
        yield


State = Literal["waiting", "queued", "running", "finished", "failed"]


@dataclass
class SweepRow:
    """A run and its state."""

    run: SweepRun
    state: State = "waiting"
    progress: RunProgress | None = None  # None: its folder is damaged
    why: list[str] = field(default_factory=list)  # of a failure: its last lines


class Display(Protocol):
    """Shows the states of the runs."""

    def show(self, rows: Sequence[SweepRow], now: float) -> None:
        """Time has passed, or a run has begun or ended."""
        ...


def rows_of(runs: Sequence[SweepRun]) -> list[SweepRow]:
    """States of the runs before the sweep starts."""
    rows = []
    for run in runs:
        row = SweepRow(run)
        try:
            row.progress = RunProgress(run)
            if row.progress.finished():
                row.state = "finished"
        except PtpError as error:
            row.state, row.why = "failed", [str(error)]
        rows.append(row)
    return rows


def carry_out(
    rows: Sequence[SweepRow], executor: Executor, display: Display, pause: float = 0.5
) -> list[SweepRow]:
    """Execute the unfinished runs; returns the rows that failed. Other runs continue then.

    ``pause``: s between checks. An exception, such as Ctrl-C, ends all running runs at once. They
    can be resumed.
    """
    waiting = deque(row for row in rows if row.state == "waiting")
    jobs: dict[str, tuple[SweepRow, SweepJob]] = {}
    rest = threading.Event()
    try:
        display.show(rows, time.monotonic())
        while waiting or jobs:
            while waiting and (executor.places is None or len(jobs) < executor.places):
                row = waiting.popleft()
                try:
                    jobs[row.run.name] = row, executor.start(row.run)
                    row.state = "queued"
                except OSError as error:
                    row.state, row.why = "failed", [f"cannot be started: {error}"]
            now = time.monotonic()
            for name, (row, job) in list(jobs.items()):
                if _ended(row, job, now):
                    del jobs[name]
            display.show(rows, now)
            if jobs:
                rest.wait(pause)
    finally:
        for _, job in jobs.values():
            job.ask_to_stop()
        deadline = time.monotonic() + PATIENCE
        for _, job in jobs.values():
            job.stop(deadline)
        executor.close()
    return [row for row in rows if row.state == "failed"]


def _ended(row: SweepRow, job: SweepJob, now: float) -> bool:
    """Update the row of a started run; returns whether the run has ended."""
    try:
        status = job.poll()
        if row.state == "queued" and (status is not None or job.begun()):
            row.state = "running"
            row.progress.begin(now)
        row.progress.look(now)
        if status is None:
            return False
        if status == 0 and row.progress.finished():
            row.state = "finished"
            return True
        row.why = last_words(row.run.folder / LOG)
        row.why.append(_why(status))
    except PtpError as error:
        row.why = [str(error)]
        job.ask_to_stop()
        job.stop(time.monotonic() + PATIENCE)
    row.state = "failed"
    return True


def _why(status: int) -> str:
    if status == 0:
        return "it ended without a result"
    if status == -9:
        return "it was killed (signal 9; out of memory?): repeat the command to go on"
    return f"it was ended by signal {-status}" if status < 0 else f"exit status {status}"
