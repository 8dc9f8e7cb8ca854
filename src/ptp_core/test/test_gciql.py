# SPDX-License-Identifier: Apache-2.0
"""GCIQL: values of a chain are known, losses move their own networks, policies go to goals."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from ptp_core.config import GCIQLConfig
from ptp_core.data.state_dataset import StateDataset, StateSource
from ptp_core.errors import ConfigError
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
from ptp_core.learning.gciql import GCIQL, GCIQLBatch

BEST = 0.5


class KnownQ(nn.Module):
    """Twin Q whose best action is ``BEST`` everywhere; the second one is lower."""

    def forward(self, states, goals, actions):
        q = -1.0 - (actions - BEST).square().sum(1)
        return torch.stack([q, q - 1.0])


def test_values_of_a_chain_are_the_discounted_distances():
    learner = trained(GCIQL, GCIQLConfig(**SMALL), to_the_right(), 400)
    assert value_error(learner) < 0.05


def test_weighted_regression_goes_towards_goals_that_lie_behind_as_often_as_ahead():
    settings = {**SMALL, "value_goals": OTHERS, "policy_goals": RANDOM, "extraction": "awr"}
    learner = trained(GCIQL, GCIQLConfig(**settings), there_and_back(), 400)
    assert share_towards(learner) > 0.9


@pytest.mark.parametrize(("bc_weight", "found"), [(0.0, BEST), (100.0, -0.5)])
def test_ddpg_bc_climbs_q_as_far_as_the_data_allow(bc_weight, found):
    torch.manual_seed(0)
    config = GCIQLConfig(hidden=(16,), bc_weight=bc_weight, learning_rate=1e-2)
    learner, batch = GCIQL(config, 4, 2), random_batch()
    learner.q, batch.actions = KnownQ(), torch.full((6, 2), -0.5)
    adam = learner.optimisers["adam"]
    for _ in range(150):
        adam.zero_grad()
        learner.ddpg_bc_loss(batch)[0].backward()
        adam.step()
    mean = learner.policy_mean(batch.states, batch.policy_goals)
    assert (mean - found).abs().max() < 0.05


def test_a_state_that_is_its_goal_is_worth_nothing_and_ends_the_return():
    learner, batch = GCIQL(GCIQLConfig(hidden=(8,)), 4, 2), random_batch()
    with torch.no_grad():
        learner.v.networks[0][-1].bias.fill_(5.0)
        learner.q.networks[0][-1].weight.zero_()
        learner.q.networks[1][-1].weight.zero_()
    first, rest = (
        learner.q_loss(GCIQLBatch(**{k: v[rows] for k, v in vars(batch).items()}))[1]["q/loss"]
        for rows in (slice(0, 1), slice(1, None))
    )
    assert first == 0.0 and rest > 1.0


def test_losses_are_those_of_the_equations_row_by_row():
    torch.manual_seed(1)
    learner, batch = GCIQL(GCIQLConfig(hidden=(16,), expectile=0.9), 4, 2), random_batch()
    with torch.no_grad():
        for parameter in learner.q.parameters():
            parameter.add_(0.05)  # Q differs from its target
        lagging = learner.q_target(batch.states, batch.goals, batch.actions).amin(0)
        both = learner.q(batch.states, batch.goals, batch.actions)
        now, later = (learner.value(s, batch.goals) for s in (batch.states, batch.next_states))
        own = batch.states, batch.policy_goals
        advantage = learner.q(*own, batch.actions).amin(0) - learner.value(*own)
        mean = learner.policy_mean(*own)
    v_loss = q_loss = awr_loss = 0.0
    rows = len(batch.masks)
    for row in range(rows):
        gap = float(lagging[row] - now[row])
        v_loss += (0.9 if gap > 0 else 0.1) * gap**2 / rows
        r, m = float(batch.rewards[row]), float(batch.masks[row])
        target = r + 0.99 * m * float(later[row])
        q_loss += sum((target - float(q)) ** 2 for q in both[:, row]) / rows
        weight = min(math.exp(3.0 * float(advantage[row])), 100.0)
        squares = float((batch.actions[row] - mean[row]).square().sum())
        awr_loss += weight * (0.5 * squares + math.log(2 * math.pi)) / rows  # 2 actions
    assert learner.value_loss(batch)[0].item() == pytest.approx(v_loss, rel=1e-4)
    assert learner.q_loss(batch)[0].item() == pytest.approx(q_loss, rel=1e-4)
    assert learner.awr_loss(batch)[0].item() == pytest.approx(awr_loss, rel=1e-4)


def test_each_loss_moves_its_own_networks():
    batch = random_batch()
    for extraction in ("ddpg_bc", "awr"):
        learner = GCIQL(GCIQLConfig(hidden=(8,), extraction=extraction), 4, 2)
        assert moved(learner, learner.value_loss(batch)[0]) == {"v"}
        assert moved(learner, learner.q_loss(batch)[0]) == {"q"}
        assert moved(learner, learner.ddpg_bc_loss(batch)[0]) == {"policy"}
        assert moved(learner, learner.awr_loss(batch)[0]) == {"policy"}
        assert moved(learner, learner.loss(batch)[0]) == {"v", "q", "policy"}


def test_ddpg_bc_is_scaled_by_the_mean_size_of_q():
    learner, batch = GCIQL(GCIQLConfig(hidden=(8,), bc_weight=0.0), 4, 2), random_batch()
    before = learner.ddpg_bc_loss(batch)[0]
    with torch.no_grad():
        for network in learner.q.networks:
            network[-1].weight.mul_(1000.0)
    torch.testing.assert_close(learner.ddpg_bc_loss(batch)[0], before, rtol=1e-3, atol=0)


def test_the_target_follows_slowly_and_starts_as_a_copy():
    learner = GCIQL(GCIQLConfig(hidden=(8,), target_update=0.25), 4, 2)
    before = [p.clone() for p in learner.q.parameters()]
    assert all(torch.equal(*pair) for pair in zip(before, learner.q_target.parameters()))
    learner.update(random_batch())
    for old, new, target in zip(before, learner.q.parameters(), learner.q_target.parameters()):
        torch.testing.assert_close(target, old + 0.25 * (new - old))


def test_networks_have_ogbenchs_sizes():
    """512 x 3 on the 28 numbers of cube-single: V, two Q of 61 inputs, the policy."""
    learner = GCIQL(GCIQLConfig(), 28, 5)

    def parameters(inputs, outputs, norms):
        sizes = [inputs, 512, 512, 512, outputs]
        linear = sum(a * b + b for a, b in itertools.pairwise(sizes))
        return linear + norms * 3 * 2 * 512

    counts = {
        name: sum(p.numel() for p in getattr(learner, name).parameters())
        for name in ("v", "q", "q_target", "policy")
    }
    twin = 2 * parameters(61, 1, True)
    assert counts == {
        "v": parameters(56, 1, True),
        "q": twin,
        "q_target": twin,
        "policy": parameters(56, 5, False),
    }
    assert learner.act(torch.zeros(3, 28), torch.zeros(3, 28)).shape == (3, 5)


def test_goals_have_the_shares_of_each_role():
    lengths = [40, 30, 30]
    frames = np.arange(100)
    states = np.repeat(frames[:, None], 2, 1).astype(np.float32)  # each state says its frame
    actions = np.zeros((100, 1), np.float32)
    data = StateDataset(states, actions, np.array(lengths), ("a", "b"), ("c",))
    batch = GCIQL(GCIQLConfig(hidden=(8,)), 2, 1).draw(
        StateSource(data, torch.device("cpu")), 20_000, np.random.default_rng(0)
    )
    drawn, goals, own = (
        each[:, 0].numpy().astype(int) for each in (batch.states, batch.goals, batch.policy_goals)
    )
    trajectory = np.repeat(np.arange(3), lengths)
    last = np.array([39, 69, 99])[trajectory]
    assert (batch.next_states[:, 0].numpy() == drawn + 1).all() and (drawn < last[drawn]).all()
    assert (trajectory[goals] != trajectory[drawn]).mean() == pytest.approx(0.3, abs=0.015)
    assert (goals == drawn).mean() == pytest.approx(0.2, abs=0.015)
    assert ((batch.masks == 0).numpy() == (goals == drawn)).all()
    assert (batch.rewards == -batch.masks).all()
    ahead = (trajectory[goals] == trajectory[drawn]) & (goals > drawn)
    assert ahead.mean() == pytest.approx(0.5, abs=0.015)
    far = ahead & (last[drawn] - drawn >= 2)
    assert (goals - drawn)[far].min() == 1
    assert ((goals - drawn)[far] == 1).mean() == pytest.approx(0.01, abs=0.01)  # 1 - discount
    assert (own > drawn).all() and (own <= last[drawn]).all()
    left = last[drawn] - drawn  # a uniform future is (1 + left) / 2 steps ahead on average
    share, expected = (own - drawn) / left, ((1 + left) / 2 / left).mean()
    assert share.mean() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"expectile": 1.5}, "expectile is 1.5"), ({"discount": 1.0}, "discount is 1.0")],
)
def test_settings_out_of_range_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(GCIQLConfig(), **given)
