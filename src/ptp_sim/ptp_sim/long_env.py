# SPDX-License-Identifier: Apache-2.0
"""`table-long`: the table with the ten long tasks, which words tell apart, on varied scenes."""

from __future__ import annotations

from typing import ClassVar

from ptp_sim.env import PROTOCOLS, TableEnv
from ptp_sim.layouts import SHIFTS
from ptp_sim.long_tasks import LONG_TASKS


class LongTableEnv(TableEnv):
    """The table that declares the long tasks; all else is as in `TableEnv`.

    Language is the first of its goals: images of the same end belong to tasks of another order.
    """

    tasks = tuple(LONG_TASKS)
    default_tasks = tasks
    episode_steps: ClassVar = {name: task.steps for name, task in LONG_TASKS.items()}
    instructions: ClassVar = {name: task.instruction for name, task in LONG_TASKS.items()}
    paraphrases: ClassVar = {name: task.paraphrases for name, task in LONG_TASKS.items()}
    protocols = ("varied", *(name for name in PROTOCOLS if name not in ("varied", *SHIFTS)))
    goals = ("language", "image")

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.world.arm.fix_contact_order()


def make_env(**options) -> LongTableEnv:
    """Factory for ``--env ptp_sim.long_env:make_env``; options as of `TableEnv`."""
    return LongTableEnv(**options)
