# SPDX-License-Identifier: Apache-2.0
"""IQL: losses by hand, acting, resuming, learning on a line world."""

import copy
import math

import pytest
import torch

from ptp_core.config import IQLConfig
from ptp_core.learning.iql import IQL, Batch, reached
from ptp_core.tiny_networks import ACTIONS, LATENT

SMALL = {"policy_hidden": (32,), "q_hidden": (32,), "value_hidden": (32,)}


def batch(size: int = 8, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    latents, following, goals = torch.randn(3, size, 720, generator=generator)
    actions = torch.rand(size, 5, generator=generator) * 2 - 1
    return Batch(latents, actions, following, goals, -torch.ones(size))


def test_the_papers_networks_have_the_authors_number_of_parameters():
    iql = IQL(IQLConfig(), LATENT, ACTIONS)
    counts = [sum(p.numel() for p in module.parameters()) for module in (iql.policy, iql.v)]
    assert counts == [567_557, 434_945]
    assert sum(p.numel() for p in iql.q.networks[0].parameters()) == 436_225


def test_value_loss_weighs_underestimates_nine_times_as_much():
    iql = IQL(IQLConfig(**SMALL), LATENT, ACTIONS)
    data = batch(1)
    value = iql.value(data.latents, data.goals).detach()
    low, _ = iql.value_loss(data, value + 2.0)
    high, _ = iql.value_loss(data, value - 2.0)
    assert low.item() == pytest.approx(0.9 * 4.0, rel=1e-4)
    assert high.item() == pytest.approx(0.1 * 4.0, rel=1e-4)


def test_q_learns_towards_reward_plus_discounted_clamped_value():
    iql = IQL(IQLConfig(**SMALL), LATENT, ACTIONS)
    data = batch()
    with torch.no_grad():
        iql.v.body[-1].bias.fill_(50.0)  # V is far above its maximum of 0
        targets = data.rewards + 0.995 * 0.0
        expected = (iql.q(data.latents, data.actions, data.goals) - targets).square().mean(1).sum()
    assert iql.q_loss(data)[0].item() == pytest.approx(expected.item(), rel=1e-5)


def test_policy_loss_is_the_clipped_exponential_weight_times_log_likelihood():
    iql = IQL(IQLConfig(**SMALL), LATENT, ACTIONS)
    data = batch(2)
    advantage = torch.tensor([1.0, -0.01])
    distribution = torch.distributions.Normal(iql.policy_mean(data.latents, data.goals), 0.15)
    log_prob = distribution.log_prob(data.actions).sum(1)
    expected = -(torch.tensor([100.0, math.exp(-1.0)]) * log_prob).mean()
    loss, metrics = iql.policy_loss(data, advantage)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert metrics["policy/weight"].item() == pytest.approx((100 + math.exp(-1)) / 2)


def test_acting_is_clipped_and_repeatable_with_a_generator():
    iql = IQL(IQLConfig(**SMALL), LATENT, ACTIONS)
    data = batch()
    with torch.no_grad():
        iql.policy.body[-1].bias.copy_(torch.tensor([5.0, -5.0, 0.0, 0.0, 0.0]))
    mean = iql.act(data.latents, data.goals)
    assert (mean[:, 0] == 1).all()
    assert (mean[:, 1] == -1).all()

    def sample(seed):
        return iql.act(data.latents, data.goals, torch.Generator().manual_seed(seed))

    assert torch.equal(sample(3), sample(3))
    assert not torch.equal(sample(3), sample(4))
    spread = (sample(3) - mean)[:, 2:].std()
    assert 0.05 < spread < 0.3


def test_targets_start_as_configured_and_move_by_tau():
    copied = IQL(IQLConfig(target_init="copied", **SMALL), LATENT, ACTIONS)
    assert torch.equal(
        copied.q.networks[0].body[0].weight, copied.q_target.networks[0].body[0].weight
    )
    iql = IQL(IQLConfig(**SMALL), LATENT, ACTIONS)
    weight, target = (net.networks[0].body[0].weight for net in (iql.q, iql.q_target))
    assert not torch.equal(weight, target)
    expected = 0.99 * target + 0.01 * weight
    iql.update_target()
    assert torch.allclose(target, expected, atol=1e-6)


def test_a_convolution_keeps_the_interface():
    iql = IQL(IQLConfig(policy_conv=4, **SMALL), LATENT, ACTIONS)
    latents = torch.randn(3, 720)
    assert iql.act(latents, torch.randn(3, 720)).shape == (3, 5)
    # It sees where on the grid a latent differs, in the state and in the goal.
    other = latents.clone()
    other[:, 5 * 12 + 7] += 10.0
    assert not torch.equal(iql.policy_mean(latents, other), iql.policy_mean(other, latents))


def test_a_projection_keeps_the_interface():
    iql = IQL(IQLConfig(projection_dim=16, **SMALL), LATENT, ACTIONS)
    data = batch(6)
    assert iql.act(data.latents, data.goals).shape == (6, 5)
    assert iql.value(data.latents, data.goals).shape == (6,)
    assert torch.isfinite(iql.update(data)["value/loss"])


def test_reached_compares_the_distance_with_epsilon():
    goals = torch.zeros(2, 720)
    latents = torch.zeros(2, 720)
    latents[:, 0] = torch.tensor([1.9, 2.1])
    assert reached(latents, goals, 2.0).tolist() == [True, False]


def test_learning_prefers_the_action_that_leads_to_the_goal():
    """Six places in a row, random moves; the first action number moves right or left."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    config = IQLConfig(
        policy_hidden=(64,),
        q_hidden=(64,),
        value_hidden=(64,),
        learning_rate=3e-3,
        temperature=0.3,
        weight_clip=10.0,
        discount=0.9,
        target_update=0.1,
    )
    iql = IQL(config, LATENT, ACTIONS)
    places = 0.25 * torch.randn(6, 720, generator=generator)
    for _ in range(650):
        place, goal = torch.randint(0, 6, (2, 64), generator=generator)
        move = torch.randint(0, 2, (64,), generator=generator) * 2 - 1
        following = (place + move).clamp(0, 5)
        actions = torch.zeros(64, 5)
        actions[:, 0] = 0.8 * move
        rewards = (following == goal).float() - 1
        iql.update(Batch(places[place], actions, places[following], places[goal], rewards))
    place, goal = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
    away = place != goal
    moves = iql.act(places[place[away]], places[goal[away]])[:, 0]
    right = moves * torch.sign(goal - place)[away] > 0.3
    assert right.float().mean() > 0.85
    values = iql.value(places[[4, 0]], places[[5, 5]])
    assert values[0] > values[1] + 0.5


@pytest.mark.parametrize("settings", [{}, {"projection_dim": 8, "policy_conv": 4}])
def test_an_update_has_the_gradients_of_the_three_losses(settings):
    iql = IQL(IQLConfig(**SMALL, **settings), LATENT, ACTIONS)
    data = batch(16)
    plain = copy.deepcopy(iql)
    with torch.no_grad():
        target_q = plain.q_target(data.latents, data.actions, data.goals).amin(0).clamp(-200, 0)
        advantage = target_q - plain.value(data.latents, data.goals)
    value_loss, value = plain.value_loss(data, target_q)
    q_loss, q = plain.q_loss(data)
    policy_loss, policy = plain.policy_loss(data, advantage)
    (value_loss + q_loss + policy_loss).backward()
    metrics = iql.update(data)
    assert metrics.keys() == {**value, **q, **policy}.keys()
    for name, figure in {**value, **q, **policy}.items():
        assert torch.allclose(metrics[name], figure, rtol=1e-4, atol=1e-6), name
    expected = dict(plain.named_parameters())
    for name, parameter in iql.named_parameters():
        if parameter.requires_grad:
            assert torch.allclose(parameter.grad, expected[name].grad, rtol=1e-3, atol=1e-5), name


def test_optimisers_are_only_made_for_training():
    iql = IQL(IQLConfig(**SMALL), LATENT, ACTIONS)
    iql.act(batch().latents, batch().goals)
    assert not iql._optimisers
    before = copy.deepcopy(iql.state_dict())
    iql.update(batch())
    assert set(iql.optimisers) == {"policy", "q", "v"}
    assert not torch.equal(before["v.body.0.weight"], iql.v.body[0].weight)
