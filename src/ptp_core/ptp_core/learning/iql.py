# SPDX-License-Identifier: Apache-2.0
"""Goal-conditioned implicit Q-learning on latents (paper section III-D; IQL, arXiv 2110.06169).

For a transition s, a, r, s' with goal g, ``IQL.update`` makes one gradient step on each of

    L_V  = E[ |tau - 1(A < 0)| A^2 ],  A = min_i Qtarget_i(s, a, g) - V(s, g)     IQL eq. 5
    L_Q  = sum_i E[ (r + gamma V(s', g) - Q_i(s, a, g))^2 ]                       IQL eq. 6
    L_pi = -E[ min(exp(A / temperature), clip) log pi(a | s, g) ]                 IQL eq. 7

and then moves Qtarget towards Q. Clamping V(s', g) and min Qtarget to the values that rewards of
-1 and 0 allow is the authors' addition. Training uses ``accelerated_iql``, which computes the
same updates faster.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from ptp_core.config import GCIQLConfig, IQLConfig, LatentShape, WeightedRegressionConfig
from ptp_core.networks import fan_in_, mlp

Loss = tuple[torch.Tensor, dict[str, torch.Tensor]]


@dataclass
class Batch:
    """Transitions to learn from; latents and goals float32 (B, D)."""

    latents: torch.Tensor
    actions: torch.Tensor  # (B, A) in [-1, 1]
    next_latents: torch.Tensor
    goals: torch.Tensor
    rewards: torch.Tensor  # (B,), 0 where next_latents reach the goal, else -1


class GoalNetwork(nn.Module):
    """ReLU network on [latent, goal, ...].

    Optionally one shared linear ``projection`` maps both first, or one 3 x 3 convolution of
    stride 2 with ``conv`` channels does, on both stacked as channels of the grid.
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
            self.conv = nn.Conv2d(2 * latent.channels, conv, 3, stride=2, padding=1)
            width = conv * (latent.height // 2) * (latent.width // 2) // 2
        elif projection is not None:
            self.projection = nn.Linear(latent.size, projection)
            fan_in_(self.projection)
            width = projection
        self.body = mlp(2 * width + extra, hidden, outputs, last_layer_bound)

    def forward(
        self, latents: torch.Tensor, goals: torch.Tensor, extra: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Map latents (B, D), goals (B, D) and extra (B, E) to (B, outputs)."""
        if self.conv is not None:
            both = torch.relu(self.conv(self.maps(latents, goals))).flatten(1)
            latents, goals = both.chunk(2, dim=1)
        elif self.projection is not None:
            both = torch.relu(self.projection(torch.cat([latents, goals])))
            latents, goals = both.chunk(2)
        inputs = [latents, goals] if extra is None else [latents, goals, extra]
        return self.body(torch.cat(inputs, dim=1))

    def maps(self, latents: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
        """Stack latents and goals (B, D) as input channels of ``conv``: (B, 2 C, H, W)."""
        channels, height, width = self.latent
        return torch.cat([latents, goals], dim=1).view(-1, 2 * channels, height, width)


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
    """Policy, value, twin Q and target networks; ``update`` makes one gradient step of each.

    Latents have D = ``latent.size`` dimensions, actions A = ``actions``. ``state_dict`` holds the
    networks; a resumed training also needs the state of ``optimisers``.
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

    def update(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Make one gradient step of V, Q and policy, then of the target Q; return the metrics.

        Always computes in float32, whatever ``config.precision`` is.
        """
        target_q = self.target_q(batch)
        advantage = target_q - self.value(batch.latents, batch.goals).detach()
        value_loss, value_metrics = self.value_loss(batch, target_q)
        q_loss, q_metrics = self.q_loss(batch)
        policy_loss, policy_metrics = self.policy_loss(batch, advantage)
        for name, loss in (("v", value_loss), ("q", q_loss), ("policy", policy_loss)):
            self.optimisers[name].zero_grad(set_to_none=True)
            loss.backward()
            self.step(name)
        self.update_target()
        return {**value_metrics, **q_metrics, **policy_metrics}

    def value_loss(self, batch: Batch, target_q: torch.Tensor) -> Loss:
        """L_V of V(s, g) for ``target_q`` (B,): see `expectile_loss`."""
        return expectile_loss(self.value(batch.latents, batch.goals), target_q, self.config)

    def q_loss(self, batch: Batch) -> Loss:
        """L_Q of both Q(s, a, g): see `td_loss`."""
        with torch.no_grad():
            next_values = self.value(batch.next_latents, batch.goals)
            targets = td_targets(batch.rewards, next_values, self.config)
        return td_loss(self.q(batch.latents, batch.actions, batch.goals), targets)

    def policy_loss(self, batch: Batch, advantage: torch.Tensor) -> Loss:
        """L_pi of the recorded actions for ``advantage`` (B,): see `advantage_weighted_loss`."""
        mean = self.policy_mean(batch.latents, batch.goals)
        return advantage_weighted_loss(mean, batch.actions, advantage, self.config)

    @torch.no_grad()
    def target_q(self, batch: Batch) -> torch.Tensor:
        """Return min Qtarget(s, a, g) (B,), clamped."""
        both = self.q_target(batch.latents, batch.actions, batch.goals)
        return clamp_value(both.amin(0), self.config)

    @torch.no_grad()
    def update_target(self) -> None:
        """Qtarget <- (1 - alpha) Qtarget + alpha Q, alpha = ``config.target_update``."""
        for target, parameter in zip(self.q_target.parameters(), self.q.parameters()):
            target.lerp_(parameter, self.config.target_update)

    def step(self, name: str) -> None:
        """Make a step of the optimiser of "policy", "q" or "v" with the current gradients."""
        if self.config.gradient_clip:
            parameters = getattr(self, name).parameters()
            nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip)
        self.optimisers[name].step()

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam for "policy", "q" and "v"; made on first use, so that inference needs none."""
        if not self._optimisers:
            config = self.config
            for name, module in (("policy", self.policy), ("q", self.q), ("v", self.v)):
                decay = config.policy_weight_decay if name == "policy" else 0.0
                self._optimisers[name] = torch.optim.Adam(
                    module.parameters(), lr=config.learning_rate, weight_decay=decay, fused=True
                )
        return self._optimisers


def expectile_loss(
    values: torch.Tensor, target_q: torch.Tensor, config: IQLConfig | GCIQLConfig
) -> Loss:
    """Expectile regression of V(s, g) ``values`` (B,) towards ``target_q`` (B,) (IQL eq. 5).

    L_V = E[ |tau - 1(A < 0)| A^2 ] with A = target_q - values and tau = ``config.expectile``.
    """
    advantage = target_q - values
    weight = torch.where(advantage > 0, config.expectile, 1 - config.expectile)
    loss = (weight * advantage.square()).mean()
    return loss, {"value/loss": loss.detach(), "value/mean": values.detach().mean()}


def td_targets(
    rewards: torch.Tensor, next_values: torch.Tensor, config: IQLConfig
) -> torch.Tensor:
    """Return r + gamma V(s', g) (B,), V clamped: what IQL eq. 6 regresses Q towards.

    Reaching a goal does not end an episode, so V(s', g) is always added (authors' ptp.py).
    """
    return rewards + config.discount * clamp_value(next_values, config)


def td_loss(estimates: torch.Tensor, targets: torch.Tensor) -> Loss:
    """Squared temporal-difference error of both Q: ``estimates`` (2, B), ``targets`` (B,).

    L_Q = sum_i E[ (r + gamma V(s', g) - Q_i(s, a, g))^2 ] (IQL eq. 6). The sum gives each
    network the gradient of its own loss; ``q/loss`` is their mean.
    """
    losses = (estimates - targets).square().mean(1)
    return losses.sum(), {"q/loss": losses.detach().mean(), "q/mean": estimates.detach().mean()}


def advantage_weighted_loss(
    mean: torch.Tensor,
    actions: torch.Tensor,
    advantage: torch.Tensor,
    config: IQLConfig | WeightedRegressionConfig,
) -> Loss:
    """Advantage-weighted log-likelihood of the recorded ``actions`` (B, A) (IQL eq. 7).

    L_pi = -E[ min(exp(A / temperature), clip) log N(a; mean, policy_std^2) ]; ``mean`` (B, A) is
    the policy's, A is ``advantage`` (B,). IQL's beta is 1 / ``config.temperature``.
    """
    weights = torch.exp(advantage / config.temperature).clamp(max=config.weight_clip)
    scaled = (actions - mean) / config.policy_std
    constant = actions.shape[1] * (math.log(config.policy_std) + 0.5 * math.log(2 * math.pi))
    log_prob = -0.5 * scaled.square().sum(1) - constant
    loss = -(weights * log_prob).mean()
    metrics = {
        "policy/loss": loss.detach(),
        "policy/weight": weights.mean(),
        "policy/advantage": advantage.mean(),
        "policy/action_mse": functional.mse_loss(mean.detach(), actions),
    }
    return loss, metrics


def clamp_value(values: torch.Tensor, config: IQLConfig) -> torch.Tensor:
    """Clamp V or Q (B,) to [``value_min``, ``value_max``] (authors' iql_trainer.py)."""
    low, high = config.value_min, config.value_max
    return values if low is None and high is None else values.clamp(low, high)


def reached(latents: torch.Tensor, goals: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Whether latents (B, D) lie within ``epsilon`` (L2) of their goals: bool (B,)."""
    return (latents - goals).square().sum(-1).sqrt() < epsilon
