# SPDX-License-Identifier: Apache-2.0
"""Test fixture that runs `ptp up` in a process and reads its output."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from ptp_core.processes import on_a_leash

PATIENCE = 60.0  # s; only a failing test waits this long
SILENCE = 60.0  # s until the expected line is printed, on a busy machine


class UpProcess:
    """A `ptp up` in a process of its own, and its output."""

    def __init__(self, *words: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ptp_cli", "up", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **on_a_leash(),
        )
        self.lines: list[str] = []
        self._arrived: list[str] = []
        self._coming: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="up", daemon=True).start()

    def expect(self, text: str, timeout: float = SILENCE) -> str:
        """Read until a line contains ``text``; at most ``timeout`` s."""
        deadline = time.monotonic() + timeout
        while (line := self._line(deadline)) is not None:
            if text in line:
                return line
        raise AssertionError(f'"{text}" was not printed in {timeout:.0f} s:\n{self.text}')

    def end(self) -> int:
        """Exit status, once the process has ended."""
        deadline = time.monotonic() + SILENCE
        while self._line(deadline) is not None:
            pass
        return self.process.wait(PATIENCE)

    def _line(self, deadline: float) -> str | None:
        """The next line; None at the end of the output and of the time."""
        try:
            line = self._coming.get(timeout=max(deadline - time.monotonic(), 0.0))
        except queue.Empty:
            return None
        if line is None:
            self._coming.put(None)  # for a later call
        else:
            self.lines.append(line)
        return line

    def _read(self) -> None:
        for line in self.process.stdout:
            self._arrived.append(line)
            self._coming.put(line)
        self._coming.put(None)

    @property
    def text(self) -> str:
        """The output that was read so far."""
        return "".join(self.lines)

    @property
    def arrived(self) -> str:
        """The output so far, also what was not read yet."""
        return "".join(self._arrived)

    def close(self) -> None:
        """Stop the process if it still runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE)


def nodes_of_this_domain() -> dict[int, str]:
    """Names of the nodes with this test's ROS domain, by process id."""
    mark = f"ROS_DOMAIN_ID={os.environ['ROS_DOMAIN_ID']}".encode()
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            if b"--ros-args" in words and mark in (path / "environ").read_bytes().split(b"\0"):
                found[int(path.name)] = re.search(r"__node:=(\w+)", str(words)).group(1)
        except OSError:
            continue
    return found
