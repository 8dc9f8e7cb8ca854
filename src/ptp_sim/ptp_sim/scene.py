# SPDX-License-Identifier: Apache-2.0
"""Scenes of the table: sizes, reference points and the poses of one scene.

Lengths are metres in the arm's base frame (x forward, y left, z up), angles are radians.
Figures follow the environment of Planning to Practice (arXiv 2205.08129, section V).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

TABLE_Z = -0.375
"""Height of the table top."""

DRAWER_Z = -0.34
"""Height of the centre of the drawer's frame and of its handle."""
FRAME_SIZE = (0.165, 0.143)
"""Footprint of the frame across and along its sliding direction."""
HANDLE_LENGTH = 0.154
HANDLE_CLOSED = 0.15134
"""Distance from the frame's centre to the handle bar of the closed drawer."""
DRAWER_TRAVEL = 0.11816
"""Travel that separates a closed from an open drawer; the joint ends at 0.1375."""
TRAY_FLOOR_Z = -0.2926
"""Height of the floor of the tray on top of the frame."""
DRAWER_FLOOR_Z = -0.3675
"""Height of the floor inside the drawer."""

BLOCK_SIZE = (0.064, 0.046, 0.046)
CAN_RADIUS = 0.049
CAN_HEIGHT = 0.07
BLOCK_ON_TABLE_Z = TABLE_Z + BLOCK_SIZE[2] / 2
BLOCK_ON_TRAY_Z = TRAY_FLOOR_Z + BLOCK_SIZE[2] / 2
BLOCK_IN_DRAWER_Z = DRAWER_FLOOR_Z + BLOCK_SIZE[2] / 2
CAN_Z = TABLE_Z + CAN_HEIGHT / 2

DRAWER_QUADRANTS = ((0.525, 0.1675), (0.525, -0.1675), (0.775, -0.1675), (0.775, 0.1675))
"""Frame centres, x and y."""
CAN_QUADRANTS = ((0.61, 0.09), (0.61, -0.0889), (0.73, -0.0889), (0.73, 0.09))
"""Where the can stands, x and y; the order goes round the table."""
QUADRANT_PLACES = ("near left", "near right", "far right", "far left")
"""The same in words, seen from the arm: far is away from it, left is along +y."""
QUADRANT_BORDER_X = 0.67
QUADRANT_BORDER_Y = 0.0
START_TCP = (0.6, -0.15, -0.2)
"""The arm's usual start position."""


Colour = tuple[float, float, float]
"""Red, green and blue, 0 to 1."""


@dataclass(frozen=True)
class Bodies:
    """How can and block look and feel; the default is what demonstrations show.

    Attributes:
        can_colour, block_colour: None for the usual ones, red and lime.
        size: of both, as a multiple of the usual one; mass goes with its third power.
        friction: lateral friction of both, as a multiple of the usual one.

    """

    can_colour: Colour | None = None
    block_colour: Colour | None = None
    size: float = 1.0
    friction: float = 1.0

    def numbers(self) -> dict[str, float]:
        """What is not usual, as numbers by name."""
        found = _colour_numbers("can", self.can_colour)
        found |= _colour_numbers("block", self.block_colour)
        if self.size != 1.0:
            found["size"] = self.size
        if self.friction != 1.0:
            found["friction"] = self.friction
        return found


USUAL = Bodies()


@dataclass(frozen=True)
class Distractor:
    """An object that has nothing to do with the task.

    Attributes:
        shape: "box" or "cylinder".
        xy: its middle [m].
        yaw: about the vertical [rad].
        radius: of the cylinder; of a box, half of its diagonal seen from above [m].
        height: [m].
        colour: of all of it.

    """

    shape: str
    xy: tuple[float, float]
    yaw: float
    radius: float
    height: float
    colour: Colour


