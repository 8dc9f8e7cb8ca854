# SPDX-License-Identifier: Apache-2.0
"""HIQL: lengths, gradients, indices, the values of a chain, and two levels that go to goals."""

import math

import numpy as np
import pytest
import torch

from ptp_core.config import HIQLConfig, WeightedRegressionConfig
from ptp_core.data.encoded_dataset import DatasetView
from ptp_core.data.state_dataset import StateDataset, StateSource
from ptp_core.learning.chain_testing import (
    OTHERS,
    RANDOM,
    SMALL,
    moved,
    random_batch,
    share_towards,
    there_and_back,
    to_the_right,
    trained,
    value_error,
)
from ptp_core.learning.hiql import HIQL, HIQLBatch, high_targets

LENGTHS = np.array([61, 39])  # the first trajectory ends with frame 60


def numbered():
    """Trajectories whose states say their frame."""
    states = np.repeat(np.arange(100.0, dtype=np.float32)[:, None], 2, 1)
    actions = np.zeros((100, 1), np.float32)
    return StateDataset(states, actions, LENGTHS, ("a", "b"), ("c",))


def batch_of(seed=0):
    made = vars(random_batch(seed=seed))
    goals = made.pop("policy_goals")
    return HIQLBatch(**made, low_goals=goals, high_goals=goals.flip(0), high_targets=goals.flip(1))


def hiql(**given):
    torch.manual_seed(1)
    return HIQL(HIQLConfig(hidden=(16,), **given), 4, 2)


@pytest.mark.parametrize(
    ("frame", "goal", "target"),
    [
        (10, 20, 20),  # the goal is nearer than 25 steps
        (10, 50, 35),
        (50, 60, 60),
        (50, 55, 55),
        (10, 80, 35),  # of another trajectory: 25 steps ahead,
        (50, 80, 60),  # at most the last frame
        (30, 5, 55),  # behind
    ],
)
def test_the_high_level_predicts_25_steps_ahead_but_not_beyond_its_goal(frame, goal, target):
    view = DatasetView(numbered())
    assert high_targets(view, np.array([frame]), np.array([goal]), 25).tolist() == [target]


def test_low_goals_are_k_steps_ahead_at_most_the_last_frame():
    learner = HIQL(HIQLConfig(hidden=(8,), subgoal_steps=25), 2, 1)
    source = StateSource(numbered(), torch.device("cpu"))
    batch = learner.draw(source, 5000, np.random.default_rng(0))
    frames, low, high, targets = (
        each[:, 0].numpy().astype(int)
        for each in (batch.states, batch.low_goals, batch.high_goals, batch.high_targets)
    )
    last = np.where(frames <= 60, 60, 99)
    assert (low == np.minimum(frames + 25, last)).all() and set(low[frames == 10]) == {35}
    assert (high > frames).all() and (high <= last).all()
    assert (targets == np.minimum(frames + 25, high)).all()


def test_representations_have_the_length_of_the_root_of_their_size():
    learner = hiql()
    states, goals = torch.randn(50, 4), 100 * torch.randn(50, 4)
    for found in (learner.phi(states, goals), learner.subgoal(states, goals)):
        assert found.shape == (50, 10)
        torch.testing.assert_close(
            found.norm(dim=1), torch.full((50,), math.sqrt(10)), atol=1e-4, rtol=0
        )


def test_the_representation_learns_from_values_and_only_if_asked_from_the_low_level():
    batch = batch_of()
    for asked in (False, True):
        learner = hiql(representation_gradient=asked)
        assert moved(learner, learner.value_loss(batch)[0]) == {"phi", "v"}
        assert moved(learner, learner.high_loss(batch)[0]) == {"high"}
        low = moved(learner, learner.low_loss(batch)[0])
        assert low == ({"phi", "low"} if asked else {"low"})


def test_weights_are_clipped():
    sharp = WeightedRegressionConfig(alpha=1e6)
    learner = hiql(high=sharp, low=sharp)
    for seed in range(5):
        _, metrics = learner.loss(batch_of(seed))
        assert 0.0 < float(metrics["high/weight"]) <= 100.0
        assert 0.0 <= float(metrics["policy/weight"]) <= 100.0


def test_the_value_loss_weighs_each_difference_by_the_targets_advantage():
    learner, batch = hiql(expectile=0.7), batch_of()
    with torch.no_grad():
        for parameter in learner.v.parameters():
            parameter.add_(0.05)  # values differ from targets
        both = learner.v_target(batch.next_states, learner.phi(batch.next_states, batch.goals))
        now = learner.v_target(batch.states, learner.phi(batch.states, batch.goals))
        values = learner.v(batch.states, learner.phi(batch.states, batch.goals))
    expected = 0.0
    for row in range(len(batch.masks)):
        r, m = float(batch.rewards[row]), float(batch.masks[row])
        targets = [r + 0.99 * m * float(each[row]) for each in both]
        advantage = min(targets) - float(now[:, row].mean())
        weight = 0.7 if advantage >= 0 else 0.3
        for q, v in zip(targets, values[:, row]):
            expected += weight * (q - float(v)) ** 2 / len(batch.masks)
    assert learner.value_loss(batch)[0].item() == pytest.approx(expected, rel=1e-4)


def test_both_levels_are_weighted_by_what_their_step_gains():
    learner, batch = hiql(), batch_of()
    with torch.no_grad():
        high = learner.value(batch.high_targets, batch.high_goals) - learner.value(
            batch.states, batch.high_goals
        )
        low = learner.value(batch.next_states, batch.low_goals) - learner.value(
            batch.states, batch.low_goals
        )
        wanted = learner.phi(batch.states, batch.high_targets)
        subgoal = learner.phi(batch.states, batch.low_goals)
        found = learner.high(torch.cat([batch.states, batch.high_goals], 1))
        action = learner.low(torch.cat([batch.states, subgoal], 1))
    expected = [
        float(((3.0 * gain).exp().clamp(max=100.0) * negative_log(*pair)).mean())
        for gain, pair in ((high, (found, wanted)), (low, (action, batch.actions)))
    ]
    assert learner.high_loss(batch)[0].item() == pytest.approx(expected[0], rel=1e-4)
    assert learner.low_loss(batch)[0].item() == pytest.approx(expected[1], rel=1e-4)


def negative_log(mean, values):
    """-log N(values; mean, 1) (B,)."""
    normal = torch.distributions.Normal(mean, 1.0)
    return -normal.log_prob(values).sum(1)


def test_values_of_a_chain_are_the_discounted_distances():
    learner = trained(HIQL, HIQLConfig(**SMALL, subgoal_steps=2), to_the_right(), 400)
    assert value_error(learner) < 0.05


def test_two_levels_go_towards_goals_that_lie_behind_as_often_as_ahead():
    settings = {**SMALL, "value_goals": OTHERS, "high_goals": RANDOM, "subgoal_steps": 2}
    learner = trained(HIQL, HIQLConfig(**settings), there_and_back(), 200)
    assert share_towards(learner) > 0.9


def test_networks_have_ogbenchs_sizes():
    """512 x 3 on the 28 numbers of cube-single, with 10 numbers for a goal."""
    learner = HIQL(HIQLConfig(), 28, 5)
    counts = {
        name: sum(p.numel() for p in getattr(learner, name).parameters())
        for name in ("phi", "v", "high", "low")
    }
    assert counts == {"phi": 562_698, "v": 2 * 548_865, "high": 559_626, "low": 547_845}
    assert learner.act(torch.zeros(3, 28), torch.ones(3, 28)).shape == (3, 5)
