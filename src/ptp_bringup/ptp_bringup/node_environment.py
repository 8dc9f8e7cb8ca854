# SPDX-License-Identifier: Apache-2.0
"""Environment variables of a stack's nodes: log folder, middleware and threads."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ptp_core.errors import ConfigError
from ptp_ros.network_interfaces import PROFILES, RANGE, limit


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
