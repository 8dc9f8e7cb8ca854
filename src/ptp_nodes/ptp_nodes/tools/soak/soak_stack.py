# SPDX-License-Identifier: Apache-2.0
"""A stack in processes of its own: its output, its nodes, and their memory."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from ptp_core.processes import on_a_leash

STOPPING = 15.0  # s that a stack may take to stop
NODE = re.compile(rb"__node:=(\w+)")
PAGE = os.sysconf("SC_PAGE_SIZE")


class RunningStack:
    """`ptp up` of a stack, in the ROS domain of this process. Its lines go to ``log`` too.

    It ends with this process, however that ends.
    ``prefix``: a command that runs it somewhere else, such as in another network namespace.
    """

    def __init__(
        self, stack: str, words: Sequence[str], log: Path, prefix: Sequence[str] = ()
    ) -> None:
        self.lines: list[str] = []
        self._log = open(log, "a", encoding="utf-8")  # noqa: SIM115, closed by stop()
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "ptp_cli", "up", stack, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            **on_a_leash(),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def running(self) -> bool:
        """Whether the stack runs."""
        return self._process.poll() is None

    def nodes(self) -> dict[str, int]:
        """Process ids of the nodes by name."""
        mark = f"ROS_DOMAIN_ID={os.environ['ROS_DOMAIN_ID']}".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                match = NODE.search((folder / "cmdline").read_bytes())
                if match and mark in (folder / "environ").read_bytes().split(b"\0"):
                    found[match[1].decode()] = int(folder.name)
        return found

    def send(self, node: str, number: int) -> bool:
        """Send a signal to a node; False where it does not run."""
        pid = self.nodes().get(node)
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            return True
        return False

    def memory(self) -> dict[str, tuple[int, int]]:
        """Process id and resident memory [bytes] of each node."""
        found = {}
        for name, pid in self.nodes().items():
            with contextlib.suppress(OSError, IndexError):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                found[name] = pid, pages * PAGE
        return found

    def said(self, text: str, since: int = 0) -> int:
        """How many lines from number ``since`` on contain ``text``."""
        return sum(text in line for line in self.lines[since:])

    def wait_for(self, text: str, timeout: float, since: int = 0) -> bool:
        """Wait until a line contains ``text``, at most ``timeout`` s."""
        deadline = time.monotonic() + timeout
        while not self.said(text, since):
            if time.monotonic() > deadline or not self.running:
                return bool(self.said(text, since))
            time.sleep(0.05)
        return True

    def stop(self, number: int = signal.SIGINT) -> int:
        """Stop all; the exit status. Whoever was paused is woken up first."""
        for pid in self.nodes().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        if self.running:
            self._process.send_signal(number)
        try:
            status = self._process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            status = self._process.wait()
        self._reader.join(2.0)
        self._log.close()
        return status

    def _read(self) -> None:
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))
            with contextlib.suppress(ValueError):  # closed: it had its time
                self._log.write(line)
                self._log.flush()
