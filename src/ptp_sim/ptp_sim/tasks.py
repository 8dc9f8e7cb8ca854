# SPDX-License-Identifier: Apache-2.0
"""Target tasks, their success check and their scripted plans.

Scenes, stages and thresholds of A, B and C are those of Planning to Practice (arXiv 2205.08129)
and its environment. D, E and F have three and four stages of the same primitives, in the same
places. The success check is on the last observation of the episode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ptp_sim.experts import Expert, MoveBlock, MoveDrawer, SlideCan, slide_goal
from ptp_sim.layouts import BLOCK_RADIUS, REACH_X, REACH_Y, block_place, distance_to_drawer
from ptp_sim.scene import (
    BLOCK_IN_DRAWER_Z,
    BLOCK_ON_TABLE_Z,
    BLOCK_ON_TRAY_Z,
    CAN_QUADRANTS,
    CAN_RADIUS,
    DRAWER_QUADRANTS,
    DRAWER_TRAVEL,
    QUADRANT_PLACES,
    Scene,
    drawer_inside_xy,
    handle_xy,
    quadrant_of,
)
from ptp_sim.world import TableState

EPISODE_STEPS = 400
"""Control steps of an episode of two stages (paper)."""
LONG_EPISODE_STEPS = 600
"""Control steps of an episode of three or four stages."""
HANDLE_TOLERANCE = 0.065
"""Largest distance of the handle from its goal [m]: 55 % of the drawer's travel."""
BLOCK_TOLERANCE = 0.08
"""Largest horizontal distance of the block from a goal in or on the drawer [m]."""
HEIGHT_TOLERANCE = 0.01
HAND_ROOM = 0.06
"""Distance to the drawer at which the open hand can still stand low [m]."""

HAND_BEHIND = 0.025
"""Room that the hand needs between the can and the border of its workspace [m]."""
PUSH_BEYOND = 0.02
"""How far beyond the handle the hand drives it [m]."""


@dataclass(frozen=True)
class Stage:
    """One primitive of a scripted plan: `kind` is "slide", "drawer" or "block".

    `target` is a can quadrant, the wanted opening [m], or "tray" or "drawer".
    """

    kind: str
    target: int | float | str

    def goal(self, state: TableState) -> tuple[float, ...]:
        """Where the stage leaves its object: can (2,), block (3,) or opening (1,) [m]."""
        if self.kind == "slide":
            return tuple(float(value) for value in slide_goal(self.target))
        if self.kind == "drawer":
            return (float(self.target),)
        if self.target == "drawer":
            inside = drawer_inside_xy(state.drawer_xy, state.drawer_yaw, state.drawer_opening)
            return (*map(float, inside), BLOCK_IN_DRAWER_Z)
        return (*map(float, state.drawer_xy), BLOCK_ON_TRAY_Z)

    def expert(self, state: TableState, physical: bool, rng: np.random.Generator) -> Expert:
        """Make the expert that carries the stage out from this state."""
        goal = self.goal(state)
        if self.kind == "slide":
            return SlideCan(goal, rng)
        if self.kind == "drawer":
            return MoveDrawer(goal[0], rng)
        return MoveBlock(goal, physical, rng)

    @property
    def meaning(self) -> tuple[str, str]:
        """The primitive and the place that instructions name; see `ptp_sim.instructions`."""
        if self.kind == "slide":
            return "slide", QUADRANT_PLACES[self.target]
        if self.kind == "drawer":
            return ("open", "open") if self.target else ("close", "closed")
        return f"block_{self.target}", self.target

    def done(self, state: TableState) -> bool:
        """Whether the stage's own result stands in this state."""
        if self.kind == "slide":
            return quadrant_of(state.can) == self.target
        if self.kind == "drawer":
            return abs(state.drawer_opening - self.target) < HANDLE_TOLERANCE
        if self.target == "drawer":
            return block_place(state.scene()) == "drawer"
        return bool(
            np.linalg.norm(state.block[:2] - state.drawer_xy) < BLOCK_TOLERANCE
            and abs(state.block[2] - BLOCK_ON_TRAY_Z) < HEIGHT_TOLERANCE
        )


