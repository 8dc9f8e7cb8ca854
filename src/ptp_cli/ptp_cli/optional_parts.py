# SPDX-License-Identifier: Apache-2.0
"""Installed software beside the stack: for export, viewers and sweeps, and LeRobot's plug-ins.

None of it is needed to run a stack, so a part that is absent is no fault; one that is installed
and cannot be used is.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ptp_core.errors import InputError

PATIENCE = 120.0  # s for the answer of another Python
OF_ROS = ("AMENT_PREFIX_PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")
"""Variables of our environment that would lead another Python's rclpy astray."""
LEROBOT = "lerobot"
ROBOT_PLUGIN, ENV_PLUGIN = "lerobot_robot_ptp", "lerobot_env_ptp"


@dataclass(frozen=True)
class OptionalPart:
    """A distribution that some commands need."""

    name: str  # of the distribution
    module: str  # that the commands import
    purpose: str  # what needs it
    cure: str  # the command that installs it


PARTS = (
    OptionalPart("pyarrow", "pyarrow.parquet", "ptp export and import lerobot", "make lerobot"),
    OptionalPart("av", "av", "ptp export and import lerobot, videos", "make lerobot"),
    OptionalPart("foxglove-sdk", "foxglove", "ptp foxglove", "make foxglove"),
    OptionalPart("rerun-sdk", "rerun", "ptp monitor", "make monitor"),
    OptionalPart("ray", "ray", "ptp sweep --ray", "make sweep"),
    OptionalPart("argcomplete", "argcomplete", "ptp completion", "make setup"),
)


@dataclass(frozen=True)
class PartState:
    """A line of `ptp doctor --parts`."""

    name: str
    text: str
    fault: bool = False  # something to mend

    def line(self) -> str:
        """The state in one line, marked with "-" where it is a fault."""
        return f"{'-' if self.fault else ' '} {self.name}: {self.text}"


def part_states() -> list[PartState]:
    """Look at each of PARTS, and at LeRobot, in this Python. Imports what is installed."""
    return [*(_state(part) for part in PARTS), _lerobot_here()]


def _state(part: OptionalPart) -> PartState:
    try:
        version = metadata.version(part.name)
    except metadata.PackageNotFoundError:
        return PartState(part.name, f"not installed; {part.purpose}: {part.cure}")
    try:
        importlib.import_module(part.module)
    except Exception as error:  # of a library for another numpy, it may be any
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        text = f"{version} is installed and cannot be used ({reason}); {part.purpose}: {part.cure}"
        return PartState(part.name, text, fault=True)
    return PartState(part.name, f"{version}; {part.purpose}")


def _lerobot_here() -> PartState:
    try:
        version = metadata.version(LEROBOT)
    except metadata.PackageNotFoundError:
        text = (
            "not in this environment, as it should be; it has one of its own, which "
            "--lerobot PYTHON looks at (plugins/README.md)"
        )
        return PartState(LEROBOT, text)
    text = (
        f"{version} is in this environment, whose torch and numpy it cannot use: pip uninstall "
        "lerobot, and make an environment of its own (plugins/README.md)"
    )
    return PartState(LEROBOT, text, fault=True)


# Runs in the other Python, which has none of our packages.
_LOOK = """
import json, sys
from importlib import import_module, metadata
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
def broken(name):
    try:
        import_module(name)
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
names = sorted({str(d.metadata["Name"]) for d in metadata.distributions()})
found = {
    "python": list(sys.version_info[:2]),
    "names": [name for name in names if name.lower().replace("-", "_").endswith("_ptp")],
    "lerobot": version("lerobot"),
    "broken": {name: broken(name) for name in ("lerobot", "ptp_core", "ptp_sim", "rclpy")},
    "numpy_in_pybullet": None,
}
try:
    import pybullet
    found["numpy_in_pybullet"] = bool(pybullet.isNumpyEnabled())
except ImportError:
    pass
print(json.dumps(found))
"""


def lerobot_states(python: Path) -> list[PartState]:
    """Look at LeRobot and our plug-ins in the environment of another Python.

    Raises InputError where that is none.
    """
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", _LOOK],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env={key: value for key, value in os.environ.items() if key not in OF_ROS},
        )
        found = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(
            f"--lerobot {python}: this Python cannot be asked ({reason}): name the bin/python of "
            "the environment with lerobot"
        ) from error
    return lerobot_lines(found)


def lerobot_lines(found: Mapping[str, Any]) -> list[PartState]:
    """The states for what that Python answered."""
    states = [_lerobot_there(found)]
    for name in (ENV_PLUGIN, ROBOT_PLUGIN):
        states.append(_plugin(name, found["names"]))
    if ENV_PLUGIN in found["names"]:
        states.append(_table(found))
    if ROBOT_PLUGIN in found["names"] and (reason := found["broken"]["rclpy"]):
        cure = f"pip install ./plugins/{ROBOT_PLUGIN}"
        states.append(PartState("rclpy", f"cannot be used ({reason}): {cure}", fault=True))
    return states


def _lerobot_there(found: Mapping[str, Any]) -> PartState:
    major, minor = found["python"]
    if (major, minor) < (3, 12):
        text = f"needs Python 3.12 or newer, this is {major}.{minor}: make another environment"
        return PartState(LEROBOT, text, fault=True)
    version = found["lerobot"]
    cure = 'pip install "lerobot[training,evaluation]==0.6.1"'
    if version is None:
        return PartState(LEROBOT, f"not installed there: {cure}", fault=True)
    if not version.startswith("0.6."):
        text = f"{version}; the plug-ins are for 0.6: {cure}"
        return PartState(LEROBOT, text, fault=True)
    if reason := found["broken"]["lerobot"]:
        text = f"{version} is installed and cannot be used ({reason}): {cure}"
        return PartState(LEROBOT, text, fault=True)
    return PartState(LEROBOT, f"{version} on Python {major}.{minor}")


def _plugin(name: str, names: list[str]) -> PartState:
    """LeRobot imports distributions by their names, letter for letter."""
    cure = f"pip install ./plugins/{name}"
    if name in names:
        return PartState(name, "installed")
    if name.replace("_", "-") in names:
        text = f"installed as {name.replace('_', '-')}, by which LeRobot does not find it: {cure}"
        return PartState(name, text, fault=True)
    return PartState(name, f"not installed; {cure}")


def _table(found: Mapping[str, Any]) -> PartState:
    """Whether the environment plug-in has the simulated table."""
    name, broken = "simulated table", found["broken"]
    if reason := broken["ptp_core"]:
        text = f"{ENV_PLUGIN} needs ptp_core ({reason}): pip install ./src/ptp_core"
        return PartState(name, text, fault=True)
    if broken["ptp_sim"] or found["numpy_in_pybullet"] is None:
        lacking = "ptp_sim" if broken["ptp_sim"] else "PyBullet"
        text = f"{lacking} is not there, other environments work; see plugins/{ENV_PLUGIN}"
        return PartState(name, text)
    if not found["numpy_in_pybullet"]:
        text = (
            "PyBullet was compiled without numpy, so that images pass as tuples: pip install "
            "--force-reinstall --no-cache-dir --no-build-isolation --no-deps pybullet==3.2.7"
        )
        return PartState(name, text, fault=True)
    return PartState(name, "ptp_sim and PyBullet are there")
