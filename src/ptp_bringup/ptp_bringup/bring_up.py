# SPDX-License-Identifier: Apache-2.0
"""Launcher of a stack without launch_ros: the same nodes with the same parameters."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from ament_index_python.packages import PackageNotFoundError, get_package_prefix

from ptp_bringup.node_environment import log_folder, node_environment
from ptp_bringup.stacks import NodeProcess, Stack, parse
from ptp_bringup.supervisor import Program, Supervisor
from ptp_core.errors import ConfigError


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


def programs(processes: Sequence[NodeProcess], out: TextIO) -> list[Program]:
    """Programs of the nodes. For an optional node that is not installed it prints a line."""
    found = []
    for process in processes:
        node = process.node
        try:
            command = executable(node.package, node.executable)
        except ConfigError as error:
            if not node.optional:
                raise
            print(f"{node.name} is left out: {error}", file=out, flush=True)
            continue
        command += process.command_line()
        found.append(Program(node.name, command, node.essential, node.respawn))
    return found


def bring_up(stack: Stack, words: Sequence[str], out: TextIO = sys.stdout) -> int:
    """Run a stack until it ends; returns the exit status.

    Raises ConfigError and CheckpointError before anything is started.
    """
    processes = stack.processes(parse(words))
    if line := log_folder(os.environ).line:
        print(line, file=out, flush=True)
    return Supervisor(programs(processes, out), node_environment(), out).run()