@dataclass(frozen=True)
class Task:
    """A target task: where it starts and which primitives reach its goal.

    Attributes:
        name: one of TASKS.
        summary: what is to be done, in words.
        scene: where it starts under the protocol `paper`.
        stages: the scripted plan.
        steps: control steps of an episode.
        aftermath: fewest and most control steps between the work of the last stage and the goal
            image of a varied scene (authors' option).

    """

    name: str
    summary: str
    scene: Scene
    stages: tuple[Stage, ...]
    steps: int = EPISODE_STEPS
    aftermath: tuple[int, int] = (0, 5)

    def expert(
        self, stage: Stage, state: TableState, physical: bool, rng: np.random.Generator
    ) -> Expert:
        """Make the expert that carries one of the stages out from this state."""
        return stage.expert(state, physical, rng)

    def within_reach(self, scene: Scene) -> bool:
        """Whether the hand can stand wherever the plan needs it in this scene."""
        for opening in (0.0, DRAWER_TRAVEL):
            x, y = handle_xy(scene.drawer_xy, scene.drawer_yaw, opening)
            if not (REACH_X[0] <= x <= REACH_X[1] and REACH_Y[0] <= y <= REACH_Y[1]):
                return False
        can, opening = np.asarray(scene.can_xy), scene.drawer_opening
        for stage in self.stages:
            if stage.kind == "drawer":
                opening = stage.target
            elif stage.kind == "slide":
                goal = slide_goal(stage.target)
                stand = SlideCan.stand(can, (goal - can) / np.linalg.norm(goal - can))
                drawer = scene.drawer_xy, scene.drawer_yaw, opening
                if distance_to_drawer(stand, *drawer) <= HAND_ROOM:
                    return False
                can = goal
        return True

    def plan_fits(self, scene: Scene) -> bool:
        """Whether the scripted plan has room in a scene whose objects are far from usual places.

        `within_reach` is enough for the scenes of `paper` and `varied`. Here also the can's way,
        the drawer's way and the places of the block must be free and within reach.
        """
        room = _PlanRoom(scene)
        return all(room.allows(stage) for stage in self.stages)

    def finished(self, state: TableState) -> bool:
        """Whether the results of all stages stand; of each kind of stage, the last one's."""
        last = {stage.kind: stage for stage in self.stages}
        return all(stage.done(state) for stage in last.values())


class _PlanRoom:
    """Follows a plan in plan view: where can, block and drawer are after each stage."""

    def __init__(self, scene: Scene) -> None:
        self._drawer = scene.drawer_xy, scene.drawer_yaw
        self._opening = scene.drawer_opening
        self._can = np.asarray(scene.can_xy)
        self._radius = CAN_RADIUS * max(scene.bodies.size, 1.0)
        self._block = np.asarray(scene.block_xyz[:2])
        self._on_table = block_place(scene) == "table"

    def allows(self, stage: Stage) -> bool:
        """Whether there is room for the stage; then it counts as done."""
        if stage.kind == "slide":
            return self._slide(slide_goal(stage.target))
        return (
            self._move_drawer(stage.target) if stage.kind == "drawer" else self._move_block(stage)
        )

    def _slide(self, goal: np.ndarray) -> bool:
        start, self._can = self._can, goal
        stand = SlideCan.stand(start, (goal - start) / np.linalg.norm(goal - start))
        if np.linalg.norm(stand - start) < self._radius + HAND_BEHIND:
            return False
        return all(self._can_fits(start + t * (goal - start)) for t in np.linspace(0.0, 1.0, 9))

    def _can_fits(self, point: np.ndarray) -> bool:
        if distance_to_drawer(point, *self._drawer, self._opening) < self._radius:
            return False
        apart = float(np.linalg.norm(point - self._block))
        return not self._on_table or apart > self._radius + BLOCK_RADIUS

    def _move_drawer(self, target: float) -> bool:
        start, self._opening = self._opening, target
        beyond = target + np.sign(target - start) * PUSH_BEYOND
        if not _in_reach(handle_xy(*self._drawer, beyond)):
            return False
        for opening in np.linspace(start, target, 5):
            handle = handle_xy(*self._drawer, opening)
            if np.linalg.norm(handle - self._can) < self._radius + HAND_ROOM:
                return False
            if self._on_table and np.linalg.norm(handle - self._block) < BLOCK_RADIUS + HAND_ROOM:
                return False
        return self._can_fits(self._can)

    def _move_block(self, stage: Stage) -> bool:
        onto_tray = stage.target == "tray"
        goal = self._drawer[0] if onto_tray else drawer_inside_xy(*self._drawer, self._opening)
        taken, self._block, self._on_table = self._block, np.asarray(goal), False
        return _in_reach(taken) and _in_reach(goal)


def _in_reach(point) -> bool:
    return REACH_X[0] <= point[0] <= REACH_X[1] and REACH_Y[0] <= point[1] <= REACH_Y[1]


