# SPDX-License-Identifier: Apache-2.0
"""Processes that this package starts.

They end with their starter, and workers run jobs in them.
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
from typing import Any, Protocol

import torch

from ptp_core.agents.own_names import OwnNames, known
from ptp_core.errors import PlanCancelled, PtpError

LEASH = "PTP_LEASH"  # number of the file descriptor that ends when the other end is let go
PR_SET_PDEATHSIG = 1


def follow_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Send this process signal ``number`` when its parent dies: nobody else would tell it."""

    def watch() -> None:
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, name="follow_parent", daemon=True).start()


def die_with_parent() -> None:
    """Ask the kernel to end this child when the thread that started it does (Linux).

    For ``preexec_fn``. It tells this one process, not what that one has started.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def on_a_leash(env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Arguments for `subprocess.Popen` of a program that calls `watch_leash`.

    It hears when this process is gone, however it died, also through other programs that run it
    (`ip netns exec`). ``env``: its environment; None: this one's.
    """
    end = _leash()
    return {"env": {**(os.environ if env is None else env), LEASH: str(end)}, "pass_fds": (end,)}


def watch_leash(on_cut: Callable[[], None]) -> None:
    """Call ``on_cut`` in a thread when the process that started this one is gone.

    Nothing is watched where that process has put this one on no leash.
    """
    text = os.environ.pop(LEASH, "")  # no child of this process is held by it
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
            os.read(end, 1)  # nothing is ever written
        on_cut()

    threading.Thread(target=watch, name="leash", daemon=True).start()


@functools.cache
def _leash() -> int:
    """The end that others inherit; the other one stays open for as long as this process lives."""
    end, _ = os.pipe()
    return end


BEAT = 0.1  # s between looks at whether to stop


class Worker(Protocol):
    """What does the jobs: one object a process, made at its first job."""

    def run(self, job: Any, cancelled: Callable[[], bool] | None) -> Any:
        """Do a job. Raises PlanCancelled soon after ``cancelled()`` says so."""

    def close(self) -> None:
        """Free what it holds."""


class Workers:
    """``count`` processes with a worker each; 0: the jobs are done here, when they are asked for.

    ``make()`` gives a worker and must be picklable. Each process has one torch thread, and
    knows the methods that this one has registered.
    """

    def __init__(self, count: int, make: Callable[[], Worker]) -> None:
        self._make = make
        self._here: Worker | None = None
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None
        if count:
            context = multiprocessing.get_context("spawn")
            self._stop = context.Event()
            self._pool = concurrent.futures.ProcessPoolExecutor(
                count, context, initializer=_start, initargs=(make, self._stop, known())
            )

    def start(
        self, jobs: Sequence[Any], cancelled: Callable[[], bool] | None = None
    ) -> Iterator[tuple[Any, Any]]:
        """Begin the jobs; iterate over (job, result) as they finish.

        Raises PlanCancelled when ``cancelled()`` says so, PtpError when a process dies, and what
        a job raises.
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
        """Stop what runs and end the processes."""
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
        # A queue, not concurrent.futures.wait: that holds the locks of all futures for a moment,
        # and Ctrl-C in that moment leaves them held, so that shutting down would wait for ever.
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


def _died() -> PtpError:
    return PtpError("a working process died (out of memory?); repeat the command to go on")


_own: dict[str, Any] = {}  # of a spawned process: how to make its worker, and what stops it


def _start(make: Callable[[], Worker], stop, own: OwnNames) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent asks through the event
    follow_parent()
    own.register()
    torch.set_num_threads(1)
    _own.update(make=make, stop=stop, worker=None)


def _run(job: Any) -> Any:
    if _own["worker"] is None:  # here, not in _start: an error reaches the parent
        _own["worker"] = _own["make"]()
    return _own["worker"].run(job, _own["stop"].is_set)
