# SPDX-License-Identifier: Apache-2.0
"""Training of a method that learns from states, GCIQL or HIQL, on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from ptp_core.config import StateLearnerConfig, StateTrainConfig
from ptp_core.data.state_dataset import StateDataset, StateSource
from ptp_core.learning.goal_transitions import GoalTransitions
from ptp_core.learning.gradient_step import Metrics
from ptp_core.training.stage import StageState, run_as_configured, without_budget

VALIDATION_TRANSITIONS = 1024


class StateLearner(Protocol):
    """A `torch.nn.Module` with the networks of a method, and its gradient step."""

    config: StateLearnerConfig
    optimisers: dict[str, torch.optim.Optimizer]

    def draw(self, source: StateSource, count: int, rng: np.random.Generator) -> Any:
        """Draw a batch, a `GoalTransitions` with further goals."""
        ...

    def loss(self, batch: GoalTransitions) -> tuple[torch.Tensor, Metrics]:
        """Loss and metrics of a batch."""
        ...

    def update(self, batch: GoalTransitions) -> Metrics:
        """Make one gradient step; return the metrics."""
        ...


def train_state_learner(
    name: str,
    learner: StateLearner,
    config: StateTrainConfig,
    data: StateDataset,
    folder: Path,
    *,
    validation: StateDataset,
    device: torch.device,
    progress: bool = True,
) -> dict[str, float]:
    """Train with the learner's own settings until the budget is spent; return the last scalars."""
    settings = learner.config
    state = StageState(
        modules={name: learner},
        optimisers=learner.optimisers,
        seed=config.seed,
        fingerprint={
            "config": without_budget(settings),
            "seed": config.seed,
            "content": data.content_hash(),
        },
    )
    source = StateSource(data, device)
    held_out = learner.draw(
        StateSource(validation, device), VALIDATION_TRANSITIONS, np.random.default_rng(0)
    )

    def train_step() -> Metrics:
        return learner.update(learner.draw(source, settings.batch_size, state.rng))

    @torch.no_grad()
    def validate() -> Metrics:
        return learner.loss(held_out)[1]

    return run_as_configured(
        name, folder, state, train_step, settings, config, validate=validate, progress=progress
    )
