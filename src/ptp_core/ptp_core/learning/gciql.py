# SPDX-License-Identifier: Apache-2.0
"""GCIQL: goal-conditioned IQL on states, as OGBench runs it (arXiv 2410.20092; IQL, 2110.06169).

For a transition s, a, s' and a goal g of the values, with r = 0 and m = 0 where s is g, else
r = -1 and m = 1:

    L_V = E[ |tau - 1(A < 0)| A^2 ],  A = min_i Qtarget_i(s, a, g) - V(s, g)
    L_Q = sum_i E[ (r + gamma m V(s', g) - Q_i(s, a, g))^2 ]

so that V(s, g) is -(1 - gamma^d) / (1 - gamma) for a goal d steps away. The policy is a Gaussian
with mean mu(s, g') and deviation 1, for goals g' of its own. It learns by one of

    DDPG+BC:  -E[ min_i Q_i(s, mu, g') ] / E[ |min_i Q_i| ] - alpha E[ log pi(a | s, g') ]
    AWR:      -E[ min(exp(alpha A), clip) log pi(a | s, g') ],  A = min_i Q_i(s, a, g') - V(s, g')

`iql` is PTP's variant on latents: rewards by distance, values clamped, returns that do not end at
the goal, the same goals for values and policy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ptp_core.config import GCIQLConfig
from ptp_core.learning.goal_transitions import GoalTransitions
from ptp_core.learning.gradient_step import gradient_step
from ptp_core.learning.iql import Loss, advantage_weighted_loss, expectile_loss, td_loss
from ptp_core.networks import frozen, gelu_mlp

if TYPE_CHECKING:
    from ptp_core.data.state_dataset import StateSource

LAST_GAIN = 0.1  # of a policy's last layer, so that its first actions are near 0 (OGBench)


@dataclass
class GCIQLBatch(GoalTransitions):
    """Transitions with a goal for the values and one for the policy."""

    policy_goals: torch.Tensor  # float32 (B, P)


class Ensemble(nn.Module):
    """``count`` independent networks with one output, on the same inputs."""

    def __init__(
        self, inputs: int, hidden: tuple[int, ...], *, layer_norm: bool, count: int = 2
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(
            gelu_mlp(inputs, hidden, 1, layer_norm=layer_norm) for _ in range(count)
        )

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return every network's output, (count, B), for inputs (B, ...) side by side."""
        joined = torch.cat(inputs, dim=1)
        return torch.stack([network(joined).squeeze(1) for network in self.networks])


