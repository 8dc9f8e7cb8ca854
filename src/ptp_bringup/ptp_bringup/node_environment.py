# SPDX-License-Identifier: Apache-2.0
"""Environment of a stack's nodes: where they log, how they find each other, how they compute."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ptp_core.errors import ConfigError
from ptp_ros.network_interfaces import PROFILES, RANGE, limit


class LogFolder(NamedTuple):
    """Variables that nodes need to log, and a line that says where to; both empty by default."""

    variables: dict[str, str]
    line: str


def log_folder(environment: Mapping[str, str]) -> LogFolder:
    """What nodes in this environment need to log. ROS 2 logs below HOME; no node starts otherwise.

    Nothing where HOME is a folder that can be written to, or the user names another one. Else a
    folder of this user's below the temporary folder. Raises ConfigError where that cannot be made.
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

    Nodes stay on this machine and the networks of their peers, and Fast DDS announces them often
    (`config/dds/fastdds.xml`), unless the user has set otherwise.
    """
    chosen = dict(os.environ if environment is None else environment)
    limit(chosen)
    return {name: chosen[name] for name in (RANGE, PROFILES)}


def node_environment() -> dict[str, str]:
    """Every variable of the nodes: this process's own, and what is missing there.

    Raises ConfigError and StorageError.
    """
    env = {**log_folder(os.environ).variables, **os.environ, **middleware_variables()}
    # Nodes say themselves how many threads their networks use; other pools would only compete.
    env.setdefault("OMP_NUM_THREADS", "1")
    env["PYTHONUNBUFFERED"] = "1"
    return env
