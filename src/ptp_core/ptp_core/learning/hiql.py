# SPDX-License-Identifier: Apache-2.0
"""HIQL: hierarchical implicit Q-learning on states (arXiv 2307.11949), as OGBench runs it.

One value function, learned without actions, serves two policies. A goal enters V and the low level
as its representation phi([s; g]), 10 numbers of length sqrt(10). With r = 0 and m = 0 where s is
the goal g, else r = -1 and m = 1, and targets Vbar:

    q_j = r + gamma m Vbar_j(s', g),  A = r + gamma m min_j Vbar_j(s', g) - mean_j Vbar_j(s, g)
    L_V = sum_j E[ |tau - 1(A < 0)| (q_j - V_j(s, g))^2 ]

    L_high = -E[ min(exp(alpha A_h), clip) log pi_h(phi([s; s_k]) | s, g) ]
             A_h = V(s_k, g) - V(s, g),    s_k: k steps after s, or the goal where that is nearer
    L_low  = -E[ min(exp(alpha A_l), clip) log pi_l(a | s, phi([s; w])) ]
             A_l = V(s', w) - V(s, w),     w: the state k steps after s, at most the last one

Both policies are Gaussians with a fixed deviation. To act, both are asked at every step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ptp_core.config import HIQLConfig
from ptp_core.learning.gciql import LAST_GAIN, Ensemble
from ptp_core.learning.goal_transitions import GoalTransitions
from ptp_core.learning.gradient_step import gradient_step
from ptp_core.learning.iql import Loss, advantage_weighted_loss
from ptp_core.networks import gelu_mlp

if TYPE_CHECKING:
    from ptp_core.data.encoded_dataset import DatasetView
    from ptp_core.data.state_dataset import StateSource


@dataclass
class HIQLBatch(GoalTransitions):
    """Transitions with the goals of value, low and high level; all float32 (B, P)."""

    low_goals: torch.Tensor  # w
    high_goals: torch.Tensor  # g of L_high
    high_targets: torch.Tensor  # s_k of L_high


class GoalRepresentation(nn.Module):
    """phi([s; g]), scaled to the length sqrt(``size``)."""

    def __init__(
        self, states: int, hidden: tuple[int, ...], size: int, *, layer_norm: bool
    ) -> None:
        super().__init__()
        self.body = gelu_mlp(2 * states, hidden, size, layer_norm=layer_norm)

    def forward(self, states: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
        """Map states and goals (B, P) to representations (B, size)."""
        return length_normalised(self.body(torch.cat([states, goals], dim=1)))


class HIQL(nn.Module):
    """Representation, twin V with targets, high and low policy; ``update`` steps all.

    States have P = ``states`` numbers, actions A = ``actions``.
    """

    def __init__(self, config: HIQLConfig, states: int, actions: int) -> None:
        super().__init__()
        self.config = config
        hidden, norm, size = config.hidden, config.layer_norm, config.representation_dim
        self.phi = GoalRepresentation(states, hidden, size, layer_norm=norm)
        self.v = Ensemble(states + size, hidden, layer_norm=norm)
        self.v_target = Ensemble(states + size, hidden, layer_norm=norm)
        self.v_target.load_state_dict(self.v.state_dict())
        self.v_target.requires_grad_(False)
        self.high = gelu_mlp(2 * states, hidden, size, last_gain=LAST_GAIN)
        self.low = gelu_mlp(states + size, hidden, actions, last_gain=LAST_GAIN)
        self._optimisers: dict[str, torch.optim.Optimizer] = {}

    def subgoal(self, states: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
        """Return the mean of pi_h as a representation (B, size), for states and goals (B, P)."""
        return length_normalised(self.high(torch.cat([states, goals], dim=1)))

    def act(self, states: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
        """Return the mean actions (B, A) in [-1, 1] towards the high level's subgoal.

        OGBench evaluates at temperature 0, so both levels give their means.
        """
        subgoal = self.subgoal(states, goals)
        return self.low(torch.cat([states, subgoal], dim=1)).clamp(-1.0, 1.0)

    def value(self, states: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
        """Return mean_j V_j (B,): minus the discounted number of steps to the goal."""
        return self.v(states, self.phi(states, goals)).mean(0)

    def draw(self, source: StateSource, count: int, rng: np.random.Generator) -> HIQLBatch:
        """Draw ``count`` transitions; ``rng`` draws frames and goals."""
        config, view = self.config, source.view
        frames = view.draw(count, rng)
        transitions = source.transitions(frames, view.goals(frames, config.value_goals, rng))
        high_goals = view.goals(frames, config.high_goals, rng)
        targets = high_targets(view, frames, high_goals, config.subgoal_steps)
        return HIQLBatch(
            **vars(transitions),
            low_goals=source.states(view.ahead(frames, config.subgoal_steps)),
            high_goals=source.states(high_goals),
            high_targets=source.states(targets),
        )

    def update(self, batch: HIQLBatch) -> dict[str, torch.Tensor]:
        """Make one gradient step of all networks, then of the targets; return the metrics."""
        loss, metrics = self.loss(batch)
        gradient_step(loss, self.optimisers["adam"])
        self.update_target()
        return metrics

    def loss(self, batch: HIQLBatch) -> Loss:
        """The sum of the three losses."""
        parts = [self.value_loss(batch), self.high_loss(batch), self.low_loss(batch)]
        metrics = {name: value for _, found in parts for name, value in found.items()}
        return sum(loss for loss, _ in parts), metrics

    def value_loss(self, batch: HIQLBatch) -> Loss:
        """L_V. The advantage is the targets', the difference each network's own."""
        config, states, goals = self.config, batch.states, batch.goals
        with torch.no_grad():
            next_both = self.v_target(batch.next_states, self.phi(batch.next_states, goals))
            now = self.v_target(states, self.phi(states, goals)).mean(0)
            targets = batch.rewards + config.discount * batch.masks * next_both  # q_j
            advantage = targets.amin(0) - now
        values = self.v(states, self.phi(states, goals))
        weight = torch.where(advantage >= 0, config.expectile, 1 - config.expectile)
        loss = (weight * (targets - values).square()).mean(1).sum()
        return loss, {"value/loss": loss.detach(), "value/mean": values.detach().mean()}

    def high_loss(self, batch: HIQLBatch) -> Loss:
        """L_high; its target phi([s; s_k]) gets no gradient."""
        states, goals, targets = batch.states, batch.high_goals, batch.high_targets
        with torch.no_grad():
            advantage = self.value(targets, goals) - self.value(states, goals)
            wanted = self.phi(states, targets)
        mean = self.high(torch.cat([states, goals], dim=1))
        loss, metrics = advantage_weighted_loss(mean, wanted, advantage, self.config.high)
        metrics["policy/representation_mse"] = metrics.pop("policy/action_mse")
        return loss, {name.replace("policy/", "high/"): value for name, value in metrics.items()}

    def low_loss(self, batch: HIQLBatch) -> Loss:
        """L_low; reaches phi only with ``config.representation_gradient``."""
        states, goals = batch.states, batch.low_goals
        with torch.no_grad():
            advantage = self.value(batch.next_states, goals) - self.value(states, goals)
        with torch.set_grad_enabled(
            torch.is_grad_enabled() and self.config.representation_gradient
        ):
            subgoal = self.phi(states, goals)
        mean = self.low(torch.cat([states, subgoal], dim=1))
        return advantage_weighted_loss(mean, batch.actions, advantage, self.config.low)

    @torch.no_grad()
    def update_target(self) -> None:
        """Vbar <- (1 - alpha) Vbar + alpha V, alpha = ``config.target_update``."""
        for target, parameter in zip(self.v_target.parameters(), self.v.parameters()):
            target.lerp_(parameter, self.config.target_update)

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam for all networks; made on first use, so that inference needs none."""
        if not self._optimisers:
            learned = (self.phi, self.v, self.high, self.low)
            self._optimisers["adam"] = torch.optim.Adam(
                [p for module in learned for p in module.parameters()],
                lr=self.config.learning_rate,
                fused=True,
            )
        return self._optimisers


def length_normalised(values: torch.Tensor) -> torch.Tensor:
    """Scale values (B, n) to the length sqrt(n)."""
    length = torch.linalg.vector_norm(values, dim=-1, keepdim=True)
    return values / length.clamp(min=1e-8) * math.sqrt(values.shape[-1])


def high_targets(
    view: DatasetView, frames: np.ndarray, goals: np.ndarray, steps: int
) -> np.ndarray:
    """Frames (B,) that the high level predicts, for frames and goals (B,) (OGBench's HGCDataset).

    That is ``steps`` ahead, at most the goal where it lies ahead in the same trajectory, else at
    most the trajectory's last frame.
    """
    ahead = view.ahead(frames, steps)
    on_the_way = (view.trajectory(goals) == view.trajectory(frames)) & (goals >= frames)
    return np.where(on_the_way, np.minimum(ahead, goals), ahead)
