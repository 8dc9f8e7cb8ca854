# SPDX-License-Identifier: Apache-2.0
"""Supervisor of a stack's processes: starts them, prints their output, ends all of them.

It needs no ROS: `ptp up` uses it where launch_ros is not installed.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ptp_core.processes import LEASH, die_with_parent, watch_leash
from ptp_ros.middleware import remove_left_behind

# Signals that end a process, and the time until the next one is sent, s. Together below 5 s.
ENDINGS = ((signal.SIGINT, 3.0), (signal.SIGTERM, 1.0), (signal.SIGKILL, 1.0))
RESPAWN_DELAY = 1.0  # s
MOST_RESPAWNS = 5  # in a row
POLL = 0.2  # s
STEADY = 30.0  # s of running after which the number of respawns is reset
# Error line of a node: severity, time, name, then the text.
ROS_ERROR = re.compile(r"^\[(?:ERROR|FATAL)\] \[[\d.]+\] \[[\w./]+\]: ")


@dataclass(frozen=True)
class Program:
    """One process to run."""

    name: str
    command: Sequence[str]
    essential: bool = True  # all end when it ends; with respawn, only when it exits with 0
    respawn: bool = False  # restarted when it fails


class _Running:
    """A started program."""

    def __init__(self, program: Program, process: subprocess.Popen, respawns: int) -> None:
        self.program = program
        self.process = process
        self.respawns = respawns
        self.began = time.monotonic()
        self._last_line = self._last_error = ""

    def add_line(self, line: str) -> None:
        """Store a line of its output."""
        self._last_line = line or self._last_line
        if ROS_ERROR.match(line):
            self._last_error = ROS_ERROR.sub("", line)

    @property
    def reason(self) -> str:
        """Probable reason of its death: the last error line, else the last line."""
        return self._last_error or self._last_line


class Supervisor:
    """Runs programs until an essential one ends, or the user stops them.

    Each program has a process group of its own. Its lines are printed after its name.
    """

    def __init__(
        self, programs: Sequence[Program], env: dict[str, str], out: TextIO = sys.stdout
    ) -> None:
        self._programs = list(programs)
        self._env = {name: value for name, value in env.items() if name != LEASH}
        self._out = out
        self._events: queue.SimpleQueue = queue.SimpleQueue()
        self._running: list[_Running] = []
        self._readers: list[threading.Thread] = []
        self._width = max(len(program.name) for program in programs)
        self._failure = ""  # why everything ended, if it failed
        self._dead: _Running | None = None  # the program whose death ended everything

    def run(self) -> int:
        """Run until the end; returns the exit status of the essential program that ended.

        The status is 130 after Ctrl-C and 143 after SIGTERM. It is 143, too, when the parent
        process has died and this one is on a leash (`ptp_core.processes`). Call it in the main
        thread.
        """
        caught = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self._signalled) for number in caught}
        watch_leash(lambda: self._events.put(("signal", signal.SIGTERM, 0)))
        try:
            for program in self._programs:
                self._start(program)
            return self._wait()
        finally:
            self._stop()
            self._print_failure()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _signalled(self, number: int, frame) -> None:
        self._events.put(("signal", number, 0))

    def _start(self, program: Program, respawns: int = 0) -> None:
        try:
            process = subprocess.Popen(
                list(program.command),
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                bufsize=1,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            self._say(f"{program.name} could not be started: {error}")
            self._events.put(("end", _Running(program, None, respawns), 127))
            return
        running = _Running(program, process, respawns)
        self._running.append(running)
        for work in (self._read, self._watch):
            thread = threading.Thread(target=work, args=(running,), daemon=True)
            thread.start()
            if work == self._read:
                self._readers.append(thread)

    def _read(self, running: _Running) -> None:
        name = running.program.name.ljust(self._width)
        for line in running.process.stdout:
            running.add_line(line.strip())
            self._print(f"{name} | {line.rstrip()}")

    def _watch(self, running: _Running) -> None:
        self._events.put(("end", running, running.process.wait()))

    def _wait(self) -> int:
        due: list[tuple[float, Program, int]] = []  # programs to start again
        while True:
            # With a time limit, because a signal just before the wait does not end the wait.
            patience = min(POLL, max(0.0, due[0][0] - time.monotonic())) if due else POLL
            try:
                kind, subject, status = self._events.get(timeout=patience)
            except queue.Empty:
                if due and due[0][0] <= time.monotonic():
                    _, program, respawns = due.pop(0)
                    self._start(program, respawns + 1)
                continue
            if kind == "signal":
                name = signal.Signals(subject).name
                self._say(f"{name}: stopping")
                self._failure = f"{name}: everything has stopped"
                return 128 + subject
            program = subject.program
            self._end_group(subject)
            if program.essential and status == 0:
                self._say(f"{program.name} has finished; stopping the others")
                return 0
            restart = program.respawn and status != 0
            respawns = subject.respawns if time.monotonic() - subject.began < STEADY else 0
            if program.essential and not (restart and respawns < MOST_RESPAWNS):
                self._failure = f"{program.name} died ({describe(status)})"
                self._dead = subject if status > 0 else None  # a killed one printed no reason
                self._say(f"{self._failure}; stopping the others")
                return status if status > 0 else 128 - status
            if not restart:
                self._say(f"{program.name} ended ({describe(status)})")
            elif respawns < MOST_RESPAWNS:
                self._say(f"{program.name} died ({describe(status)}); starting it again")
                due.append((time.monotonic() + RESPAWN_DELAY, program, respawns))
            else:
                self._say(f"{program.name} died ({describe(status)}) and keeps dying; left alone")

    def _end_group(self, running: _Running) -> None:
        """Kill the remaining processes in the group of an ended program."""
        if running in self._running:
            self._running.remove(running)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(running.process.pid, signal.SIGKILL)

    def _stop(self) -> None:
        left = list(self._running)
        for number, patience in ENDINGS:
            left = [running for running in left if running.process.poll() is None]
            if not left:
                break
            if number != signal.SIGINT:
                names = ", ".join(running.program.name for running in left)
                self._say(f"{names}: not stopped yet, sending {number.name}")
            for running in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    # A Python process that still imports would print a traceback at SIGINT.
                    begun = has_begun(running.process.pid)
                    os.killpg(running.process.pid, number if begun else signal.SIGTERM)
            deadline = time.monotonic() + patience
            for running in left:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.process.wait(max(0.0, deadline - time.monotonic()))
        for running in list(self._running):
            self._end_group(running)
        for reader in self._readers:
            reader.join(0.5)
        remove_left_behind()  # shared memory that killed nodes left

    def _print_failure(self) -> None:
        """Print once more, as the last line, why everything ended."""
        reason = self._dead.reason if self._dead else ""
        if self._failure:
            self._say(f"{self._failure}: {reason}" if reason else self._failure)

    def _say(self, text: str) -> None:
        self._print(f"{'ptp'.ljust(self._width)} | {text}")

    def _print(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the reader of the output is gone
            print(line, file=self._out, flush=True)


def has_begun(pid: int) -> bool:
    """Whether a process handles SIGTERM already, as every started node does.

    Before that it has nothing to close, and SIGTERM ends it at once without output. True where
    the system does not tell.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    masks = re.findall(r"^Sig(?:Blk|Cgt):\s*([0-9a-f]+)", status, re.MULTILINE)
    bit = 1 << (signal.SIGTERM - 1)
    return not masks or any(int(mask, 16) & bit for mask in masks)


def describe(status: int) -> str:
    """Text for an exit status."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
