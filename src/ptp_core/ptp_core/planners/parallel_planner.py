# SPDX-License-Identifier: Apache-2.0
"""The parallel planner, a baseline of LBP: goal and subgoals in one prediction.

(arXiv 2505.06861, Figs. 5 and 6.) One network of two layers makes all latents of LBP's plan of the
current latent and the instruction. It knows no goal latent, so it takes instructions alone.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ptp_core.config import LatentShape, ParallelConfig
from ptp_core.networks import Standardise, two_layers
from ptp_core.planners.backward_planner import backward_frames
from ptp_core.planners.planner import instruction_only


class ParallelPlanner(nn.Module):
    """Latents are float32 (B, D), instructions (B, language)."""

    goal_images = False  # whether it plans to a goal latent that is given
    ends_at_goal = True  # whether the last latent of a plan is the goal

    def __init__(self, config: ParallelConfig, latent: LatentShape, language: int) -> None:
        super().__init__()
        self.config, self.latent = config, latent
        size, hidden = latent.size, round(config.hidden_factor * latent.size)
        self.scale = Standardise(size)
        self.predictor = two_layers(size + language, hidden, self.levels * size)

    @property
    def levels(self) -> int:
        """Latents of a plan, the goal included."""
        return self.config.subgoals + 1

    def frames(self, frames: np.ndarray, last: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Frames whose latents a plan predicts, int64 (B, levels), near to far."""
        config = self.config
        return backward_frames(frames, last, config.subgoals, config.ratio, config.index_rule)

    @torch.no_grad()
    def subgoals(
        self,
        latents: torch.Tensor,
        language: torch.Tensor | None,
        goals: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Plan latents (B, levels, D), near to far. Raises GoalError for goal latents."""
        language = instruction_only("the parallel planner", language, goals)
        return self.scale.inverse(self._all(latents, language))

    def loss(
        self,
        latents: torch.Tensor,
        targets: torch.Tensor,
        language: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Sum over the levels of the mean squared errors for targets (B, levels, D)."""
        found = self._all(latents, language)
        error = functional.mse_loss(found, self.scale(targets))
        total = self.levels * error
        return total, {"loss": total.detach(), "subgoal_mse": error.detach()}

    def _all(self, latents: torch.Tensor, language: torch.Tensor) -> torch.Tensor:
        found = self.predictor(torch.cat([self.scale(latents), language], dim=1))
        return found.view(-1, self.levels, self.latent.size)
