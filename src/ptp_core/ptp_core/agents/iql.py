# SPDX-License-Identifier: Apache-2.0
"""Goal-conditioned implicit Q-learning on latents (paper section III-D; IQL, arXiv 2110.06169)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from ptp_core.config import IQLConfig
from ptp_core.models.networks import fan_in_, mlp
from ptp_core.shapes import ACTION_DIM, EMBEDDING_DIM, GRID, LATENT_DIM

Loss = tuple[torch.Tensor, dict[str, torch.Tensor]]


@dataclass
class Batch:
    """Transitions to learn from; latents and goals float32 (B, 720)."""

    latents: torch.Tensor
    actions: torch.Tensor  # (B, 5) in [-1, 1]
    next_latents: torch.Tensor
    goals: torch.Tensor
    rewards: torch.Tensor  # (B,), 0 where the goal is reached by next_latents, else -1


class GoalNetwork(nn.Module):
    """ReLU network on [latent, goal, ...].

    Optionally both first pass one shared linear ``projection``, or, stacked as ten channels of
    12 x 12, one 3 x 3 convolution of stride 2 with ``conv`` channels.
    """

    def __init__(
        self,
        hidden: tuple[int, ...],
        outputs: int,
        *,
        extra: int = 0,
        projection: int | None = None,
        conv: int | None = None,
        last_layer_bound: float = 3e-3,
    ) -> None:
        super().__init__()
        self.projection = self.conv = None
        width = LATENT_DIM
        if conv is not None:
            self.conv = nn.Conv2d(2 * EMBEDDING_DIM, conv, 3, stride=2, padding=1)
            width = conv * (GRID // 2) ** 2 // 2
        elif projection is not None:
            self.projection = nn.Linear(LATENT_DIM, projection)
            fan_in_(self.projection)
            width = projection
        self.body = mlp(2 * width + extra, hidden, outputs, last_layer_bound)

    def forward(
        self, latents: torch.Tensor, goals: torch.Tensor, extra: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Map latents (B, 720), goals (B, 720) and extra (B, E) to (B, outputs)."""
        if self.conv is not None:
            both = torch.cat([latents, goals], dim=1).view(-1, 2 * EMBEDDING_DIM, GRID, GRID)
            latents, goals = torch.relu(self.conv(both)).flatten(1).chunk(2, dim=1)
        elif self.projection is not None:
            both = torch.relu(self.projection(torch.cat([latents, goals])))
            latents, goals = both.chunk(2)
        inputs = [latents, goals] if extra is None else [latents, goals, extra]
        return self.body(torch.cat(inputs, dim=1))


class TwinQ(nn.Module):
    """Two independent Q networks."""

    def __init__(self, config: IQLConfig) -> None:
        super().__init__()
        self.networks = nn.ModuleList(
            GoalNetwork(config.q_hidden, 1, extra=ACTION_DIM, projection=config.projection_dim)
            for _ in range(2)
        )

    def forward(
        self, latents: torch.Tensor, actions: torch.Tensor, goals: torch.Tensor
    ) -> torch.Tensor:
        """Return both estimates, (2, B)."""
        return torch.stack([net(latents, goals, actions).squeeze(1) for net in self.networks])


