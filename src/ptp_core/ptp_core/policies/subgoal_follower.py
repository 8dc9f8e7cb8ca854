# SPDX-License-Identifier: Apache-2.0
"""Subgoal follower: decides when the policy moves on to the next subgoal (paper Alg. 1).

The rule is that of the authors' contextual_env.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ptp_core.config import FollowerConfig
from ptp_core.errors import ConfigError

if TYPE_CHECKING:
    from ptp_core.learning.goal_classifier import GoalClassifier

Measure = Callable[[torch.Tensor, torch.Tensor], float]
"""Distance from a latent (D,) to a target (D,)."""


def latent_distance(latent: torch.Tensor, target: torch.Tensor) -> float:
    """L2 of two latents (authors)."""
    return float(torch.linalg.vector_norm(latent - target))


def work_left(classifier: GoalClassifier) -> Measure:
    """A measure: the probability that the target's work is not done yet. Ours."""

    def measure(latent: torch.Tensor, target: torch.Tensor) -> float:
        return 1.0 - float(classifier.probability(latent[None], target[None])[0])

    return measure


@dataclass(frozen=True)
class FollowerState:
    """The follower's decision at one control step."""

    goal: torch.Tensor  # latent (D,) that the policy gets in this step
    index: int  # its index in the plan; the plan's length means the goal itself
    switched: bool  # the follower moved on in this step
    timed_out: bool  # it did so because of the timeout, not because the subgoal was near
    distance: float  # from the current latent to the subgoal that the rule checks
    arrived: bool  # the goal itself is pursued and near
    outdated: bool  # a subgoal was reached or given up, or the goal is far after the timeout
    missed: bool = False  # what was given up is the goal, as itself or as the last subgoal
    doubted: bool = False  # outdated as it was carried out, and the goal itself is far


class SubgoalFollower:
    """Walks through a plan: next subgoal when the current one is near, or after a timeout.

    Near means for ``config.hold`` successive steps. After the last subgoal it stays on the goal.
    A goal that was reached counts as left after as many successive steps in which it is far.
    It never replans. ``measure`` gives the distance that ``config.distance_threshold`` is for.
    ``strict`` is the measure by which a plan that was carried out is doubted; None: the same.

    With ``config.stand_in`` the last subgoal is what the policy pursues in the goal's place, until
    one of the two is near. A goal image shows every object; those that earlier subgoals moved
    never lie exactly so, and a policy takes the difference for work. An end that was planned from
    the present state differs from it by the last piece of work alone. Where one of the two was
    held, the goal counts as reached as soon as it comes no nearer. A plan may err: where it was
    carried out and the goal itself is far by ``strict``, it is outdated after the timeout.
    """

    def __init__(
        self,
        config: FollowerConfig | None = None,
        measure: Measure = latent_distance,
        strict: Measure | None = None,
    ) -> None:
        self.config = config = config or FollowerConfig()
        if config.distance_threshold == "auto":
            raise ConfigError(
                'follower.distance_threshold is "auto"; take the number that the training '
                "settled on from the checkpoint's configuration"
            )
        self._measure = measure
        self._strict = strict or measure
        self._targets: list[torch.Tensor] = []
        self._index = 0
        self._timer: int | None = None
        self._held = 0  # successive steps in which the current target was near
        self._away = 0  # successive steps in which it was far
        self._at_goal = False  # the goal was reached, and not left since
        self._least: float | None = None  # distance to an end that was held while it falls

    def reset(self, plan: torch.Tensor | None, goal: torch.Tensor) -> None:
        """Start on ``plan`` (K, D), or with None directly on ``goal`` (D,)."""
        self._targets = [*(plan if plan is not None else ()), goal]
        self._index = 0
        self._timer = None
        self._held = self._away = 0
        self._at_goal = False
        self._least = None

    def step(self, latent: torch.Tensor) -> FollowerState:
        """Update with the current latent (D,), once a control step, before acting.

        With ``switch_delay`` the policy still gets the old subgoal in the step of the switch.
        The first step after ``reset`` never switches.
        """
        config = self.config
        before = self._index
        last = len(self._targets) - 1
        last_subgoal = max(last - 1, 0)
        stands_in = config.stand_in and before >= last_subgoal
        compared = before if config.compare_with == "current_subgoal" else last_subgoal
        current = self._targets[last if stands_in else before]
        if stands_in:  # both are where the work is done
            ends = self._targets[last_subgoal], current
            distance = min(self._measure(latent, end) for end in ends)
        else:
            distance = self._measure(latent, self._targets[compared])
        timed_out = arrived = outdated = False
        if self._timer is None:
            self._timer = 0
        else:
            self._timer += 1
            here = distance < config.distance_threshold
            self._held, self._away = (self._held + 1, 0) if here else (0, self._away + 1)
            for_goal = stands_in or before == last
            hold = config.goal_hold if for_goal and config.goal_hold else config.hold
            near = self._held >= hold
            if before == last and (near or self._away >= hold):
                self._at_goal = near
                self._least = None
            elif self._least is not None:  # the end was held, and the policy goes on
                self._at_goal = here and distance >= self._least
                self._least = distance if here and not self._at_goal else None
            arrived = self._at_goal
            planned = stands_in and last_subgoal < last
            if arrived and not (planned and self._far(latent, current)):
                self._timer = 0
            if before < last and (near or self._timer >= config.timeout):
                self._index += 1
                self._timer = 0
                self._held = self._away = 0
                timed_out = not near
                outdated = timed_out or self._index < last
                self._least = distance if near and stands_in else None
            elif self._timer >= config.timeout:
                self._timer = 0
                outdated = True
        switched = self._index != before
        doubted = outdated and arrived
        given_up = (timed_out or (outdated and not switched)) and not doubted
        missed = given_up and torch.equal(current, self._targets[last])
        shown = before if config.switch_delay else self._index
        pursued = min(shown, last_subgoal) if config.stand_in else shown
        return FollowerState(
            self._targets[pursued],
            shown,
            switched,
            timed_out,
            distance,
            arrived,
            outdated,
            missed,
            doubted,
        )

    def _far(self, latent: torch.Tensor, goal: torch.Tensor) -> bool:
        return self._strict(latent, goal) >= self.config.distance_threshold
