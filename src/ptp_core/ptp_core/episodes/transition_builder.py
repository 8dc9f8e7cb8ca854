# SPDX-License-Identifier: Apache-2.0
"""Build an episode's transitions from rows of observations, arm states and policy steps.

ArmState is authoritative: the state of observation b with ``moved`` names the command that led
from the previous observation a to b. Observations at which the arm had not moved are left out. A
transition is marked as broken where an observation, a state or a step of the policy is missing, or
where the scene was reset in between.

An observation is complete when its latent has arrived; without an encoder, when its images have.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from typing import Any

import numpy as np

from ptp_core.data.trajectory import CARTESIAN
from ptp_core.episodes.episode import (
    POLICY,
    TELEOP,
    Episode,
    EpisodeInfo,
    LatentRow,
    ObservationRow,
    ObservedRow,
    PlanRow,
    Row,
    StateRow,
    Step,
    StepInfoRow,
    to_action,
)
from ptp_core.episodes.latent_fields import NO_LATENT

SCENE_RESET = 0.01  # m that the tool moves without a command when the scene is reset


class TransitionBuilder:
    """Builds transitions while rows arrive, in any order between topics."""

    def __init__(self, info: EpisodeInfo) -> None:
        self.info = info
        self.latents: dict[int, LatentRow] = {}
        self.observations: dict[int, ObservationRow] = {}
        self.states: dict[int, StateRow] = {}
        self.pursued: dict[int, StepInfoRow] = {}
        self.plan: PlanRow | None = None
        self.steps: list[Step] = []
        self.chain: list[int] = []  # sequence numbers of the episode's observations
        self._pursued_at: list[int] = []  # sorted keys of ``pursued``
        self._newest = -1  # sequence number of the newest arm state
        self._moved = False
        self._looked_at: int | None = None
        self._missing = False
        self._encoder: str | None = None
        self._observed: dict[int, ObservedRow] = {}

    def add(self, row: Row | None) -> None:
        """Add a row. Rows that are too old, repeated or out of order are left out."""
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
            if before is None or not before.usable:  # the second attempt could be encoded
                self.latents[row.seq] = row
        elif isinstance(row, ObservationRow):
            if not self._goes_back(self.observations, row.seq):
                self.observations.setdefault(row.seq, row)
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
        """Whether a number follows a greater one, as after a restart of the sender.

        Before the arm moved, the earlier sender's rows are dropped; afterwards the new ones are.
        """
        later = [n for n in rows if n > seq] if rows and seq < next(reversed(rows)) else []
        if later and not self._moved:
            for number in later:
                del rows[number]
            self.chain, self._looked_at, self._missing, self._encoder = [], None, False, None
            return False
        return bool(later)

    def unprocessed(self) -> TransitionBuilder:
        """A new builder with the same rows, none of them processed yet.

        It builds the final transitions, which include rows that arrived out of order.
        """
        other = TransitionBuilder(self.info)
        other.latents, other.observations = self.latents, self.observations
        other.states, other.pursued = self.states, self.pursued
        other.plan, other._pursued_at, other._newest = self.plan, self._pursued_at, self._newest
        return other

    def has(self, seq: int) -> bool:
        """Whether observation ``seq`` has arrived, with its latent or images, and its state."""
        return seq in self.observed() and seq in self.states

    def observed(self, everything: bool = False) -> dict[int, ObservedRow]:
        """Observations by number: latents, or images without an encoder.

        The policy's first step tells which. Without one, it is known once ``everything`` arrived.
        """
        first = next(iter(self.pursued.values()), None)
        encodes = self.latents or (first is None and not everything)
        encodes = encodes or (first is not None and first.target.size > 0)
        return self.latents if encodes else self.observations

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names of the dimensions of the episode's actions."""
        first = next(iter(self.pursued.values()), None)
        return CARTESIAN if first is None else first.action_names

    def advance(self, everything: bool = False) -> list[Step]:
        """Build the transitions that are certain: up to, but without, the newest state.

        ``everything``: the newest state is complete, too. Returns the new transitions; ``steps``
        has all of them.
        """
        done = len(self.steps)
        low = -1 if self._looked_at is None else self._looked_at
        high = self._newest + everything
        self._observed = self.observed(everything)
        for seq in sorted(n for n in self.states if low < n < high):
            self._look_at(seq)
        return self.steps[done:]

    def _look_at(self, seq: int) -> None:
        gap = self._looked_at is not None and seq != self._looked_at + 1
        row, state = self._observed.get(seq), self.states[seq]
        before = self.states.get(-1 if self._looked_at is None else self._looked_at)
        # The tool is elsewhere without a command: the scene was reset.
        carried = (
            before is not None
            and not state.moved
            and (
                np.linalg.norm(state.position - before.position - state.executed[:3]) > SCENE_RESET
            )
        )
        self._looked_at = seq
        usable = row is not None and row.usable
        if usable and self._encoder is None:
            self._encoder = row.encoder_id
        usable = usable and row.encoder_id == self._encoder
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
        command, names = state.command, self.action_names
        action = to_action(command, self.info)
        if command.source == POLICY:
            target = self.pursued.get(command.observation_seq)
            broken = self._missing or target is None
        else:
            target, broken = None, self._missing
        if names != CARTESIAN:
            known = target is not None and target.action_names == names
            action = target.action if known else np.zeros(len(names), np.float32)
            broken = broken or not known  # a person's command comes from the arm state only
        target = target or self._last_pursued(start)
        after = self.pursued.get(end)
        reward = float("nan")
        if target and after and np.array_equal(after.target, target.target):
            reward = after.reward
        return Step(
            step=len(self.steps),
            stamp=state.stamp,
            observation_seq=start,
            observation_stamp=self._observed[start].stamp,
            next_seq=end,
            command=command,
            action_names=names,
            action=action,
            intervention=command.source == TELEOP and target is not None,
            executed=state.executed,
            executed_gripper=state.gripper,
            pursued=target is not None,
            target=target.target if target else NO_LATENT,
            encoder_id=self._encoder if target and target.target.size else "",
            subgoal_index=target.subgoal_index if target else 0,
            subgoal_count=target.subgoal_count if target else 0,
            reward=reward,
            broken=broken,
        )

    def _last_pursued(self, seq: int) -> StepInfoRow | None:
        """The policy's newest step at observation ``seq`` or before."""
        at = bisect.bisect_right(self._pursued_at, seq)
        return self.pursued[self._pursued_at[at - 1]] if at else None

    def episode(self, end_reason: str) -> Episode:
        """The whole episode, from all rows."""
        self.advance(everything=True)
        first = next((step for step in self.steps if step.pursued), None)
        for step in self.steps:
            if first is not None and not step.pursued:  # before the first step of the policy
                step.pursued, step.target = True, first.target
                step.encoder_id = first.encoder_id
                step.intervention = step.command.source == TELEOP
            step.end_reason = ""
        if self.steps:
            self.steps[-1].end_reason = end_reason
        rows = [self._observed[seq] for seq in self.chain]
        names = rows[0].proprioception_names if rows else ()
        actions = [step.action for step in self.steps]
        return Episode(
            info=self.info,
            encoder_id=self._encoder or "",
            latents=_stacked([row.latent for row in rows]),
            observation_seqs=np.array(self.chain, np.uint32),
            proprioception_names=names,
            proprioception=np.array([_numbers(row, names) for row in rows], np.float32).reshape(
                len(rows), len(names)
            ),
            action_names=self.action_names,
            actions=np.array(actions, np.float32).reshape(len(actions), len(self.action_names)),
            sources=np.array([step.command.source for step in self.steps], np.uint8),
            breaks=np.array([step.broken for step in self.steps], bool),
            weights_versions=[step.command.weights_version for step in self.steps],
            goal=self._goal(),
            targets=NO_LATENT if first is None else _stacked([s.target for s in self.steps]),
            rewards=np.array([step.reward for step in self.steps], np.float32),
            interventions=sum(step.intervention for step in self.steps),
            end_reason=end_reason,
        )

    def _goal(self) -> np.ndarray:
        if self.plan is not None and self.plan.encoder_id == self._encoder:
            return self.plan.goal
        for seq in self._pursued_at:
            step = self.pursued[seq]
            if step.subgoal_index == step.subgoal_count:
                return step.target
        return NO_LATENT


def _stacked(latents: list[np.ndarray]) -> np.ndarray:
    """Stack to (N, ...); (0,) where there are none, or nothing was encoded."""
    return np.stack(latents) if latents and latents[0].size else NO_LATENT


def _numbers(row: ObservedRow, names: tuple[str, ...]) -> np.ndarray:
    """Proprioception; NaN where an observation has other dimensions than the first one."""
    if row.proprioception_names == names:
        return row.proprioception
    return np.full(len(names), np.nan, np.float32)


def assemble(
    info: EpisodeInfo, rows: Iterable[Row], end_reason: str
) -> tuple[Episode, list[Step]]:
    """Build the episode and transitions of all rows of a recording.

    Rows of one topic must be in their order; the order between topics does not matter.
    """
    assembler = TransitionBuilder(info)
    for row in rows:
        assembler.add(row)
    return assembler.episode(end_reason), assembler.steps
