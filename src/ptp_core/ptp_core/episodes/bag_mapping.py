# SPDX-License-Identifier: Apache-2.0
"""Mapping of plain bags: which topics are image, twist, gripper and state."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from ptp_core.config.loading import from_dict, require
from ptp_core.data.file_limits import load_yaml
from ptp_core.errors import ConfigError, quoted

STATE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
TAKEN = {"image"}  # names below obs/ that are in use


@dataclass(frozen=True)
class ImageMapping:
    """sensor_msgs/Image or CompressedImage, cropped to a square and resized."""

    topic: str = "/image_raw"
    crop: int = 0  # pixels a side of the square; 0: the largest
    size: int = 48  # pixels a side that are stored: vqvae.image_size of the training
    offset: tuple[int, ...] = (0, 0)  # of the square from the centre, pixels: right, down
    max_age: float = 0.1  # s; a decision with an older image is refused

    def __post_init__(self) -> None:
        require(self, "max_age", 1e-3)
        require(self, "crop", 0)
        require(self, "size", 1)
        if len(self.offset) != 2:
            raise ConfigError("image.offset needs two numbers, right and down")


@dataclass(frozen=True)
class TwistMapping:
    """geometry_msgs/TwistStamped or Twist of the tool in the base frame, m/s and rad/s."""

    topic: str = "/delta_twist_cmds"
    timeout: float = 0.3  # s after which a twist no longer moves the arm
    frame: str = ""  # frame_id that commands must have; empty: any, but the same in all bags
    scale: float = 1.0  # for "unitless" commands: m/s at a reading of 1
    turn_scale: float = 1.0  # rad/s at a reading of 1

    def __post_init__(self) -> None:
        require(self, "timeout", 1e-3)


@dataclass(frozen=True)
class GripperMapping:
    """A scalar field of any message type, scaled to -1 (open) to +1 (closed)."""

    topic: str = ""  # empty: the gripper stays open
    value: str = "data"  # field, for example "data" or "position[0]"
    open: float = 0.0  # reading when open
    closed: float = 1.0  # reading when closed
    before: float | None = None  # reading until the first message; None: those steps are refused

    def __post_init__(self) -> None:
        if self.open == self.closed:
            raise ConfigError("gripper.open and gripper.closed are equal")


@dataclass(frozen=True)
class StateMapping:
    """State values that are stored beside the image, as obs/<name>."""

    name: str = "joint_positions"
    topic: str = "/joint_states"
    value: str = "position"  # field: a number or an array
    before: tuple[float, ...] | None = None  # until the first message; None: refuse those steps

    def __post_init__(self) -> None:
        if not STATE_NAME.fullmatch(self.name) or self.name in TAKEN:
            raise ConfigError(
                f"states: the name {quoted(self.name)} must be letters, digits and _, and not "
                f"{' or '.join(sorted(TAKEN))}"
            )


@dataclass(frozen=True)
class ColumnMapping:
    """Motion in a data set of columns, LeRobot's or robomimic's, where bags have a twist.

    A dimension of a column is a name that the data set gives it, or its number; "" for motion that
    the data do not have.
    """

    action: str = "action"  # column; robomimic's is "actions"
    motion: tuple[int | str, ...] = ("dx", "dy", "dz", "dyaw")  # its dimensions, in this order
    # delta: motion of the tool until the next row; velocity: a second; pose: where it shall be
    means: Literal["delta", "velocity", "pose"] = "delta"
    scale: float = 1.0  # m (m/s) at a reading of 1, along x, y and z
    turn_scale: float = 1.0  # rad (rad/s) at a reading of 1, about z
    measured: str = ""  # pose: column of the measured pose; empty: the row before
    measured_motion: tuple[int | str, ...] = ()  # its dimensions; (): those of ``motion``
    proprioception: str = ""  # column that becomes the proprioception; empty: none

    def __post_init__(self) -> None:
        for name in ("motion", "measured_motion"):
            if len(getattr(self, name)) not in ((4,) if name == "motion" else (0, 4)):
                raise ConfigError(f"columns.{name} needs four dimensions: of dx, dy, dz and dyaw")
        if self.measured and self.means != "pose":
            raise ConfigError("columns.measured is for columns.means: pose")


@dataclass(frozen=True)
class BagMapping:
    """How to read plain bags, each of which is one episode, or data sets of other programs.

    In a data set, a ``topic`` is a column, and ``columns`` takes the place of ``twist``.
    """

    image: ImageMapping = field(default_factory=ImageMapping)
    twist: TwistMapping = field(default_factory=TwistMapping)
    gripper: GripperMapping = field(default_factory=GripperMapping)
    states: tuple[StateMapping, ...] = ()
    rate: float = 10.0  # Hz of decisions; 0: one for each twist message
    clock: Literal["header", "receive"] = "header"  # time stamps that are used
    translation: float = 0.05  # m, motion of an action of 1
    rotation: float = math.radians(5.0)  # rad, rotation of an action of 1
    columns: ColumnMapping | None = None  # of data sets alone

    def __post_init__(self) -> None:
        require(self, "rate", 0.0, 1000.0)
        require(self, "translation", 1e-4, 0.1)
        require(self, "rotation", 1e-4, 0.5)
        names = [state.name for state in self.states]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"states: two have the name {', '.join(twice)}")

    def check_for_bags(self) -> None:
        """Raise ConfigError for what bags do not have."""
        if self.columns is not None:
            raise ConfigError("columns is for data sets; in bags twist says how the tool moves")

    def check_for_columns(self, known: str) -> ColumnMapping:
        """The columns; ConfigError, which names the ``known`` ones, without, or for a twist."""
        if self.columns is None:
            raise ConfigError(
                f"columns is missing: it says which are the actions; there are {known}"
            )
        if self.twist != TwistMapping():
            raise ConfigError("twist is for bags; in data sets columns says how the tool moves")
        return self.columns

    @property
    def topics(self) -> set[str]:
        """Every topic that is read."""
        named = (self.image, self.twist, self.gripper, *self.states)
        return {use.topic for use in named if use.topic}


def load_mapping(path: Path) -> BagMapping:
    """Read a mapping from YAML; ConfigError names a mistake and the nearest key."""
    try:
        values = load_yaml(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    return from_dict(BagMapping, values or {}, source=str(path))


def look_up(message: Any, path: str) -> Any:
    """Value of a dotted field with indices, for example ``pose.position.x`` or ``position[0]``.

    Raises ConfigError for a field that the message lacks.
    """
    value = message
    try:
        for part in path.split("."):
            name, _, rest = part.partition("[")
            value = getattr(value, name)
            for index in rest.replace("]", "").split("[") if rest else ():
                value = value[int(index)]
    except (AttributeError, IndexError, ValueError, TypeError):
        known = [name for name in vars(message) if not name.startswith("_")]
        known = known or [f.name for f in fields(message)]
        raise ConfigError(
            f"{message.__msgtype__} has no value {quoted(path)}; its fields are {', '.join(known)}"
        ) from None
    return value
