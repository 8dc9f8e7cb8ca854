# SPDX-License-Identifier: Apache-2.0
"""The agent of methods that see the whole state and pursue a goal state."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ptp_core.agents.agent import (
    AgentSeeds,
    Cancelled,
    Decision,
    Goal,
    Observation,
)
from ptp_core.errors import GoalError, InputError

if TYPE_CHECKING:
    from ptp_core.training.checkpoint import Checkpoint


class StateAgent:
    """Asks the networks of the part ``name`` at every step; it plans nothing and draws nothing.

    The state is the observation's proprioception. The networks have ``act(states, goals)``, which
    returns actions, and ``value(states, goals)``.
    """

    settings: Mapping[str, Any]

    def __init__(self, checkpoint: Checkpoint, name: str) -> None:
        self.spec = dataclasses.replace(checkpoint.spec, agent=name)
        self.settings = {}
        self.learned: nn.Module = checkpoint.part(name)
        self._goal: torch.Tensor | None = None  # (1, P)

    def reset(
        self,
        observation: Observation,
        goal: Goal,
        seeds: AgentSeeds,
        *,
        subgoals: Sequence[Goal] | None = None,
        cancelled: Cancelled = None,
    ) -> None:
        """Begin an episode. Raises GoalError for subgoals, and for a goal that is no state."""
        if subgoals:
            raise GoalError(
                f"{self.spec.agent} pursues the goal itself and no given subgoals: leave them out"
            )
        self.spec.check_goal(goal)
        self._goal = self._tensor(goal.state)

    @torch.inference_mode()
    def act(self, observation: Observation, cancelled: Cancelled = None) -> Decision:
        """Choose the action for the current state."""
        action = self.learned.act(*self._pair(observation))[0]
        return Decision(action.cpu().numpy())

    @torch.inference_mode()
    def distance(self, observation: Observation) -> float:
        """-V: the discounted number of control steps to the goal, at most 1 / (1 - gamma)."""
        return -float(self.learned.value(*self._pair(observation))[0])

    def _pair(self, observation: Observation) -> tuple[torch.Tensor, torch.Tensor]:
        """State and goal, each (1, P)."""
        if self._goal is None:
            raise InputError("the agent has no goal yet: call reset before act")
        self.spec.check_observation(observation)
        return self._tensor(observation.proprioception), self._goal

    def _tensor(self, state: np.ndarray) -> torch.Tensor:
        device = next(self.learned.parameters()).device
        return torch.from_numpy(np.asarray(state, np.float32))[None].to(device)
