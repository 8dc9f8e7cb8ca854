# SPDX-License-Identifier: Apache-2.0
"""What several stacks share: arguments, nodes, and how text becomes a parameter."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ptp_bringup.shared import released_checkpoint, released_finetuned, shared_root
from ptp_bringup.stack import Argument, From, NodeSpec
from ptp_core.errors import ConfigError
from ptp_description import sawyer_urdf_path

TRUTH = ("true", "false")
RELEASED = "released"
NONE = "none"  # nothing is recorded
LEVELS = ("debug", "info", "warn", "error", "fatal")


def checkpoint_folder(text: str) -> str:
    """Absolute folder of a checkpoint; empty means the released one."""
    return os.path.abspath(text) if text else str(released_checkpoint())


def finetuned_folder(text: str) -> str:
    """Absolute folder of fine-tuned policies; "released" means those of the project."""
    return str(released_finetuned()) if text == RELEASED else absolute(text)


def absolute(text: str) -> str:
    """Absolute path; empty stays empty."""
    return os.path.abspath(text) if text else ""


def recordings(text: str) -> str:
    """Absolute folder that is recorded into. ConfigError for the switch that it was in places."""
    if text in ("true", "false", NONE):
        raise ConfigError(
            f'record is "{text}"; it names the folder that is recorded into: record:=FOLDER'
        )
    return absolute(text)


def recordings_if_any(text: str) -> str:
    """Like `recordings`; "none" is empty."""
    if text in ("true", "false"):
        raise ConfigError(
            f'record is "{text}"; it names the folder that is recorded into: record:=FOLDER, or '
            f"record:={NONE}"
        )
    return "" if text == NONE else absolute(text)


def rviz_config(text: str) -> str:
    """Absolute path of an RViz configuration; empty means the one that comes with the project."""
    return os.path.abspath(text) if text else str(shared_root() / "config" / "rviz" / "ptp.rviz")


def robot_description() -> str:
    """The arm's URDF as text."""
    return Path(sawyer_urdf_path()).read_text(encoding="utf-8")


def device(text: str) -> str:
    """A device number or name stays; a file that exists becomes absolute."""
    return os.path.abspath(text) if os.path.exists(text) else text


def numbers(text: str) -> tuple[int, ...]:
    """Text "3,-4" as (3, -4)."""
    return tuple(int(word) for word in text.split(","))


def terminal() -> str:
    """Path of the terminal that the stack is started in; empty: none."""
    stdin = sys.__stdin__
    return os.ttyname(stdin.fileno()) if stdin is not None and stdin.isatty() else ""


COMMON = (
    Argument("checkpoint", "", "folder of the checkpoint; empty: the released one, in models/"),
    Argument("params_file", "", "YAML with parameters of single nodes, over the stack's own"),
    Argument("log_level", "info", "least severe messages that are shown", LEVELS),
    Argument("use_rviz", "false", "start RViz with the configuration below", TRUTH),
    Argument("rviz_config", "", "RViz configuration; empty: config/rviz/ptp.rviz"),
    Argument("only", "", "nodes to start on this machine, as learner,planner; empty: all"),
    Argument("without", "", "nodes that run on another machine, as learner,planner; empty: none"),
)

NETWORKS = {"checkpoint": From("checkpoint", checkpoint_folder)}
FINETUNED = {"finetuned": From("finetuned", finetuned_folder)}

RVIZ = NodeSpec(
    "rviz2",
    "rviz2",
    "rviz",
    arguments=("-d", From("rviz_config", rviz_config)),
    when="use_rviz",
    essential=False,
)

SIM_CLOCK = {"use_sim_time": From("mode", "lock_step".__eq__)}
