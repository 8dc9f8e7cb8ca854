# SPDX-License-Identifier: Apache-2.0
"""One demonstration of a whole task: smooth experts carry its stages out, one after the other."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from ptp_sim.demonstration import PAUSE
from ptp_sim.instructions import paraphrases
from ptp_sim.long_tasks import LAST_PAUSE, LongTask
from ptp_sim.stage_progress import StageProgress
from ptp_sim.world import TableState


class TaskDemonstration:
    """Shows a task from its first stage to its last, then stays for a while.

    It goes on with the next stage 10 to 20 control steps after the work of one is done, and ends
    early, as a failure, where the result of a stage does not stand then.

    Args:
        task: what is shown.
        start: the state in which it begins.
        physical: the gripper holds by friction.
        rng: for the experts and the pauses.

    """

    def __init__(
        self, task: LongTask, start: TableState, physical: bool, rng: np.random.Generator
    ) -> None:
        self.task = task
        self.progress = StageProgress(task, start)
        self._physical = physical
        self._rng = rng
        self.number = -1  # index of the current stage
        self.over = False
        self._begin(start)

    def _begin(self, state: TableState) -> None:
        self.number += 1
        self.stage = self.task.stages[self.number]
        self.primitive = self.task.primitive(self.stage, state)
        self.expert = self.task.expert(self.stage, state, self._physical, self._rng)
        # The plainest sentence alone: the others may be among the words that are held out.
        self._instruction = paraphrases(*self.stage.meaning)[0]
        self._after = 0  # steps since the work was done
        last = self.number + 1 == len(self.task.stages)
        pause = (PAUSE[0], LAST_PAUSE) if last else PAUSE
        self._pause = int(self._rng.integers(*pause, endpoint=True))

    def look(self, state: TableState) -> dict:
        """Entries of `info` for this state. Call it once a control step."""
        self.progress.look(state)
        if not self.over and self._after >= self._pause:
            if self.number + 1 < len(self.task.stages) and self.stage.done(state):
                self._begin(state)
            else:
                self.over = True
        action = self.expert.act(state)
        self._after += self.expert.done
        return {
            "primitive": self.primitive.name,
            "target": asdict(self.primitive.target),
            "instruction": self._instruction,
            "success": self.stage.done(state),
            "expert_action": action,
            "expert_done": self.expert.done,
            "segment": self.number,
            "chain_done": self.over,
            "task_instruction": self.task.instruction,
            "task_success": all(self.progress.parts(state).values()),
        }
