# SPDX-License-Identifier: Apache-2.0
"""Random arrangements of the table in which nothing overlaps and all is within reach."""

from __future__ import annotations

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
    Scene,
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
OPEN_HANDLE_X = (0.5, 0.8)
OPEN_HANDLE_Y = (-0.17, 0.17)
TRIES = 1000


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


def training_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene as the paper's demonstrations start: any drawer, block place and can quadrant.

    Raises:
        LayoutError: no valid scene within the allowed number of tries.

    """
    for _ in range(TRIES):
        scene = _draw_training_scene(rng)
        if scene is not None and is_clear(scene):
            return scene
    raise LayoutError(f"no training scene without overlap in {TRIES} tries")


def _draw_training_scene(rng: np.random.Generator) -> Scene | None:
    drawer_xy = DRAWER_QUADRANTS[rng.integers(2)]
    yaw = rng.uniform(0.0, np.pi)
    end = handle_xy(drawer_xy, yaw, DRAWER_TRAVEL)
    if not (_within(end[0], OPEN_HANDLE_X) and _within(end[1], OPEN_HANDLE_Y)):
        return None
    opening = DRAWER_TRAVEL if rng.random() < 0.5 else 0.0
    can = np.asarray(CAN_QUADRANTS[rng.integers(4)]) + rng.uniform(-0.03, 0.03, 2)
    if quadrant_of(can) == quadrant_of(drawer_xy):
        return None
    place = rng.choice(("tray", "drawer", "table") if opening else ("tray", "table"))
    block = _draw_block(rng, place, drawer_xy, yaw, opening)
    return Scene(
        drawer_xy=drawer_xy,
        drawer_yaw=float(yaw),
        drawer_opening=opening,
        block_xyz=block,
        block_yaw=float(rng.uniform(0.0, 2 * np.pi)),
        can_xy=(float(can[0]), float(can[1])),
        tcp_xyz=(
            float(rng.uniform(*REACH_X)),
            float(rng.uniform(*REACH_Y)),
            float(rng.uniform(-0.29, -0.1)),
        ),
        tcp_yaw=float(rng.uniform(-np.pi / 2, np.pi / 2)) if rng.random() < 0.5 else 0.0,
    )


def _draw_block(rng, place: str, drawer_xy, yaw: float, opening: float):
    if place == "tray":
        xy, z = np.asarray(drawer_xy) + rng.uniform(-0.02, 0.02, 2), BLOCK_ON_TRAY_Z
    elif place == "drawer":
        xy = drawer_inside_xy(drawer_xy, yaw, opening) + rng.uniform(-0.01, 0.01, 2)
        z = BLOCK_IN_DRAWER_Z
    elif rng.random() < 0.2:
        # Beside the arm's box, as in target task A: seen, but not to be touched.
        side = rng.choice((-1.0, 1.0))
        xy = np.array([rng.uniform(0.55, 0.8), side * rng.uniform(0.2, 0.25)])
        z = BLOCK_ON_TABLE_Z
    else:
        xy, z = table_spot(rng), BLOCK_ON_TABLE_Z
    return (float(xy[0]), float(xy[1]), z)


def table_spot(rng: np.random.Generator) -> np.ndarray:
    """Draw a point (x, y) on the table that the arm can reach comfortably [m]."""
    return np.array([rng.uniform(0.52, 0.82), rng.uniform(-0.17, 0.17)])


def varied(scene: Scene, rng: np.random.Generator, accept=lambda scene: True) -> Scene:
    """Return the scene with every pose moved a little: the `varied` protocol.

    Objects and start pose move by up to 3 cm in x and y, the drawer turns by up to 10 degrees.
    A block in or on the drawer moves with it, and by up to 1 cm there. `accept` may refuse.

    Raises:
        LayoutError: no valid scene within the allowed number of tries.

    """
    place = block_place(scene)
    for _ in range(TRIES):
        drawer = np.asarray(scene.drawer_xy) + rng.uniform(-0.03, 0.03, 2)
        yaw = scene.drawer_yaw + rng.uniform(-1.0, 1.0) * np.deg2rad(10.0)
        can = np.asarray(scene.can_xy) + rng.uniform(-0.03, 0.03, 2)
        block = np.asarray(scene.block_xyz, float).copy()
        if place == "drawer":
            block[:2] = drawer_inside_xy(drawer, yaw, scene.drawer_opening)
            block[:2] += rng.uniform(-0.01, 0.01, 2)
        elif place == "tray":
            block[:2] = drawer + rng.uniform(-0.01, 0.01, 2)
        else:
            block[:2] += rng.uniform(-0.03, 0.03, 2)
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
        if quadrant_of(can) == quadrant_of(scene.can_xy) and is_clear(moved) and accept(moved):
            return moved
    raise LayoutError(f"no varied scene without overlap in {TRIES} tries")


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]
