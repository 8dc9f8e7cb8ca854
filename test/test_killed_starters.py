# SPDX-License-Identifier: Apache-2.0
"""Whoever starts a stack takes it along when it dies, however it dies."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ptp_bringup.two_hosts import Cable, NoNamespacesError

PATIENCE = 60.0  # s; only a failing test waits this long
# Words of `ptp` and a node that it starts. {out}: a folder, {checkpoint}: that of tiny networks.
STARTERS = {
    "up": ("up practice checkpoint:={checkpoint} output:={out} view:=false", "learner"),
    "soak": ("soak --checkpoint {checkpoint} --out {out} --minutes 5", "learner"),
    "demo": ("demo --checkpoint {checkpoint} --out {out} --planner checkpoint", "policy"),
    "demo-teleop": ("demo-teleop --out {out}", "sim_bridge"),
    "bench": (
        "bench --only control --quick --checkpoint {checkpoint} --out {out}.json",
        "policy",
    ),
    "two-machines": ("two-machines --checkpoint {checkpoint} --out {out}", "learner"),
}

pytestmark = [pytest.mark.timeout(300), pytest.mark.process]


def nodes(mark):
    """Nodes by process id, and their names, of those whose environment has ``mark``."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"--ros-args" in words and mark.encode() in (folder / "environ").read_bytes().split(
                b"\0"
            ):
                names = [w.decode().removeprefix("__node:=") for w in words if b"__node:=" in w]
                found[int(folder.name)] = "".join(names)
    return found


@pytest.mark.parametrize("name", STARTERS)
def test_a_starter_that_is_killed_takes_its_stack_along(name, checkpoint, tmp_path):
    if name == "two-machines":
        try:
            with Cable():
                pass
        except NoNamespacesError as error:
            pytest.skip(str(error))
    words, node = STARTERS[name]
    words = words.format(out=tmp_path / "out", checkpoint=checkpoint).split()
    mark = f"STARTED_FOR={tmp_path}"
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ptp_cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(os.environ, STARTED_FOR=str(tmp_path)),
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while node not in nodes(mark).values():
            said = (tmp_path / "log").read_text()
            assert process.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.02)
        started = nodes(mark)
        watches = [os.pidfd_open(pid) for pid in started]
        assert watches
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for watch in watches:
        ended, _, _ = select.select([watch], [], [], PATIENCE)
        os.close(watch)
        assert ended
    deadline = time.monotonic() + PATIENCE
    while left := nodes(mark):  # also of those that were about to start
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
