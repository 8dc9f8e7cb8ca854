# SPDX-License-Identifier: Apache-2.0
"""Goal-conditioned implicit Q-learning on latents (paper section III-D; IQL, arXiv 2110.06169)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from ptp_core.config import IQLConfig, LatentShape
from ptp_core.models.networks import Conv2d, Linear, fan_in_, mlp

Loss = tuple[torch.Tensor, dict[str, torch.Tensor]]


@dataclass
class Batch:
    """Transitions to learn from; latents and goals float32 (B, D)."""

    latents: torch.Tensor
    actions: torch.Tensor  # (B, A) in [-1, 1]
    next_latents: torch.Tensor
    goals: torch.Tensor
    rewards: torch.Tensor  # (B,), 0 where the goal is reached by next_latents, else -1

    def in_bfloat16(self) -> Batch:
        """The same with latents and goals in bfloat16, for networks that follow their inputs."""
        latents, following, goals = (
            each.bfloat16() for each in (self.latents, self.next_latents, self.goals)
        )
        return Batch(latents, self.actions, following, goals, self.rewards)


class GoalNetwork(nn.Module):
    """ReLU network on [latent, goal, ...].

    Optionally both first pass one shared linear ``projection``, or, stacked as channels of the
    grid, one 3 x 3 convolution of stride 2 with ``conv`` channels. Inputs in bfloat16 are
    worked on in bfloat16, but for the last layer: its outputs are always float32.
    """

    def __init__(
        self,
        hidden: tuple[int, ...],
        outputs: int,
        latent: LatentShape,
        *,
        extra: int = 0,
        projection: int | None = None,
        conv: int | None = None,
        last_layer_bound: float = 3e-3,
    ) -> None:
        super().__init__()
        self.projection = self.conv = None
        self.latent, self.outputs = latent, outputs
        width = latent.size
        if conv is not None:
            self.conv = Conv2d(2 * latent.channels, conv, 3, stride=2, padding=1)
            width = conv * (latent.height // 2) * (latent.width // 2) // 2
        elif projection is not None:
            self.projection = Linear(latent.size, projection)
            fan_in_(self.projection)
            width = projection
        self.body = mlp(2 * width + extra, hidden, outputs, last_layer_bound)

    def forward(
        self, latents: torch.Tensor, goals: torch.Tensor, extra: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Map latents (B, D), goals (B, D) and extra (B, E) to (B, outputs)."""
        if self.conv is not None:
            channels, height, width = self.latent
            both = torch.cat([latents, goals], dim=1).view(-1, 2 * channels, height, width)
            latents, goals = torch.relu(self.conv(both)).flatten(1).chunk(2, dim=1)
        elif self.projection is not None:
            both = torch.relu(self.projection(torch.cat([latents, goals])))
            latents, goals = both.chunk(2)
        inputs = [latents, goals] if extra is None else [latents, goals, extra.to(goals.dtype)]
        hidden = self.body[:-1](torch.cat(inputs, dim=1))
        return self.body[-1](hidden.float())


class TwinQ(nn.Module):
    """Two independent Q networks."""

    def __init__(self, config: IQLConfig, latent: LatentShape, actions: int) -> None:
        super().__init__()
        projection = config.projection_dim
        self.networks = nn.ModuleList(
            GoalNetwork(config.q_hidden, 1, latent, extra=actions, projection=projection)
            for _ in range(2)
        )

    def forward(
        self, latents: torch.Tensor, actions: torch.Tensor, goals: torch.Tensor
    ) -> torch.Tensor:
        """Return both estimates, (2, B)."""
        return torch.stack([net(latents, goals, actions).squeeze(1) for net in self.networks])


