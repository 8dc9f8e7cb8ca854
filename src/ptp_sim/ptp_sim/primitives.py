# SPDX-License-Identifier: Apache-2.0
"""The primitives that demonstrations show: which are possible in a scene, and their goals.

A demonstration holds one primitive and never a whole target task. The authors draw a scene and
then a primitive that it allows, which shows the drawer in 11 % of their demonstrations; here the
primitive is drawn first, every kind equally likely, and then a scene that allows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ptp_core.data.trajectory import Target
from ptp_sim.experts import Expert, MoveBlock, MoveDrawer, SlideCan, neighbours, slide_goal
from ptp_sim.layouts import BLOCK_RADIUS, block_place, distance_to_drawer, table_spot
from ptp_sim.scene import (
    BLOCK_IN_DRAWER_Z,
    BLOCK_ON_TABLE_Z,
    BLOCK_ON_TRAY_Z,
    CAN_RADIUS,
    DRAWER_TRAVEL,
    QUADRANT_PLACES,
    Scene,
    drawer_inside_xy,
    handle_xy,
    quadrant_of,
)
from ptp_sim.tasks import (
    BLOCK_TOLERANCE,
    HAND_ROOM,
    HANDLE_TOLERANCE,
    HEIGHT_TOLERANCE,
    block_is_on_table,
)
from ptp_sim.world import TableState

PRIMITIVES = ("slide", "block_tray", "block_drawer", "block_table", "open", "close")
KINDS = {
    "slide": ("slide",),
    "block": ("block_tray", "block_drawer", "block_table"),
    "drawer": ("open", "close"),
}
QUANTITIES = {"slide": "can_xy", "block": "block_xyz", "drawer": "drawer_opening"}
PLACES = {
    "block_tray": "tray",
    "block_drawer": "drawer",
    "block_table": "table",
    "open": "open",
    "close": "closed",
}
SPOT_TRIES = 50
KIND_WEIGHTS = {"slide": 1.0, "block": 2.0, "drawer": 2.0}
"""How often each kind is shown where scenes vary: policies fail least at the can."""
ROOM_FOR_BLOCK = 0.9
"""Part of its travel to which the drawer must be open for a block that is put into it."""
HALF_WAY = (0.2, 0.8)
"""Part of its travel at which a drawer may be opened as well as closed."""


@dataclass(frozen=True)
class Primitive:
    """One primitive with its goal.

    Attributes:
        name: one of PRIMITIVES.
        goal: can axis (2,), block centre (3,), or (opening,) [m].

    """

    name: str
    goal: tuple[float, ...]

    @property
    def place(self) -> str:
        """The goal in words, seen from the arm: far is away from it, left is along +y."""
        if self.name == "slide":
            return QUADRANT_PLACES[quadrant_of(self.goal)]
        return PLACES[self.name]

    @property
    def target(self) -> Target:
        """The goal with the name of its quantity, all in metres in the base frame."""
        kind = next(kind for kind, names in KINDS.items() if self.name in names)
        return Target(QUANTITIES[kind], self.goal, "m", self.place)

    def expert(self, physical: bool, rng: np.random.Generator, smooth: bool = False) -> Expert:
        """Make the scripted expert; see `Expert` for ``smooth``."""
        if self.name == "slide":
            return SlideCan(self.goal, rng, smooth)
        if self.name in KINDS["drawer"]:
            return MoveDrawer(self.goal[0], rng, smooth)
        return MoveBlock(self.goal, physical, rng, smooth)

    def reached(self, state: TableState) -> bool:
        """Success check of the primitive, with the thresholds of the target tasks."""
        if self.name == "slide":
            return quadrant_of(state.can) == quadrant_of(self.goal)
        if self.name in KINDS["drawer"]:
            return abs(state.drawer_opening - self.goal[0]) < HANDLE_TOLERANCE
        level = abs(state.block[2] - self.goal[2]) < HEIGHT_TOLERANCE
        if self.name == "block_table":
            return bool(level and block_is_on_table(state))
        return bool(level and np.linalg.norm(state.block[:2] - self.goal[:2]) < BLOCK_TOLERANCE)


def possible(
    scene: Scene, rng: np.random.Generator, filled_drawer: bool = False
) -> dict[str, Primitive]:
    """Return the primitives that this scene allows, by name.

    The authors never move the drawer with the block in it; ``filled_drawer`` allows it.
    """
    found = [
        _slide(scene, rng),
        *_block_moves(scene, rng),
        _drawer_move(scene, rng, filled_drawer),
    ]
    return {p.name: p for p in found if p is not None}


def allowed(primitive: Primitive, scene: Scene, rng: np.random.Generator) -> bool:
    """Whether a scene in which another object lies elsewhere allows the same primitive."""
    goal = np.asarray(primitive.goal)
    if primitive.name == "slide":
        return _can_slides(scene, goal)
    if primitive.name in KINDS["drawer"]:
        return _drawer_move(scene, rng, filled_drawer=True) is not None
    return primitive.name != "block_table" or _beside_can(scene, goal[:2])


def draw_name(rng: np.random.Generator, weights: Mapping[str, float] | None = None) -> str:
    """Draw which primitive a demonstration shows: a kind, then one of its variants.

    ``weights`` are those of the kinds; None: all the same.
    """
    kinds = list(KINDS.values())
    if weights is None:
        kind = kinds[rng.integers(len(kinds))]
    else:
        shares = np.array([weights[name] for name in KINDS])
        kind = kinds[rng.choice(len(kinds), p=shares / shares.sum())]
    return kind[rng.integers(len(kind))]


def _slide(scene: Scene, rng: np.random.Generator) -> Primitive | None:
    goals = [slide_goal(quadrant) for quadrant in neighbours(quadrant_of(scene.can_xy))]
    targets = [goal for goal in goals if _can_slides(scene, goal)]
    if not targets:
        return None
    goal = targets[rng.integers(len(targets))]
    return Primitive("slide", (float(goal[0]), float(goal[1])))


def _can_slides(scene: Scene, goal: np.ndarray) -> bool:
    can = np.asarray(scene.can_xy)
    along = (goal - can) / np.linalg.norm(goal - can)
    stand = SlideCan.stand(can, along)
    room = np.linalg.norm(stand - can) > CAN_RADIUS + 0.025
    return bool(room and _corridor_is_free(scene, can, goal) and _hand_fits(scene, stand))


def _drawer(scene: Scene):
    return scene.drawer_xy, scene.drawer_yaw, scene.drawer_opening


def _corridor_is_free(scene: Scene, start, goal) -> bool:
    block = np.asarray(scene.block_xyz[:2])
    on_table = block_place(scene) == "table"
    for t in np.linspace(0.0, 1.0, 9):
        point = start + t * (goal - start)
        if distance_to_drawer(point, *_drawer(scene)) < CAN_RADIUS + 0.01:
            return False
        if on_table and np.linalg.norm(point - block) < CAN_RADIUS + BLOCK_RADIUS + 0.01:
            return False
    return True


def _hand_fits(scene: Scene, point) -> bool:
    """Whether the opened hand can stand low at a point of the table."""
    block = np.asarray(scene.block_xyz[:2])
    on_table = block_place(scene) == "table"
    return distance_to_drawer(point, *_drawer(scene)) > HAND_ROOM and not (
        on_table and np.linalg.norm(point - block) < BLOCK_RADIUS + 0.055
    )


def _block_moves(scene: Scene, rng: np.random.Generator) -> list[Primitive]:
    place = block_place(scene)
    if abs(scene.block_xyz[1]) > 0.2 or not 0.5 <= scene.block_xyz[0] <= 0.85:
        return []
    if place == "drawer" and scene.drawer_opening <= DRAWER_TRAVEL / 2:
        return []  # out of reach
    moves = []
    if place != "tray":
        moves.append(Primitive("block_tray", (*scene.drawer_xy, BLOCK_ON_TRAY_Z)))
    if place != "drawer" and scene.drawer_opening > ROOM_FOR_BLOCK * DRAWER_TRAVEL:
        inside = drawer_inside_xy(*_drawer(scene))
        moves.append(Primitive("block_drawer", (*map(float, inside), BLOCK_IN_DRAWER_Z)))
    if place != "table":
        spot = _free_spot(scene, rng)
        if spot is not None:
            moves.append(Primitive("block_table", (*map(float, spot), BLOCK_ON_TABLE_Z)))
    return moves


def _free_spot(scene: Scene, rng: np.random.Generator) -> np.ndarray | None:
    for _ in range(SPOT_TRIES):
        spot = table_spot(rng)
        if distance_to_drawer(spot, *_drawer(scene)) > 0.06 and _beside_can(scene, spot):
            return spot
    return None


def _beside_can(scene: Scene, spot: np.ndarray) -> bool:
    """Whether the block can lie at a point of the table, for all the can."""
    room = CAN_RADIUS + BLOCK_RADIUS + 0.02
    return bool(np.linalg.norm(spot - np.asarray(scene.can_xy)) > room)


def _drawer_move(scene: Scene, rng: np.random.Generator, filled_drawer: bool) -> Primitive | None:
    opened = scene.drawer_opening > DRAWER_TRAVEL / 2
    if HALF_WAY[0] < scene.drawer_opening / DRAWER_TRAVEL < HALF_WAY[1]:
        opened = rng.random() < 0.5
    if block_place(scene) == "drawer" and not filled_drawer:
        return None
    clear = CAN_RADIUS + 0.05, BLOCK_RADIUS + 0.05
    block = np.asarray(scene.block_xyz[:2])
    on_table = block_place(scene) == "table"
    for opening in np.linspace(0.0, DRAWER_TRAVEL, 5):
        handle = handle_xy(scene.drawer_xy, scene.drawer_yaw, opening)
        if np.linalg.norm(handle - scene.can_xy) < clear[0] + 0.01:
            return None
        if on_table and np.linalg.norm(handle - block) < clear[1] + 0.01:
            return None
    end = (scene.drawer_xy, scene.drawer_yaw, DRAWER_TRAVEL)
    if distance_to_drawer(scene.can_xy, *end) < CAN_RADIUS + 0.01:
        return None
    if on_table and distance_to_drawer(block, *end) < BLOCK_RADIUS + 0.01:
        return None
    return Primitive("close" if opened else "open", (0.0 if opened else DRAWER_TRAVEL,))
