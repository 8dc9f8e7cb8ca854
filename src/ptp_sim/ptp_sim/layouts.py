# SPDX-License-Identifier: Apache-2.0
"""Random arrangements of the table in which nothing overlaps and all is within reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ptp_sim.scene import (
    BLOCK_IN_DRAWER_Z,
    BLOCK_ON_TABLE_Z,
    BLOCK_ON_TRAY_Z,
    CAN_QUADRANTS,
    CAN_RADIUS,
    DRAWER_QUADRANTS,
    DRAWER_TRAVEL,
    FRAME_SIZE,
    HANDLE_CLOSED,
    HANDLE_LENGTH,
    USUAL,
    Scene,
    Surroundings,
    drawer_inside_xy,
    handle_xy,
    opening_direction,
    quadrant_of,
)

BLOCK_RADIUS = 0.04
"""Half of the block's longest horizontal diagonal, rounded up [m]."""
HAND_RADIUS = 0.05
"""Horizontal reach of the opened hand round the tool centre point [m]."""
REACH_X = (0.5, 0.85)
REACH_Y = (-0.2, 0.2)
TRIES = 20_000  # the tightest shifted scenes need 1,000 and more


class LayoutError(ValueError):
    """No arrangement without overlap was found."""


def distance_to_drawer(point, drawer_xy, yaw: float, opening: float) -> float:
    """Horizontal distance from a point to the drawer unit with its handle [m], 0 inside."""
    along = opening_direction(yaw)
    across = np.array([along[1], -along[0]])
    offset = np.asarray(point) - np.asarray(drawer_xy)
    u, v = float(offset @ along), float(offset @ across)
    front = HANDLE_CLOSED + opening + 0.009
    gap_u = max(-FRAME_SIZE[1] / 2 - u, u - front, 0.0)
    gap_v = max(abs(v) - max(FRAME_SIZE[0], HANDLE_LENGTH) / 2, 0.0)
    return float(np.hypot(gap_u, gap_v))


def block_place(scene: Scene) -> str:
    """Where the block is: "tray", "drawer" or "table"."""
    block = np.asarray(scene.block_xyz)
    if block[2] > BLOCK_ON_TRAY_Z - 0.03:
        return "tray"
    inside = drawer_inside_xy(scene.drawer_xy, scene.drawer_yaw, scene.drawer_opening)
    if np.linalg.norm(block[:2] - inside) < 0.06 and block[2] > BLOCK_ON_TABLE_Z + 0.003:
        return "drawer"
    return "table"


def is_clear(scene: Scene, margin: float = 0.005) -> bool:
    """Whether objects are apart from each other and the arm starts above whatever is below."""
    drawer = (scene.drawer_xy, scene.drawer_yaw, scene.drawer_opening)
    block, can = np.asarray(scene.block_xyz[:2]), np.asarray(scene.can_xy)
    if distance_to_drawer(can, *drawer) < CAN_RADIUS + margin:
        return False
    if np.linalg.norm(block - can) < CAN_RADIUS + BLOCK_RADIUS + margin:
        return False
    on_table = block_place(scene) == "table"
    if on_table and distance_to_drawer(block, *drawer) < BLOCK_RADIUS + margin:
        return False
    return scene.tcp_xyz[2] >= lowest_free_height(scene) - 1e-9


def lowest_free_height(scene: Scene) -> float:
    """Height above which the hand at the scene's start position touches nothing [m]."""
    tcp = np.asarray(scene.tcp_xyz[:2])
    drawer = (scene.drawer_xy, scene.drawer_yaw, scene.drawer_opening)
    height = -0.36
    if distance_to_drawer(tcp, *drawer) < HAND_RADIUS:
        height = max(height, -0.30)
        frame = np.linalg.norm(tcp - np.asarray(scene.drawer_xy))
        if frame < 0.11 + HAND_RADIUS:
            height = max(height, -0.24)
    if np.linalg.norm(tcp - np.asarray(scene.can_xy)) < CAN_RADIUS + HAND_RADIUS:
        height = max(height, -0.28)
    if np.linalg.norm(tcp - np.asarray(scene.block_xyz[:2])) < BLOCK_RADIUS + HAND_RADIUS:
        height = max(height, scene.block_xyz[2] + 0.055)
    return height


