# SPDX-License-Identifier: Apache-2.0
"""Child processes that end with their parent, and pools of worker processes.

A worker first registers the methods and part types that its starter registered.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import functools
import multiprocessing
import multiprocessing.connection
import os
import queue
import signal
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ptp_core.agents.registry import Method, register, registered
from ptp_core.errors import PlanCancelled, PtpError
from ptp_core.training.checkpoint import PartType, register_part, registered_parts

LEASH = "PTP_LEASH"  # environment variable: file descriptor of a pipe that closes with the parent
PR_SET_PDEATHSIG = 1

BEAT = 0.1  # s between checks whether to stop

_own: dict[str, Any] = {}  # in a spawned process: its worker, how to make it, and the stop event


def follow_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Send this process the signal ``number`` when its parent dies, however it dies."""

    def watch() -> None:
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, name="follow_parent", daemon=True).start()


def die_with_parent() -> None:
    """Ask the kernel to end this child when the thread that started it does (Linux).

    For ``preexec_fn``. Grandchildren are not ended.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def on_a_leash(env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Arguments for `subprocess.Popen` of a program that calls `watch_leash`.

    The program is told when this process ends, however it ends, also through wrapper programs
    (`ip netns exec`). ``env``: its environment; None: this one's.
    """
    end = _leash()
    return {"env": {**(os.environ if env is None else env), LEASH: str(end)}, "pass_fds": (end,)}


def watch_leash(on_cut: Callable[[], None]) -> None:
    """Call ``on_cut`` in a thread when the process that started this one has ended.

    Does nothing where this process was started without `on_a_leash`.
    """
    text = os.environ.pop(LEASH, "")  # children of this process do not inherit it
    if not text.isdecimal():
        return
    end = int(text)
    try:
        if not stat.S_ISFIFO(os.fstat(end).st_mode):
            return
        os.set_inheritable(end, False)
    except OSError:
        return

    def watch() -> None:
        with contextlib.suppress(OSError):
            os.read(end, 1)  # no data is ever written: returns when the pipe closes
        on_cut()

    threading.Thread(target=watch, name="leash", daemon=True).start()


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


@functools.cache
def _leash() -> int:
    """Read end of a pipe, for children; the write end stays open while this process lives."""
    end, _ = os.pipe()
    return end


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
