# SPDX-License-Identifier: Apache-2.0
"""Transitions between states with the goals that values learn from."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass
class GoalTransitions:
    """Transitions s, a, s' with goals g; states and goals float32 (B, P)."""

    states: torch.Tensor
    actions: torch.Tensor  # float32 (B, A) in [-1, 1]
    next_states: torch.Tensor
    goals: torch.Tensor
    rewards: torch.Tensor  # float32 (B,): 0 where s is the goal, else -1
    masks: torch.Tensor  # float32 (B,): 0 where s is the goal, where the return ends; else 1
