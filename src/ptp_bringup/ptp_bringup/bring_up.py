# SPDX-License-Identifier: Apache-2.0
"""Launcher of a stack without launch_ros: its programs, and the environment of its nodes."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from ament_index_python.packages import PackageNotFoundError, get_package_prefix

from ptp_bringup.stacks import NodeProcess, Stack, parse
from ptp_bringup.supervisor import Program, Supervisor
from ptp_core.errors import ConfigError
from ptp_ros.middleware import PROFILES, RANGE, limit


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


def dry_run(stack: Stack, words: Sequence[str], out: TextIO = sys.stdout) -> None:
    """Print each process that `bring_up` would start with its parameters; starts nothing.

    "given" marks a parameter that depends on the user's arguments and overrides the params_file.
    Raises ConfigError and CheckpointError as `bring_up` does.
    """
    processes = stack.processes(parse(words))
    installed = {program.name for program in programs(processes, out)}
    started = [process for process in processes if process.node.name in installed]
    for process in started:
        node = process.node
        restarted = ", restarted when it fails" if node.respawn else ""
        print(f"{node.name}: {node.package}/{node.executable}{restarted}", file=out)
        if process.arguments:
            print(f"    arguments: {' '.join(process.arguments)}", file=out)
        for old, new in node.remappings:
            print(f"    {old} is remapped to {new}", file=out)
        for name, value in process.defaults.items():
            print(f"    {name}: {json.dumps(value)}", file=out)
        if process.params_file:
            print(f"    then the parameters of {process.params_file}", file=out)
        for name, value in process.explicit.items():
            print(f"    {name}: {json.dumps(value)} (given)", file=out)
    print(f"{stack.name} would start {len(started)} processes; nothing was started", file=out)


class LogFolder(NamedTuple):
    """Variables for the log folder, and a line that names the folder; both empty by default."""

    variables: dict[str, str]
    line: str


def log_folder(environment: Mapping[str, str]) -> LogFolder:
    """Log folder of nodes in this environment. ROS 2 logs below HOME, and needs a writable folder.

    Empty where HOME is writable or the user has set ROS_LOG_DIR. Otherwise the log folder is one
    of this user below the temporary folder. Raises ConfigError where that cannot be made.
    """
    if environment.get("ROS_LOG_DIR") or environment.get("ROS_HOME"):
        return LogFolder({}, "")
    home = environment.get("HOME")
    if home and _can_be_made(Path(home, ".ros", "log")):
        return LogFolder({}, "")
    why = f"HOME, {home}, cannot be written to" if home else "HOME is not set"
    folder = Path(tempfile.gettempdir(), f"ptp-{os.getuid()}", "ros_log")
    if not _can_be_made(folder):
        raise ConfigError(f"{why}, and neither can {folder}: set ROS_LOG_DIR to a folder for logs")
    line = f"{why}: logs go to {folder}; ROS_LOG_DIR names another folder"
    return LogFolder({"ROS_LOG_DIR": str(folder)}, line)


def _can_be_made(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def middleware_variables(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables of the middleware, where the user's are ``environment`` (os.environ).

    Unless the user has set otherwise, nodes use this machine and the networks of their peers only,
    and Fast DDS announces them often (`config/dds/fastdds.xml`).
    """
    chosen = dict(os.environ if environment is None else environment)
    limit(chosen)
    return {name: chosen[name] for name in (RANGE, PROFILES)}


def node_environment() -> dict[str, str]:
    """All variables of the nodes: those of this process, and the missing ones.

    Raises ConfigError and StorageError.
    """
    env = {**log_folder(os.environ).variables, **os.environ, **middleware_variables()}
    # Nodes set the number of threads of their networks themselves; more threads would compete.
    env.setdefault("OMP_NUM_THREADS", "1")
    env["PYTHONUNBUFFERED"] = "1"
    return env
