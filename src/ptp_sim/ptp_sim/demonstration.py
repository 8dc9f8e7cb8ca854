# SPDX-License-Identifier: Apache-2.0
"""One demonstration of the scripted experts: a primitive, or a chain of primitives."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from ptp_sim.experts import RISE_STEPS
from ptp_sim.instructions import instruction
from ptp_sim.primitives import KINDS, Primitive, possible
from ptp_sim.world import TableState

PAUSE = (RISE_STEPS, 2 * RISE_STEPS)
"""Fewest and most control steps between the work of one primitive and the next one."""


class Demonstration:
    """Up to ``length`` primitives, each possible in the state that the one before left.

    The next primitive is of another kind than the one before where the scene allows one: a chain
    that undoes its last step is no useful data. It ends early where nothing is possible, and where
    the work of a primitive is done and yet its goal is not reached.

    Args:
        first: the first primitive.
        length: primitives to show; None: the first one, and no end.
        physical: the gripper holds by friction.
        rng: for the experts, and for what comes next.
        words: for the instructions alone, so that they change nothing else.
        smooth: whether experts go down while they align; see `Expert`.

    """

    def __init__(
        self,
        first: Primitive,
        length: int | None,
        physical: bool,
        rng: np.random.Generator,
        words: np.random.Generator,
        smooth: bool = False,
    ) -> None:
        self._smooth = smooth
        self._length = length
        self._physical = physical
        self._rng = rng
        self._words = words
        self.number = -1  # index of the current primitive
        self.over = False  # a chain's last primitive is done, and the pause after it, too
        self._begin(first)

    def _begin(self, primitive: Primitive) -> None:
        self.primitive = primitive
        self.expert = primitive.expert(self._physical, self._rng, self._smooth)
        self.instruction = instruction([(primitive.name, primitive.place)], self._words)
        self.number += 1
        self._after = 0  # steps since the work was done
        self._pause = 0 if self._length is None else int(self._rng.integers(*PAUSE, endpoint=True))

    def look(self, state: TableState) -> dict:
        """Entries of `info` for this state. Call it once a control step."""
        chain = self._length is not None
        if chain and not self.over and self._after >= self._pause:
            self._go_on(state)
        action = self.expert.act(state)
        self._after += self.expert.done
        info = {
            "primitive": self.primitive.name,
            "target": asdict(self.primitive.target),
            "instruction": self.instruction,
            "success": self.primitive.reached(state),
            "expert_action": action,
            "expert_done": self.expert.done,
        }
        if chain:
            info |= {"segment": self.number, "chain_done": self.over}
        return info

    def _go_on(self, state: TableState) -> None:
        following = None
        if self.number + 1 < self._length and self.primitive.reached(state):
            following = self._draw(possible(state.scene(), self._rng, filled_drawer=True))
        if following is None:
            self.over = True
        else:
            self._begin(following)

    def _draw(self, choices: dict[str, Primitive]) -> Primitive | None:
        kinds = [
            [choices[name] for name in names if name in choices]
            for names in KINDS.values()
            if self.primitive.name not in names
        ]
        kinds = [kind for kind in kinds if kind] or [list(choices.values())]
        kind = kinds[self._rng.integers(len(kinds))]
        return kind[self._rng.integers(len(kind))] if kind else None
