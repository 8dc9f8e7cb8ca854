# SPDX-License-Identifier: Apache-2.0
"""Child processes that end with their parent."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import multiprocessing
import multiprocessing.connection
import os
import signal
import stat
import threading
from collections.abc import Callable, Mapping
from typing import Any

LEASH = "PTP_LEASH"  # environment variable: file descriptor of a pipe that closes with the parent
PR_SET_PDEATHSIG = 1


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


@functools.cache
def _leash() -> int:
    """Read end of a pipe, for children; the write end stays open while this process lives."""
    end, _ = os.pipe()
    return end
