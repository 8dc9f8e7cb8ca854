# SPDX-License-Identifier: Apache-2.0
"""Goal fusion: one goal of several subgoals, by cross-attention (LBP, arXiv 2505.06861, 4.4).

A learnable query attends to the keys {w_n, ..., w_1, z_g, instruction}. In the released code the
current latent is the query and the instruction no key. The average is the paper's ablation.
"""

from __future__ import annotations

import torch
from torch import nn

from ptp_core.config import GoalFusionConfig
from ptp_core.errors import ConfigError

LEVEL_STD = 0.5  # of the first level embeddings, in standard deviations of a latent


def check_heads(config: GoalFusionConfig, size: int) -> None:
    """Raise ConfigError unless the heads can share the ``size`` dimensions of a latent."""
    if config.method == "attention" and size % config.heads:
        raise ConfigError(
            f"fusion.heads is {config.heads}, which does not divide the {size} dimensions of a "
            "latent: choose another number"
        )


class GoalFusion(nn.Module):
    """From ``levels`` standardised latents of ``size`` dimensions to one."""

    def __init__(self, config: GoalFusionConfig, size: int, language: int, levels: int) -> None:
        super().__init__()
        self.config = config
        if config.method == "average":
            return
        check_heads(config, size)
        self.words = nn.Linear(language, size) if config.language else None
        if config.query == "learned":
            self.query = nn.Parameter(torch.randn(size))
        if config.level_embedding:
            keys = levels + bool(config.language)
            self.level = nn.Parameter(LEVEL_STD * torch.randn(keys, size))
        self.blocks = nn.ModuleList(
            _CrossAttention(size, config.heads, config.feedforward) for _ in range(config.blocks)
        )

    def forward(
        self, subgoals: torch.Tensor, current: torch.Tensor, language: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Fuse subgoals (B, levels, D), for latents (B, D) and instructions (B, E).

        Returns the goal (B, D), and the attention to each key, (B, keys), which sums to 1: the
        mean over blocks and heads, the instruction's last.
        """
        config = self.config
        if config.method == "average":
            levels = subgoals.shape[1]
            return subgoals.mean(1), torch.full_like(subgoals[:, :, 0], 1.0 / levels)
        values = subgoals
        if self.words is not None:
            values = torch.cat([values, self.words(language)[:, None]], dim=1)
        keys = values + self.level if config.level_embedding else values
        x = current if config.query == "current" else self.query.expand(len(subgoals), -1)
        attention = []
        for block in self.blocks:
            x, weights = block(x, keys, values)
            attention.append(weights)
        return x, torch.stack(attention).mean(0)


class _CrossAttention(nn.Module):
    """x = norm(x + attention(x, keys, values)), x = norm(x + feedforward(x)) (post-norm).

    As there is one query, the projections of keys and values are applied to it and to the mean of
    the values, once instead of for each key. Values pass unchanged at first, so that fusion begins
    as an average.
    """

    def __init__(self, size: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(size, size), nn.Linear(size, size, bias=False)
        self.value, self.out = nn.Linear(size, size), nn.Linear(size, size)
        for layer in (self.value, self.out):
            nn.init.eye_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(2))
        self.feedforward = nn.Sequential(
            nn.Linear(size, feedforward), nn.GELU(), nn.Linear(feedforward, size)
        )

    def forward(
        self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attend with x (B, D) to keys and values (B, N, D); return (B, D), weights (B, N)."""
        count, _, size = keys.shape
        share = (self.heads, size // self.heads)
        asked = torch.einsum(
            "bhe,hed->bhd", self.query(x).view(count, *share), self.key.weight.view(*share, size)
        )
        scores = asked @ keys.transpose(1, 2) / share[1] ** 0.5
        weights = scores.softmax(-1)  # (B, heads, N)
        found = torch.einsum(
            "bhd,hed->bhe", weights @ values, self.value.weight.view(*share, size)
        )
        x = self.norms[0](x + self.out(found.flatten(1) + self.value.bias))
        return self.norms[1](x + self.feedforward(x)), weights.mean(1)
