# SPDX-License-Identifier: Apache-2.0
"""From rows of latents, arm states and policy steps to an episode and its transitions.

The arm's word counts: the state of observation b with ``moved`` names the command that led there,
from the observation a before it. Observations at which the arm had not moved are left out. A
transition is marked as broken where an observation, a state or a step of the policy is missing, or
the scene was set up anew in between.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from typing import Any

import numpy as np

from ptp_core.data.episodes.episode import (
    POLICY,
    TELEOP,
    Episode,
    EpisodeInfo,
    LatentRow,
    PlanRow,
    Row,
    StateRow,
    Step,
    StepInfoRow,
    empty_actions,
    empty_codes,
    to_action,
)

CARRIED = 0.01  # m


class Assembler:
    """Puts transitions together while rows come, in whatever order between the topics."""

    def __init__(self, info: EpisodeInfo) -> None:
        self.info = info
        self.latents: dict[int, LatentRow] = {}
        self.states: dict[int, StateRow] = {}
        self.pursued: dict[int, StepInfoRow] = {}
        self.plan: PlanRow | None = None
        self.steps: list[Step] = []
        self.chain: list[int] = []  # observation numbers of the episode
        self._pursued_at: list[int] = []  # sorted numbers
        self._newest = -1  # arm state
        self._moved = False
        self._looked_at: int | None = None
        self._missing = False
        self._encoder: str | None = None

    def add(self, row: Row | None) -> None:
        """Take a row. What is too old, comes twice or goes back in number is left out."""
        if isinstance(row, PlanRow):
            if row.episode_id in ("", self.info.episode_id):
                self.plan = row
            return
        if row is None or row.seq < self.info.first_observation_seq:
            return
        if isinstance(row, LatentRow):
            if self._goes_back(self.latents, row.seq):
                return
            before = self.latents.get(row.seq)
            if before is None or not before.usable:  # encoded at the second attempt
                self.latents[row.seq] = row
        elif isinstance(row, StateRow):
            if self._goes_back(self.states, row.seq) or row.seq in self.states:
                return
            self._moved = self._moved or (row.moved and bool(self.states))
            self.states[row.seq] = row
            self._newest = row.seq
        elif row.seq not in self.pursued:
            self.pursued[row.seq] = row
            bisect.insort(self._pursued_at, row.seq)

    def _goes_back(self, rows: dict[int, Any], seq: int) -> bool:
        """Whether a number came after a greater one: the sender was restarted.

        Before anything moved, the rows of the earlier sender go; afterwards the new ones do.
        """
        later = [n for n in rows if n > seq] if rows and seq < next(reversed(rows)) else []
        if later and not self._moved:
            for number in later:
                del rows[number]
            self.chain, self._looked_at, self._missing, self._encoder = [], None, False, None
            return False
        return bool(later)

    def afresh(self) -> Assembler:
        """An assembler with the same rows that has not looked at any yet.

        For the final word: rows that came late, after the news that followed them, count there.
        """
        other = Assembler(self.info)
        other.latents, other.states, other.pursued = self.latents, self.states, self.pursued
        other.plan, other._pursued_at, other._newest = self.plan, self._pursued_at, self._newest
        return other

    def has(self, seq: int) -> bool:
        """Whether latent and state of observation ``seq`` are there."""
        return seq in self.latents and seq in self.states

    def advance(self, everything: bool = False) -> list[Step]:
        """Transitions that are certain by now: up to the newest state, which may lack news.

        ``everything``: that one too. Returns the new ones; ``steps`` has all.
        """
        done = len(self.steps)
        low = -1 if self._looked_at is None else self._looked_at
        high = self._newest + everything
        for seq in sorted(n for n in self.states if low < n < high):
            self._look_at(seq)
        return self.steps[done:]

    def _look_at(self, seq: int) -> None:
        gap = self._looked_at is not None and seq != self._looked_at + 1
        latent, state = self.latents.get(seq), self.states[seq]
        before = self.states.get(-1 if self._looked_at is None else self._looked_at)
        # Elsewhere, though it neither moved nor was told to: somebody set the scene up anew.
        carried = (
            before is not None
            and not state.moved
            and (np.linalg.norm(state.position - before.position - state.executed[:3]) > CARRIED)
        )
        self._looked_at = seq
        usable = latent is not None and latent.usable
        if usable and self._encoder is None:
            self._encoder = latent.encoder_id
        usable = usable and latent.encoder_id == self._encoder
        if not self.chain:
            if usable:
                self.chain.append(seq)
            return
        self._missing = self._missing or gap or carried or (state.moved and not usable)
        if not state.moved or not usable:
            return
        self.steps.append(self._step(self.chain[-1], seq, state))
        self.chain.append(seq)
        self._missing = False

    def _step(self, start: int, end: int, state: StateRow) -> Step:
        command = state.command
        if command.source == POLICY:
            target = self.pursued.get(command.observation_seq)
            broken = self._missing or target is None
        else:
            target, broken = None, self._missing
        target = target or self._last_pursued(start)
        after = self.pursued.get(end)
        reward = float("nan")
        if target and after and np.array_equal(after.target, target.target):
            reward = after.reward
        return Step(
            step=len(self.steps),
            stamp=state.stamp,
            observation_seq=start,
            observation_stamp=self.latents[start].stamp,
            next_seq=end,
            command=command,
            action=to_action(command, self.info),
            intervention=command.source == TELEOP and target is not None,
            executed=state.executed,
            executed_gripper=state.gripper,
            target=target.target if target else None,
            subgoal_index=target.subgoal_index if target else 0,
            subgoal_count=target.subgoal_count if target else 0,
            reward=reward,
            broken=broken,
        )

    def _last_pursued(self, seq: int) -> StepInfoRow | None:
        """What the policy last pursued at observation ``seq`` or before."""
        at = bisect.bisect_right(self._pursued_at, seq)
        return self.pursued[self._pursued_at[at - 1]] if at else None

    def episode(self, end_reason: str) -> Episode:
        """The whole episode, from everything that came."""
        self.advance(everything=True)
        targets = [step.target for step in self.steps]
        known = next((target for target in targets if target is not None), None)
        for step in self.steps:
            if known is not None and step.target is None:  # before the policy's first step
                step.target = known
                step.intervention = step.command.source == TELEOP
            step.end_reason = ""
        if self.steps:
            self.steps[-1].end_reason = end_reason
        codes = [self.latents[seq].codes for seq in self.chain]
        actions = [step.action for step in self.steps]
        return Episode(
            info=self.info,
            encoder_id=self._encoder or "",
            codes=np.stack(codes) if codes else empty_codes(),
            observation_seqs=np.array(self.chain, np.uint32),
            actions=np.stack(actions) if actions else empty_actions(),
            sources=np.array([step.command.source for step in self.steps], np.uint8),
            breaks=np.array([step.broken for step in self.steps], bool),
            weights_versions=[step.command.weights_version for step in self.steps],
            goal_codes=self._goal(),
            target_codes=empty_codes()
            if known is None
            else np.stack([step.target for step in self.steps]),
            rewards=np.array([step.reward for step in self.steps], np.float32),
            end_reason=end_reason,
        )

    def _goal(self) -> np.ndarray | None:
        if self.plan is not None and self.plan.encoder_id == self._encoder:
            return self.plan.goal
        for seq in self._pursued_at:
            step = self.pursued[seq]
            if step.subgoal_index == step.subgoal_count:
                return step.target
        return None


def assemble(
    info: EpisodeInfo, rows: Iterable[Row], end_reason: str
) -> tuple[Episode, list[Step]]:
    """Episode and transitions of all rows of a recording.

    Rows of one topic must be in their order; the order between topics does not matter.
    """
    assembler = Assembler(info)
    for row in rows:
        assembler.add(row)
    return assembler.episode(end_reason), assembler.steps