class IQL(nn.Module):
    """Policy, value and twin Q; ``update`` makes one gradient step of each.

    ``state_dict`` holds the networks; ``optimiser_state`` what a resumed training needs beside it.
    """

    def __init__(self, config: IQLConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or IQLConfig()
        projection = config.projection_dim
        self.policy = GoalNetwork(
            config.policy_hidden,
            ACTION_DIM,
            projection=projection,
            conv=config.policy_conv,
            last_layer_bound=1e-3,
        )
        self.v = GoalNetwork(config.value_hidden, 1, projection=projection)
        self.q = TwinQ(config)
        self.q_target = TwinQ(config).requires_grad_(False)
        if config.target_init == "copied":
            self.q_target.load_state_dict(self.q.state_dict())
        self._optimisers: dict[str, torch.optim.Optimizer] = {}

    def policy_mean(self, latents: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
        """Return the mean action (B, 5), not clipped, for latents and goals (B, 720)."""
        return self.policy(latents, goals)

    def act(
        self,
        latents: torch.Tensor,
        goals: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Return actions (B, 5) in [-1, 1]: the mean, or with ``generator`` a Gaussian sample."""
        actions = self.policy_mean(latents, goals)
        if generator is not None:
            noise = torch.randn(actions.shape, generator=generator, device=generator.device)
            actions = actions + self.config.policy_std * noise.to(actions)
        return actions.clamp(-1.0, 1.0)

    def value(self, latents: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
        """Return V (B,): minus the discounted number of steps to the goal. Not clamped."""
        return self.v(latents, goals).squeeze(1)

    def update(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Make one gradient step of V, Q and policy, then move the target Q."""
        with torch.no_grad():
            target_q = self._clamp(
                self.q_target(batch.latents, batch.actions, batch.goals).amin(0)
            )
        value_loss, value_metrics = self.value_loss(batch, target_q)
        q_loss, q_metrics = self.q_loss(batch)
        advantage = target_q - value_metrics.pop("value/values")
        policy_loss, policy_metrics = self.policy_loss(batch, advantage)
        for name, loss in (("v", value_loss), ("q", q_loss), ("policy", policy_loss)):
            self._step(name, loss)
        self.update_target()
        return {**value_metrics, **q_metrics, **policy_metrics}

    def value_loss(self, batch: Batch, target_q: torch.Tensor) -> Loss:
        """Expectile regression of V(s, g) towards min target-Q(s, a, g) (IQL eq. 5)."""
        values = self.value(batch.latents, batch.goals)
        difference = target_q - values
        expectile = self.config.expectile
        weight = torch.where(difference > 0, expectile, 1 - expectile)
        loss = (weight * difference.square()).mean()
        metrics = {
            "value/loss": loss.detach(),
            "value/mean": values.detach().mean(),
            "value/values": values.detach(),
        }
        return loss, metrics

    def q_loss(self, batch: Batch) -> Loss:
        """Squared error of Q towards r + discount * V(s', g); reaching a goal ends nothing."""
        with torch.no_grad():
            next_values = self._clamp(self.value(batch.next_latents, batch.goals))
            targets = batch.rewards + self.config.discount * next_values
        estimates = self.q(batch.latents, batch.actions, batch.goals)
        # The sum over the two networks: each keeps the gradient it would have alone.
        loss = (estimates - targets).square().mean(1).sum()
        metrics = {"q/loss": loss.detach() / 2, "q/mean": estimates.detach().mean()}
        return loss, metrics

    def policy_loss(self, batch: Batch, advantage: torch.Tensor) -> Loss:
        """Advantage-weighted log-likelihood of the recorded actions (IQL eq. 7)."""
        config = self.config
        weights = torch.exp(advantage / config.temperature).clamp(max=config.weight_clip)
        mean = self.policy_mean(batch.latents, batch.goals)
        scaled = (batch.actions - mean) / config.policy_std
        constant = ACTION_DIM * (math.log(config.policy_std) + 0.5 * math.log(2 * math.pi))
        log_prob = -0.5 * scaled.square().sum(1) - constant
        loss = -(weights * log_prob).mean()
        metrics = {
            "policy/loss": loss.detach(),
            "policy/weight": weights.mean(),
            "policy/advantage": advantage.mean(),
            "policy/action_mse": functional.mse_loss(mean.detach(), batch.actions),
        }
        return loss, metrics

    @torch.no_grad()
    def update_target(self) -> None:
        """Move the target Q towards Q by ``target_update``."""
        torch._foreach_lerp_(
            list(self.q_target.parameters()),
            list(self.q.parameters()),
            self.config.target_update,
        )

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam for "policy", "q" and "v"; made on first use, so that inference has none."""
        if not self._optimisers:
            config = self.config
            for name, module in (("policy", self.policy), ("q", self.q), ("v", self.v)):
                decay = config.policy_weight_decay if name == "policy" else 0.0
                self._optimisers[name] = torch.optim.Adam(
                    module.parameters(), lr=config.learning_rate, weight_decay=decay, fused=True
                )
        return self._optimisers

    def _step(self, name: str, loss: torch.Tensor) -> None:
        optimiser = self.optimisers[name]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.gradient_clip:
            parameters = getattr(self, name).parameters()
            nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip)
        optimiser.step()

    def _clamp(self, values: torch.Tensor) -> torch.Tensor:
        low, high = self.config.value_min, self.config.value_max
        return values if low is None and high is None else values.clamp(low, high)


def reached(latents: torch.Tensor, goals: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Say which latents (B, 720) lie within ``epsilon`` (L2) of their goals: bool (B,)."""
    return (latents - goals).square().sum(-1).sqrt() < epsilon