class IQL(nn.Module):
    """Policy, value and twin Q; ``update`` makes one gradient step of each.

    Latents have D = ``latent.size`` numbers, an action has A = ``actions``.
    ``state_dict`` holds the networks; ``optimiser_state`` what a resumed training needs beside it.
    """

    def __init__(self, config: IQLConfig, latent: LatentShape, actions: int) -> None:
        super().__init__()
        self.config = config
        projection = config.projection_dim
        self.policy = GoalNetwork(
            config.policy_hidden,
            actions,
            latent,
            projection=projection,
            conv=config.policy_conv,
            last_layer_bound=1e-3,
        )
        self.v = GoalNetwork(config.value_hidden, 1, latent, projection=projection)
        self.q = TwinQ(config, latent, actions)
        self.q_target = TwinQ(config, latent, actions).requires_grad_(False)
        if config.target_init == "copied":
            self.q_target.load_state_dict(self.q.state_dict())
        self._optimisers: dict[str, torch.optim.Optimizer] = {}

    def policy_mean(self, latents: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
        """Return the mean action (B, A), not clipped, for latents and goals (B, D)."""
        return self.policy(latents, goals)

    def act(
        self,
        latents: torch.Tensor,
        goals: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Return actions (B, A) in [-1, 1]: the mean, or with ``generator`` a Gaussian sample."""
        actions = self.policy_mean(latents, goals)
        if generator is not None:
            noise = torch.randn(actions.shape, generator=generator, device=generator.device)
            actions = actions + self.config.policy_std * noise.to(actions)
        return actions.clamp(-1.0, 1.0)

    def value(self, latents: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
        """Return V (B,): minus the discounted number of steps to the goal. Not clamped."""
        return self.v(latents, goals).squeeze(1)

    def update(self, batch: Batch, run: Callable[..., Iterable] = map) -> dict[str, torch.Tensor]:
        """Make one gradient step of V, Q and policy, then move the target Q.

        ``run`` maps a function over the networks; an executor's ``map`` lets threads share them,
        with the same weights to the bit. Leave torch one thread then.
        """
        if self.config.precision == "auto" and multiplies_bfloat16(batch.latents.device):
            batch = batch.in_bfloat16()
        state, goals = batch.latents, batch.goals
        asked = (*self._q_calls(self.q, batch), *self._q_calls(self.q_target, batch))
        asked += (
            lambda: self.policy_mean(state, goals),
            lambda: self.value(state, goals),
            lambda: self._next_values(batch),
        )
        *estimates, mean, values, next_values = run(_call, asked)
        target_q = self._clamp(torch.stack(estimates[2:]).amin(0))
        value_loss, value_metrics = self.value_loss(batch, target_q, values)
        advantage = target_q - value_metrics.pop("value/values")
        policy_loss, policy_metrics = self.policy_loss(batch, advantage, mean)
        q_losses, q_metrics = self._q_losses(batch, estimates[:2], next_values)

        self.optimisers["q"].zero_grad(set_to_none=True)
        learn = (
            q_losses[0].backward,
            q_losses[1].backward,
            lambda: self._step("policy", policy_loss),
            lambda: self._step("v", value_loss),
        )
        list(run(_call, learn))
        self._advance("q")
        self.update_target()
        return {**value_metrics, **q_metrics, **policy_metrics}

    def value_loss(
        self, batch: Batch, target_q: torch.Tensor, values: torch.Tensor | None = None
    ) -> Loss:
        """Expectile regression of V(s, g) towards min target-Q(s, a, g) (IQL eq. 5).

        ``values`` (B,) are V(s, g) where they are known already.
        """
        if values is None:
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
        estimates = self.q(batch.latents, batch.actions, batch.goals)
        losses, metrics = self._q_losses(batch, estimates, self._next_values(batch))
        # The sum over the two networks: each keeps the gradient it would have alone.
        return losses[0] + losses[1], metrics

    def policy_loss(
        self, batch: Batch, advantage: torch.Tensor, mean: torch.Tensor | None = None
    ) -> Loss:
        """Advantage-weighted log-likelihood of the recorded actions (IQL eq. 7).

        ``mean`` (B, A) are the policy's actions where they are known already.
        """
        config = self.config
        weights = torch.exp(advantage / config.temperature).clamp(max=config.weight_clip)
        if mean is None:
            mean = self.policy_mean(batch.latents, batch.goals)
        scaled = (batch.actions - mean) / config.policy_std
        constant = mean.shape[1] * (math.log(config.policy_std) + 0.5 * math.log(2 * math.pi))
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
    def _next_values(self, batch: Batch) -> torch.Tensor:
        return self._clamp(self.value(batch.next_latents, batch.goals))

    def _q_losses(
        self, batch: Batch, estimates: Sequence[torch.Tensor], next_values: torch.Tensor
    ) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
        targets = batch.rewards + self.config.discount * next_values
        losses = [(estimate - targets).square().mean() for estimate in estimates]
        mean = torch.stack([estimate.detach() for estimate in estimates]).mean()
        return losses, {"q/loss": (losses[0] + losses[1]).detach() / 2, "q/mean": mean}

    def _q_calls(self, q: TwinQ, batch: Batch) -> list[Callable[[], torch.Tensor]]:
        """One call a network, estimates (B,); of the targets without gradients."""

        def call(network: GoalNetwork) -> torch.Tensor:
            with torch.set_grad_enabled(q is self.q):
                return network(batch.latents, batch.goals, batch.actions).squeeze(1)

        return [partial(call, network) for network in q.networks]

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
        self.optimisers[name].zero_grad(set_to_none=True)
        loss.backward()
        self._advance(name)

    def _advance(self, name: str) -> None:
        """Step with the gradients that are there."""
        if self.config.gradient_clip:
            parameters = getattr(self, name).parameters()
            nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip)
        self.optimisers[name].step()

    def _clamp(self, values: torch.Tensor) -> torch.Tensor:
        low, high = self.config.value_min, self.config.value_max
        return values if low is None and high is None else values.clamp(low, high)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 numbers as they are: at twice the rate or more."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def _call(function: Callable[[], torch.Tensor]) -> torch.Tensor:
    return function()


def reached(latents: torch.Tensor, goals: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Say which latents (B, D) lie within ``epsilon`` (L2) of their goals: bool (B,)."""
    return (latents - goals).square().sum(-1).sqrt() < epsilon
