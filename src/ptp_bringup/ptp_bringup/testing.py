# SPDX-License-Identifier: Apache-2.0
"""A stack in processes of its own, for tests: what it prints, and what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

PATIENCE = 20.0  # s; only a failing test waits this long


class Up:
    """A `ptp up` in a process of its own, and what it prints."""

    def __init__(self, *words: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ptp_cli", "up", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ,
        )
        self.lines: list[str] = []

    def expect(self, text: str) -> str:
        """Read until a line contains ``text``."""
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f'"{text}" was not printed:\n{"".join(self.lines)}')

    def end(self) -> int:
        """Exit status, once the process has ended."""
        self.lines += self.process.stdout.readlines()
        return self.process.wait(PATIENCE)

    @property
    def text(self) -> str:
        """Everything that was read so far."""
        return "".join(self.lines)

    def close(self) -> None:
        """Stop it where it still runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE)


def nodes_of_this_domain() -> dict[int, str]:
    """Nodes that a test started, by process id: they share its ROS domain."""
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
