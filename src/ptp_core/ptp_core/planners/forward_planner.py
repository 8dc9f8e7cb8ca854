# SPDX-License-Identifier: Apache-2.0
"""The forward planner, a baseline of LBP: from now on, a fixed number of steps at a time.

(arXiv 2505.06861, Figs. 5 and 6.) One predictor makes the latent 10 steps later of a latent and
the instruction, and goes on from its own prediction. It knows no goal latent, so it takes
instructions alone. Network, sizes and loss are those of LBP's subgoal predictor.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ptp_core.config import ForwardConfig, LatentShape
from ptp_core.networks import Standardise, two_layers
from ptp_core.planners.planner import instruction_only


class ForwardPlanner(nn.Module):
    """Latents are float32 (B, D), instructions (B, language)."""

    goal_images = False  # whether it plans to a goal latent that is given
    ends_at_goal = False  # whether the last latent of a plan is the goal

    def __init__(self, config: ForwardConfig, latent: LatentShape, language: int) -> None:
        super().__init__()
        self.config, self.latent = config, latent
        size, hidden = latent.size, round(config.hidden_factor * latent.size)
        self.scale = Standardise(size)
        self.predictor = two_layers(size + language, hidden, size)

    @property
    def levels(self) -> int:
        """Latents of a plan."""
        return self.config.subgoals

    def frames(self, frames: np.ndarray, last: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Frames whose latents a plan predicts, int64 (B, levels), near to far."""
        steps = self.config.stride * np.arange(1, self.levels + 1)
        return np.minimum(np.asarray(frames)[:, None] + steps, np.asarray(last)[:, None])

    def later(self, latents: torch.Tensor, language: torch.Tensor) -> torch.Tensor:
        """The latents (B, D) one stride later, all standardised."""
        return self.predictor(torch.cat([latents, language], dim=1))

    @torch.no_grad()
    def subgoals(
        self,
        latents: torch.Tensor,
        language: torch.Tensor | None,
        goals: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Plan latents (B, levels, D), near to far. Raises GoalError for goal latents."""
        language = instruction_only("the forward planner", language, goals)
        chain = [self.scale(latents)]
        for _ in range(self.levels):
            chain.append(self.later(chain[-1], language))
        return self.scale.inverse(torch.stack(chain[1:], dim=1))

    def loss(
        self,
        latents: torch.Tensor,
        targets: torch.Tensor,
        language: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The errors for targets (B, levels, D), with true and with own contexts, as LBP's Eq. 5.

        The first context is the current latent in both.
        """
        now = self.scale(latents)
        true = self.scale(targets).unbind(1)
        given, own, context = [], [], now
        for before, target in zip([now, *true], true, strict=False):
            given.append(functional.mse_loss(self.later(before, language), target))
            context = self.later(context, language)
            own.append(functional.mse_loss(context, target))
        total = sum(given) + sum(own)
        errors = torch.stack([*given, *own]).detach()
        return total, {"loss": total.detach(), "subgoal_mse": errors.mean()}