@dataclass(frozen=True)
class Surroundings:
    """What is around drawer, block and can; the default is what demonstrations show.

    Attributes:
        table_colour, wall_colour: None for the usual ones.
        distractors: objects that have nothing to do with the task.

    """

    table_colour: Colour | None = None
    wall_colour: Colour | None = None
    distractors: tuple[Distractor, ...] = ()

    def numbers(self) -> dict[str, float]:
        """What is not usual, as numbers by name; of distractors only how many there are."""
        found = _colour_numbers("table", self.table_colour)
        found |= _colour_numbers("wall", self.wall_colour)
        if self.distractors:
            found["distractors"] = len(self.distractors)
        return found


PLAIN = Surroundings()


def _colour_numbers(name: str, colour: Colour | None) -> dict[str, float]:
    if colour is None:
        return {}
    parts = zip(("red", "green", "blue"), colour, strict=True)
    return {f"{name}_{part}": value for part, value in parts}


@dataclass(frozen=True)
class Scene:
    """One arrangement of the table, enough to set the simulation up.

    Attributes:
        drawer_xy: centre of the drawer's frame [m].
        drawer_yaw: yaw of the frame [rad]; it opens along (sin yaw, -cos yaw).
        drawer_opening: travel of the drawer [m], 0 is closed.
        block_xyz: centre of the block [m].
        block_yaw: yaw of the block [rad].
        can_xy: axis of the can [m].
        tcp_xyz: position of the tool centre point [m].
        tcp_yaw: yaw of the tool [rad]; at 0 the fingers move along y.
        bodies: how can and block look and feel. Heights of the block are those of the usual
            size: a reset puts another one as far up or down as its size asks for.
        surroundings: what is around them.

    """

    drawer_xy: tuple[float, float]
    drawer_yaw: float
    drawer_opening: float
    block_xyz: tuple[float, float, float]
    block_yaw: float
    can_xy: tuple[float, float]
    tcp_xyz: tuple[float, float, float] = START_TCP
    tcp_yaw: float = 0.0
    bodies: Bodies = USUAL
    surroundings: Surroundings = PLAIN

    def with_(self, **changes) -> Scene:
        """Return a copy with some fields replaced."""
        return replace(self, **changes)


def scene_numbers(scene: Scene) -> dict[str, float]:
    """The arrangement as numbers by name: positions [m] and yaws [rad] in the base frame.

    Bodies and surroundings that are not the usual ones add what is unusual; see `Bodies.numbers`.
    """
    yaw = (scene.drawer_yaw + np.pi / 2) % (2 * np.pi) - np.pi / 2  # no jump where drawers stand
    numbers = {"drawer_yaw": yaw, "drawer_opening": scene.drawer_opening}
    numbers |= scene.bodies.numbers() | scene.surroundings.numbers()
    points = {
        "drawer": scene.drawer_xy,
        "block": scene.block_xyz,
        "can": scene.can_xy,
        "tcp": scene.tcp_xyz,
    }
    for name, point in points.items():
        numbers |= {f"{name}_{axis}": value for axis, value in zip("xyz", point, strict=False)}
    return {name: float(value) for name, value in numbers.items()}


def opening_direction(yaw: float) -> np.ndarray:
    """Unit vector (x, y) along which a drawer of this yaw opens."""
    return np.array([np.sin(yaw), -np.cos(yaw)])


def handle_xy(drawer_xy, yaw: float, opening: float) -> np.ndarray:
    """Centre of the handle bar (x, y) [m]."""
    return np.asarray(drawer_xy) + (HANDLE_CLOSED + opening) * opening_direction(yaw)


def drawer_inside_xy(drawer_xy, yaw: float, opening: float) -> np.ndarray:
    """Centre of the drawer's floor (x, y) [m]."""
    return np.asarray(drawer_xy) + opening * opening_direction(yaw)


def quadrant_of(xy) -> int:
    """Index into CAN_QUADRANTS of the quarter of the table that holds the point."""
    far = xy[0] > QUADRANT_BORDER_X
    if xy[1] > QUADRANT_BORDER_Y:
        return 3 if far else 0
    return 2 if far else 1


def wrap_half_turn(angle: float) -> float:
    """Wrap to [-pi/2, pi/2): a parallel gripper is the same after half a turn."""
    return (angle + np.pi / 2) % np.pi - np.pi / 2
