# SPDX-License-Identifier: Apache-2.0
"""A small latent diffusion that proposes the next subgoal, in the manner of SuSIE.

SuSIE (arXiv 2310.10639) edits the current image with a fine-tuned Stable Diffusion of about a
billion parameters. No such weights are in a package, so this is another network and its results
are no results of SuSIE: with the default settings 0.4 million parameters, trained from random
weights on the VQ-VAE's latents. What it has of SuSIE: the subgoal lies a few steps ahead, the
current latent is concatenated with the noisy one, and two conditions are guided without a
classifier.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ptp_core.config import LatentShape, ProposerConfig
from ptp_core.networks import FiLM, Standardise
from ptp_core.planners.planner import instruction_only
from ptp_core.policies.diffusion_head import cosine_betas, sampled_steps

TIME_FEATURES = 32  # sines and cosines of the diffusion step


class SubgoalProposer(nn.Module):
    """eps_theta(noisy subgoal | current latent, instruction). Latents (B, D)."""

    goal_images = False  # whether it plans to a goal latent that is given
    ends_at_goal = False  # whether the last latent of a plan is the goal
    levels = 1  # latents of a plan

    def __init__(self, config: ProposerConfig, latent: LatentShape, language: int) -> None:
        super().__init__()
        self.config, self.latent = config, latent
        width = config.channels
        self.scale = Standardise(latent.size)
        self.first = nn.Conv2d(2 * latent.channels, width, 3, padding=1)
        self.condition = nn.Sequential(
            nn.Linear(TIME_FEATURES + language, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.blocks = nn.ModuleList(_ModulatedBlock(width) for _ in range(config.blocks))
        self.last = nn.Conv2d(width, latent.channels, 3, padding=1)
        kept = torch.cumprod(1.0 - cosine_betas(config.diffusion_steps), 0).float()
        self.register_buffer("kept", kept, persistent=False)  # abar_k

    def frames(self, frames: np.ndarray, last: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The frame to predict, int64 (B, 1): ``minimum`` to ``maximum`` - 1 steps ahead.

        At the end of a trajectory it is the last frame.
        """
        config = self.config
        steps = rng.integers(config.minimum, config.maximum, size=len(frames))
        return np.minimum(np.asarray(frames) + steps, last)[:, None]

    def forward(
        self,
        noisy: torch.Tensor,
        step: torch.Tensor,
        current: torch.Tensor,
        language: torch.Tensor,
    ) -> torch.Tensor:
        """Predict the noise in ``noisy`` (B, D) at diffusion steps (B,); a condition may be 0."""
        shape = (-1, *self.latent)
        maps = torch.cat([noisy.view(shape), current.view(shape)], dim=1)
        half = TIME_FEATURES // 2
        powers = torch.arange(half, device=noisy.device) / half
        angles = step[:, None].float() * torch.exp(-math.log(1000.0) * powers)
        time = torch.cat([angles.cos(), angles.sin()], dim=1)
        condition = self.condition(torch.cat([time, language], dim=1))
        x = self.first(maps)
        for block in self.blocks:
            x = block(x, condition)
        return self.last(functional.gelu(x)).flatten(1)

    def guided(
        self,
        noisy: torch.Tensor,
        step: torch.Tensor,
        current: torch.Tensor,
        language: torch.Tensor,
    ) -> torch.Tensor:
        """e(0,0) + w_c [e(y,0) - e(0,0)] + w_p [e(y,l) - e(y,0)] (SuSIE, two conditions)."""
        config = self.config
        whole = self(noisy, step, current, language)
        if config.image_guidance == config.text_guidance == 1.0:
            return whole
        seen = self(noisy, step, current, torch.zeros_like(language))
        none = self(noisy, step, torch.zeros_like(current), torch.zeros_like(language))
        return none + config.image_guidance * (seen - none) + config.text_guidance * (whole - seen)

    @torch.no_grad()
    def subgoals(
        self,
        latents: torch.Tensor,
        language: torch.Tensor | None,
        goals: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Propose a subgoal for each latent: (B, 1, D), by DDIM without added noise.

        ``generator`` draws the noise that it begins with. Raises GoalError for goal latents.
        """
        language = instruction_only("the subgoal proposer", language, goals)
        current, limit = self.scale(latents), self.config.clip
        x = torch.randn(latents.shape, generator=generator).to(latents)
        steps = sampled_steps(self.config.diffusion_steps, self.config.sampling_steps)
        for k, following in zip(steps, [*steps[1:], None], strict=True):
            step = torch.full((len(x),), k, device=x.device)
            noise = self.guided(x, step, current, language)
            kept = self.kept[k]
            clean = ((x - (1.0 - kept).sqrt() * noise) / kept.sqrt()).clamp(-limit, limit)
            if following is None:
                x = clean
            else:
                noise = (x - kept.sqrt() * clean) / (1.0 - kept).sqrt()
                after = self.kept[following]
                x = after.sqrt() * clean + (1.0 - after).sqrt() * noise
        return self.scale.inverse(x)[:, None]

    def loss(
        self,
        latents: torch.Tensor,
        targets: torch.Tensor,
        language: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """E || eps - eps_theta ||^2 for targets (B, 1, D), each condition dropped now and then."""
        clean = self.scale(targets[:, 0])
        count = len(clean)
        current, language = self.drop(self.scale(latents), language, generator)
        step = torch.randint(self.config.diffusion_steps, (count,), generator=generator).to(
            clean.device
        )
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        kept = self.kept[step][:, None]
        noisy = kept.sqrt() * clean + (1.0 - kept).sqrt() * noise
        error = functional.mse_loss(self(noisy, step, current, language), noise)
        return error, {"loss": error.detach()}

    def drop(
        self, current: torch.Tensor, language: torch.Tensor, generator: torch.Generator | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both conditions, each set to 0 with the probability ``condition_dropout``."""
        keeps = torch.rand(2, len(current), 1, generator=generator) >= (
            self.config.condition_dropout
        )
        keeps = keeps.to(current)
        return current * keeps[0], language * keeps[1]


class _ModulatedBlock(nn.Module):
    """x + conv(GELU(FiLM(norm(conv(GELU(x))))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(1, channels)
        self.film = FiLM(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        inside = self.norm(self.first(functional.gelu(x)))
        return x + self.second(functional.gelu(self.film(inside, condition)))