TASKS = {
    "A": Task(
        name="A",
        summary="slide the can out of the way, then open the drawer",
        scene=Scene(
            drawer_xy=DRAWER_QUADRANTS[0],
            drawer_yaw=np.deg2rad(11.04),
            drawer_opening=0.0,
            block_xyz=(0.7057, 0.2297, BLOCK_ON_TABLE_Z),
            block_yaw=0.0,
            can_xy=CAN_QUADRANTS[1],
            tcp_xyz=(0.8008, 0.1648, -0.1401),
        ),
        stages=(Stage("slide", 2), Stage("drawer", DRAWER_TRAVEL)),
    ),
    "B": Task(
        name="B",
        summary="close the drawer, then slide the can to where its handle was",
        scene=Scene(
            drawer_xy=DRAWER_QUADRANTS[0],
            drawer_yaw=np.deg2rad(89.61),
            drawer_opening=DRAWER_TRAVEL,
            block_xyz=(0.5125, 0.1676, BLOCK_ON_TRAY_Z),
            block_yaw=0.0,
            can_xy=CAN_QUADRANTS[2],
        ),
        stages=(Stage("drawer", 0.0), Stage("slide", 3)),
    ),
    "C": Task(
        name="C",
        summary="take the block out of the drawer onto the tray, then close the drawer",
        scene=Scene(
            drawer_xy=DRAWER_QUADRANTS[1],
            drawer_yaw=np.deg2rad(171.87),
            drawer_opening=DRAWER_TRAVEL,
            block_xyz=(0.5480, -0.0066, BLOCK_IN_DRAWER_Z),
            block_yaw=0.0,
            can_xy=CAN_QUADRANTS[3],
            tcp_xyz=(0.5560, -0.0278, -0.2812),
        ),
        stages=(Stage("block", "tray"), Stage("drawer", 0.0)),
    ),
}
_BLOCK_BESIDE = TASKS["A"].scene.with_(block_xyz=(0.72, 0.08, BLOCK_ON_TABLE_Z))
TASKS |= {
    "D": Task(
        name="D",
        summary="slide the can out of the way, open the drawer, then put the block into it",
        scene=_BLOCK_BESIDE,
        stages=(*TASKS["A"].stages, Stage("block", "drawer")),
        steps=LONG_EPISODE_STEPS,
    ),
    "E": Task(
        name="E",
        summary="slide the can out of the way, open the drawer, put the block into it, then close "
        "the drawer",
        scene=_BLOCK_BESIDE,
        stages=(*TASKS["A"].stages, Stage("block", "drawer"), Stage("drawer", 0.0)),
        steps=LONG_EPISODE_STEPS,
    ),
    "F": Task(
        name="F",
        summary="take the block out of the drawer onto the tray, close the drawer, then slide the "
        "can to where its handle was",
        scene=TASKS["C"].scene,
        stages=(*TASKS["C"].stages, Stage("slide", 0)),
        steps=LONG_EPISODE_STEPS,
    ),
}
PAPER_TASKS = ("A", "B", "C")
"""The tasks of two stages, which commands run where none are named."""


def task_named(name: str, tasks: Mapping[str, Task] = TASKS) -> Task:
    """Return one of the tasks by its name.

    Raises:
        ValueError: there is no such task.

    """
    if name not in tasks:
        raise ValueError(f"unknown task '{name}': use one of {', '.join(tasks)}")
    return tasks[name]


def judge(state: TableState, goal: TableState) -> dict[str, bool]:
    """Compare a state with a goal state, part by part.

    Returns:
        `drawer`, `block`, `can` and `overall`, which is all three.

    """
    drawer = bool(np.linalg.norm(state.handle - goal.handle) < HANDLE_TOLERANCE)
    can = quadrant_of(state.can) == quadrant_of(goal.can)
    block = _block_reached(state, goal)
    return {"drawer": drawer, "block": block, "can": can, "overall": drawer and block and can}


def _block_reached(state: TableState, goal: TableState) -> bool:
    level = abs(state.block[2] - goal.block[2]) < HEIGHT_TOLERANCE
    if block_is_on_table(goal):
        # Anywhere on the table will do.
        return bool(level and block_is_on_table(state))
    near = np.linalg.norm(state.block[:2] - goal.block[:2]) < BLOCK_TOLERANCE
    return bool(level and near)


def block_is_on_table(state: TableState) -> bool:
    """Whether the block is neither on the tray nor in the drawer."""
    inside = drawer_inside_xy(state.drawer_xy, state.drawer_yaw, state.drawer_opening)
    on_tray = np.array([*state.drawer_xy, BLOCK_ON_TRAY_Z])
    in_drawer = np.array([*inside, BLOCK_IN_DRAWER_Z])
    return bool(
        np.linalg.norm(state.block - on_tray) >= BLOCK_TOLERANCE
        and np.linalg.norm(state.block - in_drawer) >= BLOCK_TOLERANCE
    )
