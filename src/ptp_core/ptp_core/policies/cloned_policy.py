# SPDX-License-Identifier: Apache-2.0
"""The policy of goal-conditioned behaviour cloning: IQL's policy network without its critics."""

from __future__ import annotations

import torch

from ptp_core.config import IQLConfig
from ptp_core.config.network_config import LatentShape
from ptp_core.learning.iql import GoalNetwork


class ClonedPolicy(GoalNetwork):
    """A Gaussian policy of fixed standard deviation, shaped as the policy of `IQL`."""

    def __init__(self, config: IQLConfig, latent: LatentShape, actions: int) -> None:
        super().__init__(
            config.policy_hidden,
            actions,
            latent,
            projection=config.projection_dim,
            conv=config.policy_conv,
            last_layer_bound=1e-3,
        )
        self.config = config

    def act(
        self,
        latents: torch.Tensor,
        goals: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Actions (B, A) in [-1, 1]: the mean, or with ``generator`` a Gaussian sample."""
        actions = self(latents, goals)
        if generator is not None:
            noise = torch.randn(actions.shape, generator=generator, device=generator.device)
            actions = actions + self.config.policy_std * noise.to(actions)
        return actions.clamp(-1.0, 1.0)