@dataclass(frozen=True)
class TrainingRanges:
    """What the scenes of demonstrations draw from.

    Attributes:
        drawer: largest shift of the drawer's frame in x and y [m].
        yaw: smallest and largest yaw of the frame [rad].
        handle_x, handle_y: where the handle of the open drawer may be [m].
        closed_handle: whether the same holds for the closed drawer.
        can: largest shift of the can in x and y [m].
        beside: distance from the arm's middle plane of a block beside its workspace [m].
        hidden: whether the block may be in the closed drawer, out of the camera's sight. Without
            it no demonstration shows what can follow once a drawer was closed on the block.

    """

    drawer: float = 0.0
    yaw: tuple[float, float] = (0.0, np.pi)
    handle_x: tuple[float, float] = (0.5, 0.8)
    handle_y: tuple[float, float] = (-0.17, 0.17)
    closed_handle: bool = False
    can: float = 0.03
    beside: tuple[float, float] = (0.2, 0.25)
    hidden: bool = False


PAPER_RANGES = TrainingRanges()
"""The authors' environment: two places of the drawer."""
VARIED_RANGES = TrainingRanges(
    drawer=0.04,
    yaw=(-0.25, np.pi + 0.25),
    handle_x=REACH_X,
    handle_y=REACH_Y,
    closed_handle=True,
    can=0.04,
    beside=(0.19, 0.27),
    hidden=True,
)
"""Every pose that the protocol `varied` draws, and a little more."""


def training_scene(rng: np.random.Generator, ranges: TrainingRanges = PAPER_RANGES) -> Scene:
    """Draw a scene as demonstrations start: any drawer, block place and can quadrant.

    Raises:
        LayoutError: no valid scene within the allowed number of tries.

    """
    for _ in range(TRIES):
        scene = _draw_training_scene(rng, ranges)
        if scene is not None and is_clear(scene):
            return scene
    raise LayoutError(f"no training scene without overlap in {TRIES} tries")


def _draw_training_scene(rng: np.random.Generator, ranges: TrainingRanges) -> Scene | None:
    drawer_xy = DRAWER_QUADRANTS[rng.integers(2)]
    if ranges.drawer:
        shift = rng.uniform(-ranges.drawer, ranges.drawer, 2)
        drawer_xy = (float(drawer_xy[0] + shift[0]), float(drawer_xy[1] + shift[1]))
    yaw = rng.uniform(*ranges.yaw)
    for opening in (0.0, DRAWER_TRAVEL) if ranges.closed_handle else (DRAWER_TRAVEL,):
        end = handle_xy(drawer_xy, yaw, opening)
        if not (_within(end[0], ranges.handle_x) and _within(end[1], ranges.handle_y)):
            return None
    opening = DRAWER_TRAVEL if rng.random() < 0.5 else 0.0
    can = _draw_can(rng, ranges)
    if quadrant_of(can) == quadrant_of(drawer_xy):
        return None
    block = _draw_block(rng, drawer_xy, yaw, opening, ranges)
    return Scene(
        drawer_xy=drawer_xy,
        drawer_yaw=float(yaw),
        drawer_opening=opening,
        block_xyz=block,
        block_yaw=float(rng.uniform(0.0, 2 * np.pi)),
        can_xy=can,
        tcp_xyz=(
            float(rng.uniform(*REACH_X)),
            float(rng.uniform(*REACH_Y)),
            float(rng.uniform(-0.29, -0.1)),
        ),
        tcp_yaw=float(rng.uniform(-np.pi / 2, np.pi / 2)) if rng.random() < 0.5 else 0.0,
    )


def _draw_can(rng: np.random.Generator, ranges: TrainingRanges) -> tuple[float, float]:
    can = np.asarray(CAN_QUADRANTS[rng.integers(4)])
    can = can + rng.uniform(-ranges.can, ranges.can, 2)
    return (float(can[0]), float(can[1]))


def _draw_block(rng, drawer_xy, yaw: float, opening: float, ranges: TrainingRanges):
    inside = opening or ranges.hidden
    place = rng.choice(("tray", "drawer", "table") if inside else ("tray", "table"))
    if place == "tray":
        xy, z = np.asarray(drawer_xy) + rng.uniform(-0.02, 0.02, 2), BLOCK_ON_TRAY_Z
    elif place == "drawer":
        xy = drawer_inside_xy(drawer_xy, yaw, opening) + rng.uniform(-0.01, 0.01, 2)
        z = BLOCK_IN_DRAWER_Z
    elif rng.random() < 0.2:
        # Beside the arm's box, as in target task A: seen, but not to be touched.
        side = rng.choice((-1.0, 1.0))
        xy = np.array([rng.uniform(0.55, 0.8), side * rng.uniform(*ranges.beside)])
        z = BLOCK_ON_TABLE_Z
    else:
        xy, z = table_spot(rng), BLOCK_ON_TABLE_Z
    return (float(xy[0]), float(xy[1]), z)


