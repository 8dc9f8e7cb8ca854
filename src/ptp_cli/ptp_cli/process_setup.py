# SPDX-License-Identifier: Apache-2.0
"""Process set-up of commands: signals, a ROS domain of its own, output of libraries to a file."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from domain_coordinator import domain_id

from ptp_ros.middleware import PEERS, PROFILES, RANGE, limit


def end_by_interrupt(*others: signal.Signals) -> None:
    """Let SIGINT, SIGTERM and ``others`` raise KeyboardInterrupt.

    Needed for SIGINT, too: a shell starts its background jobs with SIGINT ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM, *others):
        signal.signal(number, signal.default_int_handler)


@contextlib.contextmanager
def libraries_into(path: Path) -> Iterator[TextIO]:
    """Redirect the output of C libraries to a file; yields the terminal for our own output.

    OpenCV prints its codecs for every video, between the progress bars.
    """
    sys.stderr.flush()
    terminal = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 2)
    os.close(file)
    try:
        yield terminal
    finally:
        terminal.flush()
        os.dup2(terminal.fileno(), 2)
        terminal.close()


@contextlib.contextmanager
def own_domain() -> Iterator[int]:
    """Set the ROS domain of this run in the environment, so that no other arm gets its commands.

    It is ROS_DOMAIN_ID where set, else one that no other demo or test of this machine uses.
    """
    names = ("ROS_DOMAIN_ID", PEERS, RANGE, PROFILES)
    before = {name: os.environ.get(name) for name in names}
    held = contextlib.ExitStack()
    try:
        # This process needs the same network settings as the nodes.
        os.environ[RANGE] = "LOCALHOST"
        os.environ.pop(PEERS, None)
        limit()
        if before["ROS_DOMAIN_ID"]:
            domain = int(before["ROS_DOMAIN_ID"])
        else:
            domain = held.enter_context(domain_id(lambda: random.randint(1, 100)))
        os.environ["ROS_DOMAIN_ID"] = str(domain)
        yield domain
    finally:
        held.close()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
