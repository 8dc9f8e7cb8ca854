# SPDX-License-Identifier: Apache-2.0
"""Which stages of a task were reached in order: the stage score, judged with the exact state.

Privileged: a robot cannot know it. It serves tables of results, and the choice of demonstrations.
"""

from __future__ import annotations

from ptp_sim.tasks import Task, judge
from ptp_sim.world import TableState

KINDS_OF_PARTS = {"drawer": "drawer", "block": "block", "can": "slide"}
"""The kind of stage that moves each part of the table."""


class StageProgress:
    """Follows an episode state by state.

    A stage is reached when its result comes about after the stages before it were reached: a
    result that stands already then has to be undone first. So a robot that does the same work in
    another order reaches fewer stages, although the table looks the same at the end. A block in
    the hand is not yet in its place.

    Args:
        task: the task whose stages are followed.
        start: the state in which the episode begins.

    Attributes:
        reached: stages that were reached in order, 0 to all of them.

    """

    def __init__(self, task: Task, start: TableState) -> None:
        self.task = task
        self.reached = 0
        self._start = start
        self._stood = self._stands(start)

    def look(self, state: TableState) -> None:
        """Take the state after a control step into account."""
        stands = self._stands(state)
        if stands and not self._stood:
            self.reached += 1
            stands = self._stands(state)
        self._stood = stands

    def _stands(self, state: TableState) -> bool:
        """Whether the result of the next stage stands."""
        if self.reached == len(self.task.stages):
            return False
        stage = self.task.stages[self.reached]
        return stage.done(state) and not (stage.kind == "block" and state.holding)

    def parts(self, state: TableState) -> dict[str, bool]:
        """The success check, part by part; an episode is a success where all hold.

        Returns:
            `drawer`, `block` and `can`: whether the result of the last stage of its kind stands,
            or, where the task leaves it alone, whether it is where it was. `order`: whether all
            stages were reached in order.

        """
        last = {stage.kind: stage for stage in self.task.stages}
        alone = judge(state, self._start)
        found = {
            part: last[kind].done(state) if kind in last else alone[part]
            for part, kind in KINDS_OF_PARTS.items()
        }
        return {**found, "order": self.reached == len(self.task.stages)}