class GCIQL(nn.Module):
    """V, twin Q, target Q and policy; ``update`` makes one gradient step of all.

    States have P = ``states`` numbers, actions A = ``actions``.
    """

    def __init__(self, config: GCIQLConfig, states: int, actions: int) -> None:
        super().__init__()
        self.config = config
        hidden, norm = config.hidden, config.layer_norm
        self.v = Ensemble(2 * states, hidden, layer_norm=norm, count=1)
        self.q = Ensemble(2 * states + actions, hidden, layer_norm=norm)
        self.q_target = Ensemble(2 * states + actions, hidden, layer_norm=norm)
        self.q_target.load_state_dict(self.q.state_dict())
        self.q_target.requires_grad_(False)
        self.policy = gelu_mlp(2 * states, hidden, actions, last_gain=LAST_GAIN)
        self._optimisers: dict[str, torch.optim.Optimizer] = {}

    def policy_mean(self, states: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
        """Return mu (B, A), not clipped, for states and goals (B, P)."""
        return self.policy(torch.cat([states, goals], dim=1))

    def act(self, states: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
        """Return the mean actions (B, A) in [-1, 1]: OGBench evaluates at temperature 0."""
        return self.policy_mean(states, goals).clamp(-1.0, 1.0)

    def value(self, states: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
        """Return V (B,): minus the discounted number of steps to the goal."""
        return self.v(states, goals)[0]

    def draw(self, source: StateSource, count: int, rng: np.random.Generator) -> GCIQLBatch:
        """Draw ``count`` transitions; ``rng`` draws frames and goals."""
        config, view = self.config, source.view
        frames = view.draw(count, rng)
        transitions = source.transitions(frames, view.goals(frames, config.value_goals, rng))
        policy_goals = source.states(view.goals(frames, config.policy_goals, rng))
        return GCIQLBatch(**vars(transitions), policy_goals=policy_goals)

    def update(self, batch: GCIQLBatch) -> dict[str, torch.Tensor]:
        """Make one gradient step of V, Q and policy, then of the target Q; return the metrics."""
        loss, metrics = self.loss(batch)
        gradient_step(loss, self.optimisers["adam"])
        self.update_target()
        return metrics

    def loss(self, batch: GCIQLBatch) -> Loss:
        """The sum of the three losses. Each network gets the gradient of its own."""
        extract = self.ddpg_bc_loss if self.config.extraction == "ddpg_bc" else self.awr_loss
        parts = [self.value_loss(batch), self.q_loss(batch), extract(batch)]
        metrics = {name: value for _, found in parts for name, value in found.items()}
        return sum(loss for loss, _ in parts), metrics

    def value_loss(self, batch: GCIQLBatch) -> Loss:
        """L_V: see `expectile_loss`."""
        with torch.no_grad():
            target_q = self.q_target(batch.states, batch.goals, batch.actions).amin(0)
        return expectile_loss(self.value(batch.states, batch.goals), target_q, self.config)

    def q_loss(self, batch: GCIQLBatch) -> Loss:
        """L_Q of both Q: see `td_loss`."""
        with torch.no_grad():
            next_values = self.value(batch.next_states, batch.goals)
        targets = batch.rewards + self.config.discount * batch.masks * next_values
        return td_loss(self.q(batch.states, batch.goals, batch.actions), targets)

    def ddpg_bc_loss(self, batch: GCIQLBatch) -> Loss:
        """DDPG+BC (arXiv 2406.09329): climb Q, scaled to mean size 1, and stay near the data."""
        mean = self.policy_mean(batch.states, batch.policy_goals)
        with frozen(self.q):
            both = self.q(batch.states, batch.policy_goals, mean.clamp(-1.0, 1.0))
        q = both.amin(0)
        climb = -q.mean() / (q.detach().abs().mean() + 1e-6)
        squares = (batch.actions - mean).square()
        constant = 0.5 * batch.actions.shape[1] * math.log(2 * math.pi)
        log_prob = -0.5 * squares.sum(1) - constant
        loss = climb - self.config.bc_weight * log_prob.mean()
        return loss, {
            "policy/loss": loss.detach(),
            "policy/q": q.detach().mean(),
            "policy/action_mse": squares.detach().mean(),
        }

    def awr_loss(self, batch: GCIQLBatch) -> Loss:
        """Advantage-weighted regression: see `advantage_weighted_loss`."""
        with torch.no_grad():
            q = self.q(batch.states, batch.policy_goals, batch.actions).amin(0)
            advantage = q - self.value(batch.states, batch.policy_goals)
        mean = self.policy_mean(batch.states, batch.policy_goals)
        return advantage_weighted_loss(mean, batch.actions, advantage, self.config.awr)

    @torch.no_grad()
    def update_target(self) -> None:
        """Qtarget <- (1 - alpha) Qtarget + alpha Q, alpha = ``config.target_update``."""
        for target, parameter in zip(self.q_target.parameters(), self.q.parameters()):
            target.lerp_(parameter, self.config.target_update)

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam for all networks; made on first use, so that inference needs none."""
        if not self._optimisers:
            learned = [p for each in (self.v, self.q, self.policy) for p in each.parameters()]
            self._optimisers["adam"] = torch.optim.Adam(
                learned, lr=self.config.learning_rate, fused=True
            )
        return self._optimisers
