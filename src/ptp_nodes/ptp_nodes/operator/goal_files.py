# SPDX-License-Identifier: Apache-2.0
"""Goal files: NAME.npz with the goal image of the policy, and NAME.png for display."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ptp_core.data.array_limits import DAMAGED, open_npz
from ptp_core.data.file_limits import parse_json
from ptp_core.data.files import write_atomically
from ptp_core.errors import InputError, quoted
from ptp_ros.image_messages import read_image

FOLDER = "goals"  # below the folder in which a command is started
VERSION = 1
ENLARGED = 8  # the preview's pixels a side for each of the goal's; its blocks average to the goal
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class GoalFile:
    """A goal: image of the wanted state of the table."""

    image: np.ndarray  # RGB uint8 (S, S, 3), as the policy sees it
    camera_image: np.ndarray | None = None  # the whole one, RGB uint8 (H, W, 3)
    facts: dict[str, Any] = field(default_factory=dict)  # plain values: when, observation, note

    def __post_init__(self) -> None:
        image = self.image
        square = image.ndim == 3 and image.shape == (len(image), len(image), 3) and image.size
        if image.dtype != np.uint8 or not square:
            raise InputError(
                f"a goal is square, uint8 (S, S, 3) RGB, not {image.dtype} {image.shape}"
            )

    @property
    def note(self) -> str:
        """The operator's note, such as the start of the scene."""
        return str(self.facts.get("note", ""))


def goal_path(folder: str | Path, name: str) -> Path:
    """Where the goal of that name is. Raises InputError for a name that cannot be a file's."""
    if not _NAME.fullmatch(name):
        raise InputError(f"{quoted(name)} cannot name a goal: use letters, digits, _ and -")
    return Path(folder) / f"{name}.npz"


def save_goal(folder: str | Path, name: str, goal: GoalFile, replace: bool = False) -> Path:
    """Write a goal and its preview; the path of the goal. Raises InputError."""
    path = goal_path(folder, name)
    if path.exists() and not replace:
        raise InputError(f"{path} exists: choose another name, or replace it with --replace")
    arrays = {"version": np.array(VERSION), "image": goal.image}
    arrays["facts"] = np.array(json.dumps(goal.facts))
    if goal.camera_image is not None:
        arrays["picture"] = goal.camera_image

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            np.savez_compressed(file, **arrays)

    preview = np.kron(goal.image, np.ones((ENLARGED, ENLARGED, 1), np.uint8))
    png = cv2.imencode(".png", preview[:, :, ::-1])[1].tobytes()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, write)
        write_atomically(path.with_suffix(".png"), lambda partial: partial.write_bytes(png))
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror})") from error
    return path


def load_goal(path: str | Path) -> GoalFile:
    """Read a goal. Raises InputError that names what is wrong with the file."""
    path = Path(path)
    try:
        with open_npz(path) as data:
            if int(data["version"]) != VERSION:
                raise InputError(
                    f"it is a goal of version {int(data['version'])}, this program reads version "
                    f"{VERSION}; take it anew with ptp goal capture"
                )
            whole = data["picture"] if "picture" in data.files else None
            return GoalFile(data["image"], whole, _facts(str(data["facts"])))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except FileNotFoundError:
        raise InputError(
            f"there is no goal {path}: take it with ptp goal capture {path.stem}"
        ) from None
    except (*DAMAGED, TypeError) as error:
        raise InputError(f"{path} cannot be read as a goal ({error})") from error


def _facts(text: str) -> dict[str, Any]:
    facts = parse_json(text)
    if not isinstance(facts, dict):
        raise ValueError("its facts are no names with values")
    return facts


def find_goal(folder: str | Path, text: str) -> GoalFile:
    """The goal of that name in ``folder``, or of that path. Raises InputError."""
    if text.endswith(".npz"):
        return load_goal(text)
    return load_goal(goal_path(folder, text))


def list_goals(folder: str | Path) -> dict[str, GoalFile | InputError]:
    """Every goal by name; where one cannot be read, why."""
    found: dict[str, GoalFile | InputError] = {}
    for path in sorted(Path(folder).glob("*.npz")):
        try:
            found[path.stem] = load_goal(path)
        except InputError as error:
            found[path.stem] = error
    return found


def read_goal_image(path: str) -> np.ndarray:
    """The image of a goal file, PNG or JPEG; RGB uint8 (H, W, 3). Raises InputError."""
    return load_goal(path).image if path.endswith(".npz") else read_image(path)
