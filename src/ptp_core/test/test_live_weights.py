# SPDX-License-Identifier: Apache-2.0
"""Live weights: checked before they are used, swapped whole, and the last good ones stay."""

import dataclasses
import hashlib

import pytest
import torch
from torch import nn

from ptp_core.errors import CheckpointError
from ptp_core.practice.live_weights import LiveWeights, WeightsUpdate

ENCODER = "e" * 64


def network(seed, width=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 1))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.fixture
def used():
    return network(0)


@pytest.fixture
def live(used):
    return LiveWeights(used, ENCODER)


def test_staged_weights_are_used_after_the_swap_and_not_before(used, live):
    new = network(1)
    assert not live.swap()
    assert live.stage(WeightsUpdate.of(new, 1, ENCODER))
    assert same(used, network(0))
    assert live.version == 0
    assert live.swap()
    assert same(used, new)
    assert live.version == 1
    assert not live.swap()


def test_the_newest_of_several_wins_in_any_order(used, live):
    updates = {version: WeightsUpdate.of(network(version), version, ENCODER) for version in (1, 2)}
    assert live.stage(updates[2])
    assert not live.stage(updates[1])
    live.swap()
    assert same(used, network(2))
    assert not live.stage(updates[2])  # latched messages come twice


def altered(**changes):
    return dataclasses.replace(WeightsUpdate.of(network(1), 1, ENCODER), **changes)


def not_finite():
    new = network(1)
    with torch.no_grad():
        new[0].weight[0, 0] = torch.nan
    return WeightsUpdate.of(new, 1, ENCODER)


def rubbish():
    return altered(content=b"rubbish", sha256=hashlib.sha256(b"rubbish").hexdigest())


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: altered(encoder_id="f" * 64), "encoder ffffffffffff"),
        (lambda: altered(sha256="0" * 64), "altered on the way"),
        (lambda: altered(content=altered().content[:-4]), "altered on the way"),
        (rubbish, "no safetensors"),
        (not_finite, "0.weight has values that are not finite"),
        (lambda: WeightsUpdate.of(network(1, width=4), 1, ENCODER), "another size"),
        (lambda: WeightsUpdate.of(network(1)[:1], 1, ENCODER), "other tensors"),
    ],
)
def test_a_bad_update_is_refused_and_the_last_good_weights_stay(used, live, make, reason):
    with pytest.raises(CheckpointError, match=reason):
        live.stage(make())
    assert not live.swap()
    assert same(used, network(0))
    assert live.stage(WeightsUpdate.of(network(2), 2, ENCODER))
