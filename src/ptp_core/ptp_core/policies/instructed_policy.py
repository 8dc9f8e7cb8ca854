# SPDX-License-Identifier: Apache-2.0
"""A policy that is told what to do: chunks of actions by diffusion (LBP, arXiv 2505.06861, 4.4).

It sees the current latent, subgoals that `GoalFusion` makes one goal of, proprioception, and the
instruction by FiLM. The paper's sees images through a ResNet-34; ours sees the VQ-VAE's grid of
codes through convolutions, beside it the fused goal and their difference. Without subgoals it is
the policy of language-conditioned behaviour cloning.
"""

from __future__ import annotations

import torch
from torch import nn

from ptp_core.config import InstructedPolicyConfig, LatentShape
from ptp_core.errors import InputError
from ptp_core.networks import FiLM, ResidualBlock, Standardise
from ptp_core.policies.chunked_policy import OCTAVES, waves_of
from ptp_core.policies.diffusion_head import DiffusionHead, Loss
from ptp_core.policies.goal_fusion import GoalFusion


class InstructedPolicy(nn.Module):
    """p(a_t, ..., a_{t+H-1} | latent, subgoals, instruction, proprioception).

    ``language``: dimensions of an instruction. ``levels``: subgoals; 0 for none.
    ``proprioception``: numbers of it, 0 for none; ``set_scale`` standardises it.
    """

    def __init__(
        self,
        config: InstructedPolicyConfig,
        latent: LatentShape,
        actions: int,
        proprioception: int,
        language: int,
        levels: int,
    ) -> None:
        super().__init__()
        self.config, self.latent, self.levels = config, latent, levels
        width, units = config.channels, config.condition_units
        self.scale = Standardise(latent.size)
        self.no_language = nn.Parameter(torch.zeros(language))
        self.fusion = GoalFusion(config.fusion, latent.size, language, levels) if levels else None
        maps = latent.channels * (3 if levels else 1)
        self.first = nn.Conv2d(maps, width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(width, width) for _ in range(config.blocks))
        self.films = nn.ModuleList(FiLM(language, width) for _ in range(config.blocks + 1))
        cells = ((latent.height + 1) // 2) * ((latent.width + 1) // 2)
        self.features = nn.Sequential(
            nn.Flatten(), nn.Dropout(config.dropout), nn.Linear(width * cells, units)
        )
        self.own = None
        if proprioception:
            waves = proprioception * (1 + 2 * len(OCTAVES))
            self.own = nn.Sequential(nn.Linear(waves, units // 2), nn.ReLU())
        inputs = units + language + (units // 2 if proprioception else 0)
        self.condition = nn.Sequential(
            nn.Linear(inputs, 2 * units),
            nn.ReLU(),
            nn.Linear(2 * units, 2 * units),
            nn.ReLU(),
            nn.Linear(2 * units, units),
        )
        self.head = DiffusionHead(config.head, units, config.horizon, actions)
        self.register_buffer("proprioception_mean", torch.zeros(proprioception))
        self.register_buffer("proprioception_std", torch.ones(proprioception))

    def set_scale(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Standardise proprioception (P,) with this mean and standard deviation."""
        self.proprioception_mean.copy_(mean)
        self.proprioception_std.copy_(std.clamp(min=1e-3))

    def conditions(
        self,
        latents: torch.Tensor,
        subgoals: torch.Tensor | None,
        language: torch.Tensor | None,
        proprioception: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The head's conditions (B, C), and the attention to the subgoals (B, keys) or None.

        Latents (B, D) and subgoals (B, levels, D) from near to far, not standardised. language
        (B, E); None: no instruction. Raises InputError where subgoals or proprioception are
        missing, or have other sizes.
        """
        size = len(self.proprioception_mean)
        given = 0 if proprioception is None else proprioception.shape[1]
        if given != size:
            raise InputError(f"the policy needs {size} numbers of proprioception, not {given}")
        levels = 0 if subgoals is None else subgoals.shape[1]
        if levels != self.levels:
            raise InputError(f"the policy needs {self.levels} subgoals, not {levels}")
        now = self.scale(latents)
        if language is None:
            language = self.no_language.expand(len(now), -1)
        maps, attention = [now], None
        if self.fusion is not None:
            goal, attention = self.fusion(self.scale(subgoals), now, language)
            maps += [goal, goal - now]
        shape = (len(now), -1, self.latent.height, self.latent.width)
        x = torch.relu(self.films[0](self.first(torch.cat(maps, dim=1).view(shape)), language))
        for block, film in zip(self.blocks, self.films[1:], strict=True):
            x = torch.relu(film(block(x), language))
        parts = [torch.relu(self.features(x)), language]
        if size:
            own = (proprioception - self.proprioception_mean) / self.proprioception_std
            parts.append(self.own(waves_of(own)))
        return self.condition(torch.cat(parts, dim=1)), attention

    def loss(
        self,
        conditions: torch.Tensor,
        chunks: torch.Tensor,
        weights: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> Loss:
        """Diffusion loss of chunks (B, H, A); see `DiffusionHead.loss`."""
        return self.head.loss(conditions, chunks, weights, generator)
