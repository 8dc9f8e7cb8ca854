# SPDX-License-Identifier: Apache-2.0
"""Start a stack without launch_ros: the same nodes with the same parameters."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from ament_index_python.packages import PackageNotFoundError, get_package_prefix

from ptp_bringup.log_folder import log_folder
from ptp_bringup.middleware import variables
from ptp_bringup.stack import Process, Stack
from ptp_bringup.supervisor import Program, Supervisor
from ptp_core.errors import ConfigError


def parse(words: Sequence[str]) -> dict[str, str]:
    """``name:=value`` words as a dict. Raises ConfigError for a word of another form."""
    given = {}
    for word in words:
        name, assigned, value = word.partition(":=")
        if not assigned or not name:
            raise ConfigError(f'"{word}" is no argument; write name:=value')
        given[name] = value
    return given


def executable(package: str, name: str) -> list[str]:
    """Command of a node. Raises ConfigError where it is not installed."""
    try:
        path = Path(get_package_prefix(package)) / "lib" / package / name
    except PackageNotFoundError:
        raise ConfigError(
            f"the package {package} is not installed, or its workspace is not sourced"
        ) from None
    if not path.is_file():
        raise ConfigError(f"{path} is missing: build the workspace again")
    with open(path, "rb") as file:
        first = file.readline()
    if first.startswith(b"#!") and b"python" in first:
        return [sys.executable, str(path)]  # the interpreter of this environment
    return [str(path)]


def programs(processes: Sequence[Process], out: TextIO) -> list[Program]:
    """What to run. Optional nodes that are not installed are left out with a line."""
    found = []
    for process in processes:
        spec = process.spec
        try:
            command = executable(spec.package, spec.executable)
        except ConfigError as error:
            if not spec.optional:
                raise
            print(f"{spec.name} is left out: {error}", file=out, flush=True)
            continue
        command += process.command_line()
        found.append(Program(spec.name, command, spec.essential, spec.respawn))
    return found


def environment() -> dict[str, str]:
    """Environment of the nodes: this one, kept on this machine unless the user says otherwise."""
    env = {**log_folder(os.environ).variables, **os.environ, **variables()}
    # Nodes say themselves how many threads their networks use; other pools would only compete.
    env.setdefault("OMP_NUM_THREADS", "1")
    env["PYTHONUNBUFFERED"] = "1"
    return env


def bring_up(stack: Stack, words: Sequence[str], out: TextIO = sys.stdout) -> int:
    """Run a stack until it ends; the exit status. Raises ConfigError and CheckpointError."""
    processes = stack.processes(parse(words))
    if line := log_folder(os.environ).line:
        print(line, file=out, flush=True)
    return Supervisor(programs(processes, out), environment(), out).run()
