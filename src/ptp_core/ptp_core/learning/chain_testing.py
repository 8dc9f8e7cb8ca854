# SPDX-License-Identifier: Apache-2.0
"""A chain of places whose values are known, and small batches, for tests of learners on states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ptp_core.config import RelabellingConfig, StateLearnerConfig
from ptp_core.data.state_dataset import StateDataset, StateSource
from ptp_core.learning.gciql import GCIQLBatch

PLACES, REACHED, DISCOUNT = 8, 7, 0.8  # of a chain; V is looked at for the first REACHED places
OWN = RelabellingConfig(future=0.8, next=0.0, original=0.0, current=0.2)
OTHERS = RelabellingConfig(future=0.4, next=0.0, original=0.0, current=0.2, random=0.4)
RANDOM = RelabellingConfig(future=0.0, next=0.0, original=0.0, random=1.0)
SMALL: dict[str, Any] = {
    "hidden": (64, 64),
    "discount": DISCOUNT,
    "target_update": 0.05,
    "learning_rate": 3e-3,
    "batch_size": 64,
    "value_goals": OWN,
}


def chain(*ways: tuple[Sequence[int], float]) -> StateDataset:
    """A trajectory for each way: places, and the action at each; a state is one 1 among 0."""
    places = np.concatenate([way for way, _ in ways])
    actions = [action for way, action in ways for _ in way]
    return StateDataset(
        states=np.eye(PLACES, dtype=np.float32)[places],
        actions=np.array(actions, np.float32)[:, None],
        lengths=np.array([len(way) for way, _ in ways]),
        state_names=tuple(f"place_{i}" for i in range(PLACES)),
        action_names=("right",),
    )


def to_the_right() -> StateDataset:
    """One action, one way: every value is known."""
    return chain((range(PLACES), 1.0))


def there_and_back() -> StateDataset:
    """Both ways; a random goal lies behind as often as ahead, so that cloning goes nowhere."""
    return chain((range(PLACES), 1.0), (range(PLACES)[::-1], -1.0))


def trained(
    learner_class: type[nn.Module], config: StateLearnerConfig, data: StateDataset, steps: int
) -> Any:
    """A learner of a class after so many updates."""
    torch.manual_seed(0)
    learner = learner_class(config, PLACES, 1)
    source, rng = StateSource(data, torch.device("cpu")), np.random.default_rng(0)
    for _ in range(steps):
        learner.update(learner.draw(source, config.batch_size, rng))
    return learner


def pairs(
    distances: Callable[[int], bool],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """States and goals of pairs of places whose g - s ``distances`` accepts, and g - s."""
    found = [(s, g) for s in range(REACHED) for g in range(REACHED) if distances(g - s)]
    states, goals = (torch.eye(PLACES)[list(places)] for places in zip(*found))
    return states, goals, torch.tensor([g - s for s, g in found])


def value_error(learner: Any) -> float:
    """Largest error of gamma^d, as V says it, over goals ahead in the chain."""
    states, goals, ahead = pairs(lambda d: d >= 0)
    with torch.no_grad():
        found = 1 + (1 - DISCOUNT) * learner.value(states, goals)
    return float((found - DISCOUNT**ahead).abs().max())


def share_towards(learner: Any) -> float:
    """Share of pairs of different places whose action goes towards the goal."""
    states, goals, ahead = pairs(lambda d: d != 0)
    with torch.no_grad():
        actions = learner.act(states, goals)[:, 0]
    return float((actions.sign() == ahead.sign()).float().mean())


def random_batch(count: int = 6, states: int = 4, actions: int = 2, seed: int = 0) -> GCIQLBatch:
    """Random transitions, in the first of which the state is the goal."""
    generator = torch.Generator().manual_seed(seed)
    names = ("states", "next_states", "goals", "policy_goals")
    drawn = {name: torch.randn(count, states, generator=generator) for name in names}
    masks = torch.ones(count)
    masks[0] = 0.0
    taken = torch.rand(count, actions, generator=generator) * 2 - 1
    return GCIQLBatch(**drawn, actions=taken, rewards=-masks, masks=masks)


def moved(learner: nn.Module, loss: torch.Tensor) -> set[str]:
    """Names of the networks that the gradient of a loss reaches."""
    learner.zero_grad(set_to_none=True)
    loss.backward()
    return {name.partition(".")[0] for name, p in learner.named_parameters() if p.grad is not None}
