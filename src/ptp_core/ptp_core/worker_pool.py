# SPDX-License-Identifier: Apache-2.0
"""Pools of worker processes.

A worker first registers the methods and part types that its starter registered.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import queue
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ptp_core.agents.registry import Method, register, registered
from ptp_core.errors import PlanCancelled, PtpError
from ptp_core.processes import follow_parent
from ptp_core.training.checkpoint import PartType, register_part, registered_parts

BEAT = 0.1  # s between checks whether to stop

_own: dict[str, Any] = {}  # in a spawned process: its worker, how to make it, and the stop event


class Worker(Protocol):
    """Runs jobs: one object a process, made at its first job."""

    def run(self, job: Any, cancelled: Callable[[], bool] | None) -> Any:
        """Run a job. Raises PlanCancelled soon after ``cancelled()`` returns true."""

    def close(self) -> None:
        """Free its resources."""


class Workers:
    """Pool of ``count`` processes with a worker each; 0: jobs run in this process, when requested.

    ``make()`` makes a worker and must be picklable. Each process has one torch thread, and the
    methods that this process has registered.
    """

    def __init__(self, count: int, make: Callable[[], Worker]) -> None:
        self._make = make
        self._here: Worker | None = None
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None
        if count:
            context = multiprocessing.get_context("spawn")
            self._stop = context.Event()
            self._pool = concurrent.futures.ProcessPoolExecutor(
                count, context, initializer=_start, initargs=(make, self._stop, _own_names())
            )

    def start(
        self, jobs: Sequence[Any], cancelled: Callable[[], bool] | None = None
    ) -> Iterator[tuple[Any, Any]]:
        """Begin the jobs; iterate over (job, result) as they finish.

        Raises PlanCancelled when ``cancelled()`` returns true, PtpError when a process dies, and
        any error of a job.
        """
        if self._pool is None:
            return self._do_here(jobs, cancelled)
        begun: dict[concurrent.futures.Future, Any] = {}
        done: queue.SimpleQueue[concurrent.futures.Future] = queue.SimpleQueue()
        try:
            for job in jobs:
                future = self._pool.submit(_run, job)
                begun[future] = job
                future.add_done_callback(done.put)
        except BrokenProcessPool:
            raise _died() from None
        return self._results(begun, done, cancelled)

    def close(self) -> None:
        """Stop running jobs and end the processes."""
        if self._pool is not None:
            self._stop.set()
            self._pool.shutdown(wait=True, cancel_futures=True)
        elif self._here is not None:
            self._here.close()
            self._here = None

    def _do_here(self, jobs, cancelled) -> Iterator[tuple[Any, Any]]:
        for job in jobs:
            if self._here is None:
                self._here = self._make()
            yield job, self._here.run(job, cancelled)

    def _results(self, begun, done, cancelled) -> Iterator[tuple[Any, Any]]:
        # A queue, not concurrent.futures.wait, which holds the locks of all futures for a moment.
        # Ctrl-C in that moment would leave them locked, and shutdown would block forever.
        while begun:
            try:
                future = done.get(timeout=BEAT)
            except queue.Empty:
                future = None
            if cancelled is not None and cancelled():
                self._stop.set()
                raise PlanCancelled("cancelled")
            if future is not None:
                try:
                    result = future.result()
                except BrokenProcessPool:
                    raise _died() from None
                yield begun.pop(future), result


@dataclass(frozen=True)
class _OwnNames:
    """What a worker registers first. Can be pickled if the registered functions can."""

    methods: tuple[Method, ...]
    parts: tuple[PartType, ...]

    def register(self) -> None:
        """Register them in this process."""
        for part in self.parts:
            register_part(part)
        for method in self.methods:
            register(method)


def _own_names() -> _OwnNames:
    """Return what this process has registered."""
    return _OwnNames(registered(), registered_parts())


def _died() -> PtpError:
    return PtpError("a working process died (out of memory?); repeat the command to go on")


def _start(make: Callable[[], Worker], stop, own: _OwnNames) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent asks through the event
    follow_parent()
    own.register()
    torch.set_num_threads(1)
    _own.update(make=make, stop=stop, worker=None)


def _run(job: Any) -> Any:
    if _own["worker"] is None:  # here, not in _start, so that an error reaches the parent
        _own["worker"] = _own["make"]()
    return _own["worker"].run(job, _own["stop"].is_set)
