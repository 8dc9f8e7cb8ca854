# SPDX-License-Identifier: Apache-2.0
"""When an arm whose policy was told what to do may stop: the work is done, and stays done. Ours.

A cloned policy has seen nothing after the end of its demonstrations, and goes on moving there. A
goal classifier compares what it sees with the goal, and does not mind where the arm is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ptp_core.learning.goal_classifier import GoalClassifier

DONE = 0.5  # probability from which on the work counts as done


class RestRule:
    """Says at each control step whether the arm rests.

    It begins to after ``hold`` successive steps in which the work is done, and ends after as many
    in which it is not. Without a classifier, or with a hold of 0, it never rests.
    """

    def __init__(self, classifier: GoalClassifier | None, hold: int) -> None:
        self._classifier = classifier if hold else None
        self._hold = hold
        self.reset()

    def reset(self) -> None:
        """Begin with another goal."""
        self._resting = False
        self._against = 0  # successive steps that speak for the other state

    def step(self, latent: torch.Tensor, goal: torch.Tensor | None) -> bool:
        """Whether to rest, for latents (1, D) of now and of the goal; None: it is not known."""
        if self._classifier is None or goal is None:
            return False
        done = float(self._classifier.probability(latent, goal)) >= DONE
        self._against = self._against + 1 if done != self._resting else 0
        if self._against >= self._hold:
            self._resting, self._against = done, 0
        return self._resting