ELSEWHERE = 0.08
"""Smallest distance between two places of an object that lies elsewhere [m]."""


def elsewhere(
    scene: Scene, name: str, rng: np.random.Generator, ranges: TrainingRanges
) -> Scene | None:
    """The same scene with the "block" or the "can" elsewhere; None where nothing is free there."""
    drawer = scene.drawer_xy, scene.drawer_yaw, scene.drawer_opening
    if name == "can":
        other = scene.with_(can_xy=_draw_can(rng, ranges))
        apart = np.subtract(other.can_xy, scene.can_xy)
        free = quadrant_of(other.can_xy) != quadrant_of(scene.drawer_xy)
    else:
        other = scene.with_(block_xyz=_draw_block(rng, *drawer, ranges))
        apart = np.subtract(other.block_xyz, scene.block_xyz)
        free = True
    found = free and np.linalg.norm(apart) > ELSEWHERE and is_clear(other)
    return other if found else None


HALF_OPEN = (0.15, 0.85)
"""Smallest and largest opening of a drawer that was left half-way, as part of its travel."""
HAND_BESIDE = (0.03, 0.08)
"""Horizontal distance from an object at which a hand begins low beside it [m]."""


def half_open(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same scene with the drawer left half-way; a block in the drawer goes with it."""
    opening = float(rng.uniform(*HALF_OPEN)) * DRAWER_TRAVEL
    block = np.asarray(scene.block_xyz, float)
    if block_place(scene) == "drawer":
        moved = (opening - scene.drawer_opening) * opening_direction(scene.drawer_yaw)
        block[:2] += moved
    return scene.with_(drawer_opening=opening, block_xyz=tuple(float(v) for v in block))


def hand_beside(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same scene with the hand low beside the block, the handle or the can."""
    handle = handle_xy(scene.drawer_xy, scene.drawer_yaw, scene.drawer_opening)
    objects = (np.asarray(scene.block_xyz[:2]), handle, np.asarray(scene.can_xy))
    around = objects[rng.choice(3, p=(0.5, 0.3, 0.2))]
    angle, away = rng.uniform(0.0, 2 * np.pi), rng.uniform(*HAND_BESIDE)
    xy = around + away * np.array([np.cos(angle), np.sin(angle)])
    xy = np.clip(xy, (REACH_X[0], REACH_Y[0]), (REACH_X[1], REACH_Y[1]))
    low = scene.with_(tcp_xyz=(float(xy[0]), float(xy[1]), 0.0))
    height = max(lowest_free_height(low), -0.35) + rng.uniform(0.0, 0.03)
    return low.with_(tcp_xyz=(*low.tcp_xyz[:2], float(height)))


def table_spot(rng: np.random.Generator) -> np.ndarray:
    """Draw a point (x, y) on the table that the arm can reach comfortably [m]."""
    return np.array([rng.uniform(0.52, 0.82), rng.uniform(-0.17, 0.17)])


Offset = Callable[[np.random.Generator], np.ndarray]
"""Draws how far an object is moved, (x, y) [m]."""


def _a_little(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-0.03, 0.03, 2)


def varied(
    scene: Scene,
    rng: np.random.Generator,
    accept=lambda scene: True,
    offset: Offset = _a_little,
    margin: float = 0.005,
) -> Scene:
    """Return the scene with every pose moved a little: the `varied` protocol.

    Objects and start pose move by up to 3 cm in x and y, the drawer turns by up to 10 degrees.
    A block in or on the drawer moves with it, and by up to 1 cm there. `accept` may refuse.
    `offset` draws how far drawer, can and a block on the table are moved; `margin` is the least
    distance between objects [m].

    Raises:
        LayoutError: no valid scene within the allowed number of tries.

    """
    place = block_place(scene)
    for _ in range(TRIES):
        drawer = np.asarray(scene.drawer_xy) + offset(rng)
        yaw = scene.drawer_yaw + rng.uniform(-1.0, 1.0) * np.deg2rad(10.0)
        can = np.asarray(scene.can_xy) + offset(rng)
        block = np.asarray(scene.block_xyz, float).copy()
        if place == "drawer":
            block[:2] = drawer_inside_xy(drawer, yaw, scene.drawer_opening)
            block[:2] += rng.uniform(-0.01, 0.01, 2)
        elif place == "tray":
            block[:2] = drawer + rng.uniform(-0.01, 0.01, 2)
        else:
            block[:2] += offset(rng)
        tcp = np.asarray(scene.tcp_xyz) + np.append(rng.uniform(-0.03, 0.03, 2), 0.0)
        tcp[:2] = np.clip(tcp[:2], (REACH_X[0], REACH_Y[0]), (REACH_X[1], REACH_Y[1]))
        moved = scene.with_(
            drawer_xy=(float(drawer[0]), float(drawer[1])),
            drawer_yaw=float(yaw),
            block_xyz=tuple(float(v) for v in block),
            block_yaw=float(rng.uniform(0.0, 2 * np.pi)),
            can_xy=(float(can[0]), float(can[1])),
            tcp_xyz=tuple(float(v) for v in tcp),
        )
        stays = quadrant_of(can) == quadrant_of(scene.can_xy)
        if stays and is_clear(moved, margin) and accept(moved):
            return moved
    raise LayoutError(f"no varied scene without overlap in {TRIES} tries")


@dataclass(frozen=True)
class Shift:
    """What a scene has that no demonstration shows.

    Attributes:
        poses: drawer, can and a block on the table are 5 to 7 cm away from where they usually are.
        colours: can and block have other colours.
        bodies: can and block have another size and friction.

    """

    poses: bool = False
    colours: bool = False
    bodies: bool = False


SHIFTS = {
    "shifted": Shift(poses=True, colours=True, bodies=True),
    "shifted_poses": Shift(poses=True),
    "shifted_colours": Shift(colours=True),
    "shifted_bodies": Shift(bodies=True),
}
"""By protocol. Demonstrations reach 4 cm, and show one look and feel of can and block."""
NEW_COLOURS = ((0.95, 0.85, 0.1), (0.85, 0.15, 0.75), (1.0, 0.55, 0.0), (0.15, 0.15, 0.15))
"""Yellow, magenta, orange and dark grey; neither table nor drawer has one of them."""
NEW_SIZES = (0.85, 1.15)
NEW_FRICTIONS = (0.5, 1.5)
TABLE_COLOURS = ((0.45, 0.3, 0.2), (0.55, 0.58, 0.62), (0.3, 0.45, 0.35), (0.6, 0.72, 0.85))
"""Dark wood, grey, dark green and light blue."""
WALL_COLOURS = ((0.95, 0.93, 0.85), (0.35, 0.38, 0.45), (0.6, 0.42, 0.38), (0.45, 0.6, 0.5))
"""Cream, slate, brick and sage."""
FARTHEST, NEAREST = 0.07, 0.05
"""Largest offset of a shifted pose in x and y, and the one that x or y exceeds [m]."""


def shifted(
    scene: Scene, rng: np.random.Generator, shift: Shift, accept=lambda scene: True
) -> Scene:
    """Return the scene outside of what demonstrations show: the `shifted` protocols.

    Whatever is not shifted is drawn as `varied` draws it.

    Raises:
        LayoutError: no valid scene within the allowed number of tries.

    """
    bodies = USUAL
    if shift.colours:
        can, block = rng.choice(len(NEW_COLOURS), 2, replace=False)
        bodies = replace(bodies, can_colour=NEW_COLOURS[can], block_colour=NEW_COLOURS[block])
    if shift.bodies:
        size, friction = float(rng.choice(NEW_SIZES)), float(rng.choice(NEW_FRICTIONS))
        bodies = replace(bodies, size=size, friction=friction)
    margin = 0.005 + max(bodies.size - 1.0, 0.0) * (CAN_RADIUS + BLOCK_RADIUS)
    offset = _far if shift.poses else _a_little
    return varied(scene.with_(bodies=bodies), rng, accept, offset, margin)


def background(rng: np.random.Generator) -> Surroundings:
    """Draw a table and walls of colours that no demonstration shows."""
    table, wall = rng.integers(len(TABLE_COLOURS)), rng.integers(len(WALL_COLOURS))
    return Surroundings(table_colour=TABLE_COLOURS[table], wall_colour=WALL_COLOURS[wall])


def _far(rng: np.random.Generator) -> np.ndarray:
    while True:
        offset = rng.uniform(-FARTHEST, FARTHEST, 2)
        if np.abs(offset).max() > NEAREST:
            return offset


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]
