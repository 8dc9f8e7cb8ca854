# SPDX-License-Identifier: Apache-2.0
"""Accelerated updates of IQL: equal to the bit in float32, with threads too; near in bfloat16."""

import copy

import pytest
import torch

from ptp_core.config import IQLConfig
from ptp_core.learning import accelerated_iql
from ptp_core.learning.accelerated_iql import accelerated_update, forward_in, shared_networks
from ptp_core.learning.iql import IQL, Batch
from ptp_core.tiny_networks import ACTIONS, LATENT

SMALL = {"policy_hidden": (32,), "q_hidden": (32,), "value_hidden": (32,)}
UPDATES = 20
# Of bfloat16: how far outputs end from the plain ones, as a part of what UPDATES changed them by.
# The weights themselves are further off: Adam makes full steps of gradients that are near 0.
TOLERANCE = 0.15
SETTINGS = pytest.mark.parametrize(
    "settings",
    [{}, {"projection_dim": 8, "policy_conv": 4}, {"gradient_clip": 0.1}],
    ids=["plain", "projection_and_convolution", "clipped"],
)


def batch(size: int = 32, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    latents, following, goals = torch.randn(3, size, 720, generator=generator)
    actions = torch.rand(size, 5, generator=generator) * 2 - 1
    return Batch(latents, actions, following, goals, -torch.ones(size))


def small_iql(**settings) -> IQL:
    return IQL(IQLConfig(**SMALL, **settings), LATENT, ACTIONS)


def weights_after(iql: IQL, update) -> dict[str, torch.Tensor]:
    """The weights of a copy of ``iql`` after updates on batches that are always the same."""
    iql = copy.deepcopy(iql)
    for seed in range(UPDATES):
        update(iql, batch(seed=seed))
    return iql.state_dict()


def assert_same_bits(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name


@pytest.fixture
def in_bfloat16(monkeypatch):
    """Whatever the machine multiplies, precision "auto" is bfloat16."""
    monkeypatch.setattr(accelerated_iql, "multiplies_bfloat16", lambda device: True)


@SETTINGS
def test_the_weights_are_those_of_the_plain_updates_to_the_bit(settings):
    iql = small_iql(**settings)
    plain = weights_after(iql, IQL.update)
    assert not torch.equal(plain["v.body.0.weight"], iql.v.body[0].weight)
    assert_same_bits(plain, weights_after(iql, accelerated_update))


def test_the_metrics_are_those_of_the_plain_update():
    iql = small_iql()
    plain, fast = copy.deepcopy(iql).update(batch()), accelerated_update(iql, batch())
    assert list(plain) == list(fast)
    for name, value in plain.items():
        assert torch.equal(fast[name], value), name


@pytest.mark.parametrize("threads", [2, 3, 5])
@SETTINGS
def test_any_number_of_threads_gives_the_weights_of_the_plain_updates(settings, threads):
    iql = small_iql(**settings)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        plain = weights_after(iql, IQL.update)
        with shared_networks(torch.device("cpu"), threads) as run:
            assert run is not map
            assert torch.get_num_threads() == 1
            threaded = weights_after(iql, lambda *given: accelerated_update(*given, run))
    finally:
        torch.set_num_threads(before)
    assert_same_bits(plain, threaded)


def test_threads_are_those_of_torch_and_are_given_back():
    before = torch.get_num_threads()
    torch.set_num_threads(9)
    try:
        with shared_networks(torch.device("cpu")) as run:
            assert run is not map
            assert torch.get_num_threads() == 2  # for each of four networks
        assert torch.get_num_threads() == 9
        with shared_networks(torch.device("cuda")) as run:
            assert run is map
    finally:
        torch.set_num_threads(before)


@SETTINGS
def test_in_float32_the_layers_compute_what_the_network_computes(settings):
    iql = small_iql(**settings)
    data = batch()
    pair = data.latents, data.goals
    assert torch.equal(forward_in(iql.policy, *pair), iql.policy(*pair))
    q = iql.q.networks[0]
    assert torch.equal(forward_in(q, *pair, data.actions), q(*pair, data.actions))


@SETTINGS
def test_in_bfloat16_an_update_has_nearly_the_losses_and_gradients(settings, in_bfloat16):
    torch.manual_seed(0)
    full = small_iql(**settings)
    rounded = small_iql(**settings, precision="auto")
    rounded.load_state_dict(full.state_dict())
    exact, found = full.update(batch(64)), accelerated_update(rounded, batch(64))
    assert any(not torch.equal(found[name], value) for name, value in exact.items())
    for name, value in exact.items():
        assert torch.allclose(found[name], value, rtol=0.02, atol=0.02), name
    for (name, given), right in zip(rounded.named_parameters(), full.parameters(), strict=True):
        assert given.dtype == torch.float32
        if given.requires_grad:
            pair = given.grad.flatten(), right.grad.flatten()
            assert torch.cosine_similarity(*pair, dim=0) > 0.98, name


@SETTINGS
def test_in_bfloat16_the_networks_learn_to_say_nearly_the_same(settings, in_bfloat16):
    torch.manual_seed(0)
    start = small_iql(**settings, precision="auto")
    plain, rounded = copy.deepcopy(start), copy.deepcopy(start)
    plain.load_state_dict(weights_after(start, IQL.update))
    rounded.load_state_dict(weights_after(start, accelerated_update))
    for name, weight in rounded.state_dict().items():
        assert weight.dtype == torch.float32, name
    data = batch(256, seed=UPDATES)
    for say in (
        lambda iql: iql.policy_mean(data.latents, data.goals),
        lambda iql: iql.value(data.latents, data.goals),
        lambda iql: iql.q(data.latents, data.actions, data.goals),
    ):
        before, right, found = (say(iql).detach() for iql in (start, plain, rounded))
        assert 0 < (found - right).norm() < TOLERANCE * (right - before).norm()


def test_precision_auto_is_float32_where_the_machine_does_not_multiply_bfloat16(monkeypatch):
    monkeypatch.setattr(accelerated_iql, "multiplies_bfloat16", lambda device: False)
    iql = small_iql(precision="auto")
    assert_same_bits(weights_after(iql, IQL.update), weights_after(iql, accelerated_update))
