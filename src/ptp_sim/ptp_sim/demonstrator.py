# SPDX-License-Identifier: Apache-2.0
"""A scripted person with a gamepad: demonstrates the stages of tasks, and records them.

It only uses the buttons and sticks; see `Demonstrator`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from ptp_core.errors import PtpError
from ptp_robot.teleoperation import GamepadMapping
from ptp_sim.experts import Expert
from ptp_sim.long_tasks import ALL_TASKS
from ptp_sim.tasks import task_named
from ptp_sim.world import TableState

RETREAT_STEPS = 15  # control steps that are recorded after the work is done: up and away
PRESS_SECONDS = 0.15  # that a button is held
SETTLE_SECONDS = 1.0  # s for all nodes to discover the gamepad, after it discovered them
ANSWER_SECONDS = 4.0  # s until a press without effect is repeated
PATIENCE = 60.0  # s without any progress until it gives up


class Stuck(PtpError):
    """The script makes no progress."""


@dataclass(frozen=True)
class GamepadReading:
    """A reading of a gamepad: sticks and triggers in [-1, 1], buttons 0 or 1."""

    axes: list[float]
    buttons: list[int]


class DemonstratorPhase(Enum):
    """Phases of the script."""

    WAIT = "wait for a scene, the encoder and the recorder"
    RESET = "ask for the next scene"
    START = "start an episode"
    ACT = "demonstrate"
    SAVE = "save the episode"
    DONE = "done"


def stick(value: float, dead_zone: float) -> float:
    """Position of a stick for which a `Gamepad` reads ``value``."""
    size = min(abs(value), 1.0)
    return float(np.sign(value) * (dead_zone + size * (1.0 - dead_zone))) if size else 0.0


class Demonstrator:
    """Chooses the gamepad's readings from the state of the table. Times are steady [s].

    In each scene it demonstrates one stage of the scene's task after the other, one episode a
    stage, and saves each as success or as failure. After the last stage, or a failure, it asks for
    the next scene.

    Args:
        episodes: how many to save as success.
        physical: the gripper holds by friction.
        mapping: of the gamepad, as teleop has it.
        speed: part of the largest motion that a full stick asks for, as teleop has it.
        max_steps: control steps of an episode until it is saved as failure.
        noise: standard deviation of what is added to each action, so that demonstrations differ.
        seed: of that noise and of the experts.

    """

    def __init__(
        self,
        episodes: int,
        *,
        physical: bool = False,
        mapping: GamepadMapping | None = None,
        speed: float = 1.0,
        max_steps: int = 150,
        noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.mapping = mapping or GamepadMapping()
        self.phase = DemonstratorPhase.WAIT
        self.successes = self.failures = 0
        self.steps = 0  # control steps of this episode
        self._episodes = episodes
        self._physical = physical
        self._speed = speed
        self._max_steps = max_steps
        self._noise = noise
        self._rng = np.random.default_rng(seed)
        self._state: TableState | None = None
        self._seq = self._resets = -1
        self._task = ""
        self._stage = 0
        self._expert: Expert | None = None
        self._after = 0  # steps since the work was done
        self._reached = False
        self._action = np.array([0.0, 0.0, 0.0, 0.0, -1.0])
        self._recording: bool | None = None  # unknown yet
        self._encoded = False
        self._ready_at: float | None = None
        self._saved = self._saved_before = 0
        self._pressed_at: float | None = None
        self._progress: float | None = None

    def see(self, state: TableState, seq: int, task: str, resets: int, now: float) -> None:
        """Look at the table: observation ``seq`` of scene number ``resets``."""
        if resets != self._resets:
            self._resets, self._task, self._stage = resets, task, 0
            if self.phase is DemonstratorPhase.RESET:
                self._go(DemonstratorPhase.START, now)
        self._state = state
        if seq != self._seq and self.phase is DemonstratorPhase.ACT:
            self._progress = now
            self._act(state, now)
        self._seq = seq

    def hear_encoder(self) -> None:
        """Note that the encoder has encoded an observation."""
        self._encoded = True

    def hear(self, recording: bool, saved: int, now: float) -> None:
        """Update with the recorder: whether it records, and its number of saved episodes."""
        self._recording, self._saved = recording, saved
        if self.phase is DemonstratorPhase.START and recording:
            self._begin(now)
        elif self.phase is DemonstratorPhase.SAVE and not recording and saved > self._saved_before:
            self._count(now)

    def reading(self, now: float) -> GamepadReading:
        """Return the gamepad's reading now. Raises Stuck without progress."""
        if self._progress is None:
            self._progress = now
        if self.phase is DemonstratorPhase.WAIT and self._ready(now):
            self._go(DemonstratorPhase.START, now)
        if self.phase is not DemonstratorPhase.DONE and now - self._progress > PATIENCE:
            raise Stuck(f"{self.phase.value}: nothing has come of it for {PATIENCE:g} s")
        mapping = self.mapping
        axes = [0.0] * (max(mapping.axes()) + 1)
        hand = (mapping.button_dead_man, mapping.button_close, mapping.button_open)
        buttons = [0] * (max(*hand, *mapping.requests().values()) + 1)
        if self.phase is DemonstratorPhase.ACT:
            for axis, value in zip(mapping.axes(), self._action[:4], strict=True):
                axes[axis] = stick(value / self._speed, mapping.dead_zone)
            closing = self._action[4] > 0.0
            buttons[mapping.button_close if closing else mapping.button_open] = 1
            buttons[mapping.button_dead_man] = 1
        elif self._presses(now):
            buttons[self._button()] = 1
        return GamepadReading(axes, buttons)

    def _ready(self, now: float) -> bool:
        if self._state is None or not self._encoded or self._recording is not False:
            return False
        self._ready_at = now if self._ready_at is None else self._ready_at
        return now - self._ready_at >= SETTLE_SECONDS

    def _button(self) -> int:
        if self.phase is DemonstratorPhase.RESET:
            return self.mapping.button_reset
        if self.phase is DemonstratorPhase.START:
            return self.mapping.button_start
        return self.mapping.button_success if self._reached else self.mapping.button_failure

    def _presses(self, now: float) -> bool:
        if self.phase in (DemonstratorPhase.WAIT, DemonstratorPhase.DONE):
            return False
        if self._pressed_at is None or now - self._pressed_at > ANSWER_SECONDS:
            self._pressed_at = now + PRESS_SECONDS  # released first: then it is a press
        return self._pressed_at <= now <= self._pressed_at + PRESS_SECONDS

    def _go(self, phase: DemonstratorPhase, now: float) -> None:
        self.phase, self._progress, self._pressed_at = phase, now, None

    def _begin(self, now: float) -> None:
        stage = task_named(self._task, ALL_TASKS).stages[self._stage]
        self._expert = stage.expert(self._state, self._physical, self._rng)
        self.steps = self._after = 0
        self._go(DemonstratorPhase.ACT, now)
        self._act(self._state, now)

    def _act(self, state: TableState, now: float) -> None:
        self._reached = task_named(self._task, ALL_TASKS).stages[self._stage].done(state)
        if self._after >= RETREAT_STEPS or self.steps >= self._max_steps:
            self._saved_before = self._saved
            self._go(DemonstratorPhase.SAVE, now)
            return
        action = self._expert.act(state)
        action[:4] += self._noise * self._rng.standard_normal(4)
        self._action = action
        self._after += self._expert.done
        self.steps += 1

    def _count(self, now: float) -> None:
        stages: Sequence = task_named(self._task, ALL_TASKS).stages
        if self._reached:
            self.successes += 1
            self._stage += 1
        else:
            self.failures += 1
        if self.successes >= self._episodes:
            self._go(DemonstratorPhase.DONE, now)
        elif not self._reached or self._stage == len(stages):
            self._go(DemonstratorPhase.RESET, now)
        else:
            self._go(DemonstratorPhase.START, now)
