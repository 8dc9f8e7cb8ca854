# SPDX-License-Identifier: Apache-2.0
"""What every process that this package starts needs: it ends with whoever started it."""

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
