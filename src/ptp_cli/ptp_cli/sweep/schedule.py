# SPDX-License-Identifier: Apache-2.0
"""Carry out the runs of a sweep, and say how they stand."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ptp_cli.sweep.config import Run
from ptp_cli.sweep.executor import LOG, PATIENCE, Executor, Job, last_words
from ptp_cli.sweep.follow import Following
from ptp_core.errors import PtpError

State = Literal["waiting", "queued", "running", "finished", "failed"]


@dataclass
class Row:
    """A run and how it stands."""

    run: Run
    state: State = "waiting"
    following: Following | None = None  # None: its folder is damaged
    why: list[str] = field(default_factory=list)  # of a failure: its last lines


class Display(Protocol):
    """Shows how the runs stand."""

    def show(self, rows: Sequence[Row], now: float) -> None:
        """Time has passed, or a run has begun or ended."""
        ...


def look_at(runs: Sequence[Run]) -> list[Row]:
    """How runs stand before anything is started."""
    rows = []
    for run in runs:
        row = Row(run)
        try:
            row.following = Following(run)
            if row.following.finished():
                row.state = "finished"
        except PtpError as error:
            row.state, row.why = "failed", [str(error)]
        rows.append(row)
    return rows


def carry_out(
    rows: Sequence[Row], executor: Executor, display: Display, pause: float = 0.5
) -> list[Row]:
    """Run what is not finished; the rows that failed. A failure stops no other run.

    ``pause`` is in seconds, between two looks. Whatever ends it, Ctrl-C for one, ends the runs
    that still run: at once, and so that they can be gone on with.
    """
    waiting = deque(row for row in rows if row.state == "waiting")
    jobs: dict[str, tuple[Row, Job]] = {}
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


def _ended(row: Row, job: Job, now: float) -> bool:
    """Look at a run that was handed over; whether it has ended."""
    try:
        status = job.poll()
        if row.state == "queued" and (status is not None or job.begun()):
            row.state = "running"
            row.following.begin(now)
        row.following.look(now)
        if status is None:
            return False
        if status == 0 and row.following.finished():
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
