# SPDX-License-Identifier: Apache-2.0
"""LBP's planner: the goal first, then subgoals recursively from the goal towards now.

(Latent Space Backward Planning, arXiv 2505.06861, section 4.) A goal predictor f_g makes a goal
latent of the current latent and an instruction. One subgoal predictor f_w makes the next nearer
subgoal of the current latent, the subgoal before it and the instruction. With a goal image f_g is
left out. "log f" of the paper's equations is minus the mean squared error on standardised latents,
as in the released code.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ptp_core.config import BackwardConfig, LatentShape
from ptp_core.errors import InputError
from ptp_core.networks import Standardise, two_layers

Loss = tuple[torch.Tensor, dict[str, torch.Tensor]]


def backward_frames(
    frames: np.ndarray, last: np.ndarray, subgoals: int, ratio: float, rule: str
) -> np.ndarray:
    """Frames of the subgoals w_n, ..., w_1 and of the goal, int64 (B, n + 1), near to far.

    ``frames`` (B,) are now, ``last`` (B,) the goal's. "ceil": ceil(t + ratio^i (H - t)) (paper).
    "floor": each from the one beyond it, t + floor((h - t) ratio) (released code).
    """
    frames, last = np.asarray(frames, np.int64), np.asarray(last, np.int64)
    found = [last]
    for level in range(1, subgoals + 1):
        if rule == "ceil":
            steps = np.ceil(np.round((last - frames) * ratio**level, 9))
        else:
            steps = np.floor(np.round((found[-1] - frames) * ratio, 9))
        found.append(frames + steps.astype(np.int64))
    return np.stack(found[::-1], axis=-1)


class BackwardPlanner(nn.Module):
    """f_g and f_w. Latents are float32 (B, D), instructions (B, language); see `SentenceTable`."""

    goal_images = True  # whether it plans to a goal latent that is given
    ends_at_goal = True  # whether the last latent of a plan is the goal

    def __init__(self, config: BackwardConfig, latent: LatentShape, language: int) -> None:
        super().__init__()
        self.config, self.latent = config, latent
        size, hidden = latent.size, round(config.hidden_factor * latent.size)
        self.scale = Standardise(size)
        self.goal_predictor = two_layers(size + language, hidden, size)
        words = language if config.language else 0
        self.subgoal_predictor = two_layers(2 * size + words, hidden, size)
        self.no_language = nn.Parameter(torch.zeros(words))

    @property
    def levels(self) -> int:
        """Latents of a plan, the goal included."""
        return self.config.subgoals + 1

    def frames(self, frames: np.ndarray, last: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Frames whose latents a plan predicts, int64 (B, levels), near to far."""
        config = self.config
        return backward_frames(frames, last, config.subgoals, config.ratio, config.index_rule)

    def goal(self, latents: torch.Tensor, language: torch.Tensor) -> torch.Tensor:
        """f_g: the goal (B, D) of latents (B, D), all standardised."""
        return self.goal_predictor(torch.cat([latents, language], dim=1))

    def subgoal(
        self, latents: torch.Tensor, beyond: torch.Tensor, language: torch.Tensor | None
    ) -> torch.Tensor:
        """f_w: the subgoal (B, D) on this side of ``beyond`` (B, D), all standardised.

        ``language``: (B, E); None: there is no instruction.
        """
        inputs = [latents, beyond]
        if self.config.language:
            rows = len(latents)
            inputs.append(self.no_language.expand(rows, -1) if language is None else language)
        return self.subgoal_predictor(torch.cat(inputs, dim=1))

    @torch.no_grad()
    def subgoals(
        self,
        latents: torch.Tensor,
        language: torch.Tensor | None,
        goals: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
        *,
        levels: int | None = None,
    ) -> torch.Tensor:
        """Plan w_n, ..., w_1 and the goal: latents (B, levels, D), near to far.

        ``goals`` (B, D) are goal latents in place of f_g's; they end the plan unchanged.
        ``levels``: other than the settings'. Raises InputError without language and goals.
        """
        now = self.scale(latents)
        if goals is None:
            if language is None:
                raise InputError("a plan needs an instruction or a goal image: give one of them")
            chain = [self.goal(now, language)]
        else:
            chain = [self.scale(goals)]
        for _ in range((self.levels if levels is None else levels) - 1):
            chain.append(self.subgoal(now, chain[-1], language))
        plan = self.scale.inverse(torch.stack(chain[::-1], dim=1))
        if goals is not None:
            plan[:, -1] = goals
        return plan

    def loss(
        self,
        latents: torch.Tensor,
        targets: torch.Tensor,
        language: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> Loss:
        """Eq. 2 and Eq. 5 for latents (B, D) and their ``frames``, targets (B, levels, D).

        "sum": MSE(f_g) + sum over i of MSE(f_w | true w_{i-1}) + MSE(f_w | own w_{i-1}); Eq. 5 is
        of f_w alone, so the first own context, f_g's goal, passes no gradient. "coin_flip": the
        mean over goal and subgoals, all with own or all with true contexts.
        """
        config = self.config
        now = self.scale(latents)
        true = self.scale(targets).flip(1).unbind(1)  # from the goal on
        goal = self.goal(now, language)
        goal_error = functional.mse_loss(goal, true[0])
        words = self._dropped(language, generator)
        if config.objective == "sum":
            given = [
                functional.mse_loss(self.subgoal(now, beyond, words), target)
                for beyond, target in pairwise(true)
            ]
            own = self._own(now, goal.detach(), words, true[1:])
            total = goal_error + sum(given) + sum(own)
            errors = [*given, *own]
        else:
            if torch.rand((), generator=generator) < 0.5:
                errors = self._own(now, goal, words, true[1:])
            else:
                errors = []
                for beyond, target in pairwise(true):
                    noise = torch.randn(beyond.shape, generator=generator).to(beyond)
                    noisy = beyond + config.noise_std * noise
                    errors.append(functional.mse_loss(self.subgoal(now, noisy, words), target))
            total = (goal_error + sum(errors)) / self.levels
        metrics = {"loss": total.detach(), "goal_mse": goal_error.detach()}
        if errors:
            metrics["subgoal_mse"] = torch.stack(errors).detach().mean()
        return total, metrics

    def _own(self, now, goal, words, targets) -> list[torch.Tensor]:
        """Errors of f_w's chain from ``goal``, each with its own prediction as context."""
        errors, beyond = [], goal
        for target in targets:
            beyond = self.subgoal(now, beyond, words)
            errors.append(functional.mse_loss(beyond, target))
        return errors

    def _dropped(
        self, language: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor | None:
        """f_w's instructions, some of them replaced by the one that stands for none."""
        if not self.config.language:
            return None
        draws = torch.rand(len(language), 1, generator=generator).to(language.device)
        return torch.where(draws < self.config.language_dropout, self.no_language, language)
