# SPDX-License-Identifier: Apache-2.0
"""Ten long tasks that words tell apart: the environment `table-long`.

The tasks start in one of two scenes. All tasks of a start scene draw the same arrangements, so
that nothing but the words says which of them is asked for. Some of them differ in a target alone,
others in the order of the same primitives; `StageProgress` judges the order. Demonstrations have
one instruction a task. The paraphrases are held out for the test.

Ten tasks, and 50 demonstrations of each, as LIBERO-LONG has (Liu et al., arXiv 2306.03310), with
which the paper on Latent Space Backward Planning (arXiv 2505.06861) measures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptp_sim.demonstration import PAUSE
from ptp_sim.experts import Expert
from ptp_sim.primitives import Primitive
from ptp_sim.scene import (
    BLOCK_ON_TABLE_Z,
    BLOCK_ON_TRAY_Z,
    CAN_QUADRANTS,
    DRAWER_QUADRANTS,
    DRAWER_TRAVEL,
    Scene,
)
from ptp_sim.tasks import EPISODE_STEPS, LONG_EPISODE_STEPS, TASKS, Stage, Task
from ptp_sim.world import TableState

LAST_PAUSE = 25
"""Most control steps after the work of the last stage: a demonstration shows how to stay there."""
MOST_YAW = np.deg2rad(110.0)
"""Largest yaw of the tool in demonstrations: far from the limit of the wrist, however many stages
follow each other."""


@dataclass(frozen=True, kw_only=True)
class LongTask(Task):
    """A task with words.

    Attributes:
        instruction: the sentence that demonstrations are labelled with.
        paraphrases: sentences of the same meaning that no demonstration has.

    """

    instruction: str
    paraphrases: tuple[str, ...]
    aftermath: tuple[int, int] = (PAUSE[0], LAST_PAUSE)  # as demonstrations end: the arm is away

    def primitive(self, stage: Stage, state: TableState) -> Primitive:
        """The primitive that carries one of the stages out from this state."""
        return Primitive(stage.meaning[0], stage.goal(state))

    def expert(
        self, stage: Stage, state: TableState, physical: bool, rng: np.random.Generator
    ) -> Expert:
        """Make the smooth expert that carries one of the stages out from this state."""
        expert = self.primitive(stage, state).expert(physical, rng, smooth=True)
        expert.most_yaw = MOST_YAW
        return expert

    def within_reach(self, scene: Scene) -> bool:
        """Whether every task of the same start scene can be done in this one.

        Otherwise the arrangement would give away which task is asked for.
        """
        return all(
            Task.within_reach(task, scene) and task.plan_fits(scene)
            for task in tasks_beginning_as(self)
        )


OPEN_DRAWER = Scene(
    drawer_xy=DRAWER_QUADRANTS[0],
    drawer_yaw=np.deg2rad(90.0),
    drawer_opening=DRAWER_TRAVEL,
    block_xyz=(0.60, 0.0, BLOCK_ON_TABLE_Z),
    block_yaw=0.0,
    can_xy=CAN_QUADRANTS[2],
)
"""The drawer is open on the left, the block lies on the table, the can stands far right."""
CLOSED_DRAWER = Scene(
    drawer_xy=DRAWER_QUADRANTS[1],
    drawer_yaw=np.deg2rad(172.0),
    drawer_opening=0.0,
    block_xyz=(*DRAWER_QUADRANTS[1], BLOCK_ON_TRAY_Z),
    block_yaw=0.0,
    can_xy=CAN_QUADRANTS[3],
)
"""The drawer is closed on the right, the block lies on its tray, the can stands far left."""

_NEAR_LEFT, _NEAR_RIGHT, _FAR_RIGHT, _FAR_LEFT = (Stage("slide", place) for place in range(4))
_OPEN, _CLOSE = Stage("drawer", DRAWER_TRAVEL), Stage("drawer", 0.0)
_TO_TRAY, _TO_DRAWER = Stage("block", "tray"), Stage("block", "drawer")


def _tasks(*rows: tuple[Scene, tuple[Stage, ...], str, tuple[str, ...]]) -> dict[str, LongTask]:
    tasks = {}
    for number, (scene, stages, instruction, paraphrases) in enumerate(rows, 1):
        name = f"long_{number}"
        tasks[name] = LongTask(
            name=name,
            summary=instruction,
            scene=scene,
            stages=stages,
            steps=EPISODE_STEPS if len(stages) == 2 else LONG_EPISODE_STEPS,
            instruction=instruction,
            paraphrases=paraphrases,
        )
    return tasks


LONG_TASKS = _tasks(
    (
        OPEN_DRAWER,
        (_TO_DRAWER, _CLOSE),
        "put the block in the drawer, then close the drawer",
        (
            "place the block inside the drawer and push it shut",
            "store the block away in the drawer, and shut the drawer afterwards",
            "close the drawer after dropping the block into it",
        ),
    ),
    (
        OPEN_DRAWER,
        (_TO_TRAY, _CLOSE),
        "put the block on the tray, then close the drawer",
        (
            "place the block on top of the tray and push the drawer shut",
            "lay the block down on the tray, and shut the drawer afterwards",
            "close the drawer after setting the block on the tray",
        ),
    ),
    (
        OPEN_DRAWER,
        (_CLOSE, _NEAR_RIGHT),
        "close the drawer, then slide the can to the near right",
        (
            "push the drawer shut and move the can over to the near right corner",
            "first shut the drawer, and after that push the can to the near right",
            "slide the can to the near right after closing the drawer",
        ),
    ),
    (
        OPEN_DRAWER,
        (_NEAR_RIGHT, _CLOSE),
        "slide the can to the near right, then close the drawer",
        (
            "move the can over to the near right corner and push the drawer shut",
            "first push the can to the near right, and after that shut the drawer",
            "close the drawer after sliding the can to the near right",
        ),
    ),
    (
        OPEN_DRAWER,
        (_TO_TRAY, _CLOSE, _NEAR_RIGHT),
        "put the block on the tray, then close the drawer, then slide the can to the near right",
        (
            "place the block on the tray, push the drawer shut and move the can over to the near "
            "right corner",
            "first lay the block on the tray, next shut the drawer, and last push the can to the "
            "near right",
            "once the block is on the tray and the drawer is shut, slide the can to the near "
            "right",
        ),
    ),
    (
        OPEN_DRAWER,
        (_TO_TRAY, _CLOSE, _FAR_LEFT),
        "put the block on the tray, then close the drawer, then slide the can to the far left",
        (
            "place the block on the tray, push the drawer shut and move the can over to the far "
            "left corner",
            "first lay the block on the tray, next shut the drawer, and last push the can to the "
            "far left",
            "once the block is on the tray and the drawer is shut, slide the can to the far left",
        ),
    ),
    (
        CLOSED_DRAWER,
        (_FAR_RIGHT, _OPEN, _TO_DRAWER),
        "slide the can to the far right, then open the drawer, then put the block in the drawer",
        (
            "move the can over to the far right corner, pull the drawer open and place the block "
            "inside it",
            "first push the can to the far right, next pull out the drawer, and last drop the "
            "block into it",
            "put the block into the drawer after sliding the can to the far right and opening the "
            "drawer",
        ),
    ),
    (
        CLOSED_DRAWER,
        (_OPEN, _TO_DRAWER, _FAR_RIGHT),
        "open the drawer, then put the block in the drawer, then slide the can to the far right",
        (
            "pull the drawer open, place the block inside it and move the can over to the far "
            "right corner",
            "first pull out the drawer, next drop the block into it, and last push the can to the "
            "far right",
            "slide the can to the far right after opening the drawer and putting the block into "
            "it",
        ),
    ),
    (
        CLOSED_DRAWER,
        (_OPEN, _TO_DRAWER, _CLOSE, _NEAR_LEFT),
        "open the drawer, then put the block in the drawer, then close the drawer, then slide the "
        "can to the near left",
        (
            "pull the drawer open, place the block inside it, push it shut and move the can over "
            "to the near left corner",
            "store the block away in the drawer, shut it, and push the can to the near left",
            "once the block is in the closed drawer, slide the can to the near left",
        ),
    ),
    (
        CLOSED_DRAWER,
        (_OPEN, _TO_DRAWER, _CLOSE, _FAR_RIGHT),
        "open the drawer, then put the block in the drawer, then close the drawer, then slide the "
        "can to the far right",
        (
            "pull the drawer open, place the block inside it, push it shut and move the can over "
            "to the far right corner",
            "store the block away in the drawer, shut it, and push the can to the far right",
            "once the block is in the closed drawer, slide the can to the far right",
        ),
    ),
)
"""By name, in the order of the tables."""
ALL_TASKS: dict[str, Task] = {**TASKS, **LONG_TASKS}
"""Every task of the table by name."""


def tasks_beginning_as(task: Task) -> tuple[Task, ...]:
    """The tasks that draw the same arrangements as this one, itself among them."""
    if not isinstance(task, LongTask):
        return (task,)
    return tuple(other for other in LONG_TASKS.values() if other.scene == task.scene)
