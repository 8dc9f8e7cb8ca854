# SPDX-License-Identifier: Apache-2.0
"""Open HDF5 files from elsewhere: another process reads each of them whole first.

A file on which libhdf5 loops or crashes ends that process (`hdf5_check`), and not this one.
"""

from __future__ import annotations

import atexit
import errno
import functools
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import h5py

from ptp_core.data.file_limits import OverBudget
from ptp_core.errors import InputError, PtpError

SECONDS = "PTP_HDF5_SECONDS"  # environment variable: s of CPU time for one piece of a file
DEFAULT_SECONDS = 10  # a piece of a sound file takes less than 0.1 s
IDLE = 10.0  # s after which the process leaves; a start takes 0.3 s

_CHECKED: set[tuple[int, ...]] = set()  # identities of files that passed `check_hdf5`


def open_hdf5(path: Path) -> h5py.File:
    """Open for reading, after `check_hdf5`."""
    check_hdf5(path)
    return h5py.File(path, "r")


def check_hdf5(path: Path) -> None:
    """Have another process read a file whole, unless it did so before.

    Raises OSError where it cannot be opened; ValueError for what leads out of the file, and where
    reading does not end or ends the process; OverBudget for declared sizes.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe may never return
        number = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.ESPIPE
        raise OSError(number, os.strerror(number))
    identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    if identity not in _CHECKED:
        _checker(os.getpid()).check(path, _seconds())
        _CHECKED.add(identity)


class Hdf5Checker:
    """The other process: started when it is needed, it leaves when nothing is asked of it."""

    def __init__(self, idle: float = IDLE) -> None:
        """``idle``: s without a file after which the process leaves."""
        self._idle = idle
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        atexit.register(self.close)

    def check(self, path: Path, seconds: int) -> None:
        """Have ``path`` read whole. Raises what `check_hdf5` does.

        ``seconds``: CPU time for one piece of the file, and so the same on a busy machine.
        """
        request = json.dumps([os.path.abspath(path), seconds])
        with self._lock:
            line = self._ask(request)
            while not line:
                status = self._process.wait()
                self._process = None
                if status:
                    raise _ended(status, seconds)
                line = self._ask(request)  # it had left because nothing was asked
        answer = json.loads(line)
        match answer["error"]:
            case None:
                return
            case "OSError":
                number = answer["errno"]
                raise OSError(*([number] if number else []), answer["text"])
            case kind:
                raise (OverBudget if kind == "OverBudget" else ValueError)(answer["text"])

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _ask(self, request: str) -> str:
        """The answer; "" where the process has ended."""
        if self._process is None:
            self._process = _start(self._idle)
        try:
            print(request, file=self._process.stdin, flush=True)
            return self._process.stdout.readline()
        except BrokenPipeError:
            return ""
        except BaseException:  # Ctrl-C: an answer may still come, to nobody
            self.close()
            raise


@functools.cache
def _checker(process: int) -> Hdf5Checker:
    """The checker of a process, by its number: a fork must not use that of its parent."""
    return Hdf5Checker()


def _start(idle: float) -> subprocess.Popen[str]:
    paths = [path for path in sys.path if isinstance(path, str)]
    code = f"import sys; sys.path[:] = {paths!r}\nfrom ptp_core.data import hdf5_check as check\n"
    return subprocess.Popen(
        [sys.executable, "-c", f"{code}check.serve({idle})"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # libhdf5 writes there, too
        text=True,
        start_new_session=True,  # Ctrl-C is for this process
    )


def _seconds() -> int:
    text = os.environ.get(SECONDS, str(DEFAULT_SECONDS))
    if not text.isdecimal() or not 0 < int(text) < 10**6:
        raise InputError(f"{SECONDS} is {text}: give whole seconds, 1 or more")
    return int(text)


def _ended(status: int, seconds: int) -> Exception:
    if status > 0:
        return PtpError(
            f"the process that reads HDF5 files first failed with status {status}: "
            f"does `{sys.executable} -c 'import h5py'` work?"
        )
    cure = "the file is damaged: get it again from its source"
    if status == -signal.SIGXCPU:
        return ValueError(
            f"reading did not end within {seconds} s of CPU time; {cure}; {SECONDS}="
            f"{6 * seconds} allows more"
        )
    if status == -signal.SIGKILL:
        return ValueError("reading it was killed; memory may be short: close other programs")
    return ValueError(f"reading it crashed libhdf5 ({signal.Signals(-status).name}); {cure}")
