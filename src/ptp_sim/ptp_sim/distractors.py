# SPDX-License-Identifier: Apache-2.0
"""Objects that have nothing to do with a task, at places that its scripted plan leaves free."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ptp_sim.experts import SlideCan, slide_goal
from ptp_sim.layouts import BLOCK_RADIUS, HAND_RADIUS, distance_to_drawer
from ptp_sim.scene import (
    CAN_RADIUS,
    DRAWER_TRAVEL,
    Distractor,
    Scene,
    drawer_inside_xy,
    handle_xy,
)
from ptp_sim.tasks import Task

COUNT = (2, 4)
"""Fewest and most distractors of a scene."""
PLACES_X, PLACES_Y = (0.48, 0.8), (-0.28, 0.28)
"""Where they stand [m]: in the camera's view, within the arm's workspace and beside it."""
RADII, HEIGHTS = (0.02, 0.035), (0.04, 0.07)
"""Smallest and largest radius, and height [m]: the hand passes over all of them."""
COLOURS = (
    (0.95, 0.85, 0.1),
    (0.85, 0.15, 0.75),
    (1.0, 0.55, 0.0),
    (0.45, 0.2, 0.7),
    (0.97, 0.97, 0.97),
    (0.15, 0.15, 0.15),
)
"""Yellow, magenta, orange, purple, white and dark grey; neither can nor block has one of them."""
APART = 0.02
"""Least distance between a distractor and whatever must stay free [m]."""
TRIES = 500

Disc = tuple[np.ndarray, float]
"""A point (x, y) and a radius [m]."""


def draw_distractors(
    scene: Scene, tasks: Sequence[Task], rng: np.random.Generator
) -> tuple[Distractor, ...]:
    """Draw distractors that leave room for the plans of these tasks.

    There are fewer where the table has no more room.
    """
    taken = [disc for task in tasks for disc in places_of_plan(task, scene)]
    found: list[Distractor] = []
    colours = rng.permutation(len(COLOURS))
    wanted = int(rng.integers(*COUNT, endpoint=True))
    for _ in range(TRIES):
        if len(found) == wanted:
            break
        xy = np.array([rng.uniform(*PLACES_X), rng.uniform(*PLACES_Y)])
        radius = float(rng.uniform(*RADII))
        if _is_free(xy, radius, scene, taken):
            taken.append((xy, radius))
            found.append(
                Distractor(
                    shape="box" if rng.random() < 0.5 else "cylinder",
                    xy=(float(xy[0]), float(xy[1])),
                    yaw=float(rng.uniform(0.0, np.pi)),
                    radius=radius,
                    height=float(rng.uniform(*HEIGHTS)),
                    colour=COLOURS[colours[len(found)]],
                )
            )
    return tuple(found)


def _is_free(xy: np.ndarray, radius: float, scene: Scene, taken: Sequence[Disc]) -> bool:
    drawer = scene.drawer_xy, scene.drawer_yaw
    room = radius + APART
    return all(distance_to_drawer(xy, *drawer, at) > room for at in (0.0, DRAWER_TRAVEL)) and all(
        np.linalg.norm(xy - point) > room + other for point, other in taken
    )


def places_of_plan(task: Task, scene: Scene) -> list[Disc]:
    """What the task's objects and the low hand take up while the scripted plan is carried out."""
    can, opening = np.asarray(scene.can_xy), scene.drawer_opening
    drawer = scene.drawer_xy, scene.drawer_yaw
    places = [(can, CAN_RADIUS), (np.asarray(scene.block_xyz[:2]), BLOCK_RADIUS + HAND_RADIUS)]
    for stage in task.stages:
        if stage.kind == "slide":
            goal = slide_goal(stage.target)
            stand = SlideCan.stand(can, (goal - can) / np.linalg.norm(goal - can))
            places.append((stand, HAND_RADIUS))
            places += [(can + t * (goal - can), CAN_RADIUS) for t in np.linspace(0.0, 1.0, 9)]
            can = goal
        elif stage.kind == "drawer":
            ways = np.linspace(opening, stage.target, 5)
            places += [(handle_xy(*drawer, way), HAND_RADIUS) for way in ways]
            opening = stage.target
        else:
            inside = drawer_inside_xy(*drawer, opening)
            goal = scene.drawer_xy if stage.target == "tray" else inside
            places.append((np.asarray(goal), HAND_RADIUS))
    return places
