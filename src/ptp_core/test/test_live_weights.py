# SPDX-License-Identifier: Apache-2.0
"""Live weights: checked before they are used, swapped whole, and the last good ones stay."""

import dataclasses
import hashlib
import json

import pytest
import torch
from safetensors.torch import save
from torch import nn

from ptp_core.errors import CheckpointError
from ptp_core.policies.live_weights import MOST_AHEAD, LiveWeights, WeightsUpdate

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


def sealed(content):
    return altered(content=content, sha256=hashlib.sha256(content).hexdigest())


def made_of(value, dtype):
    """As a learner with networks of another dtype would send it."""
    state = {
        key: torch.full_like(t, value, dtype=dtype) for key, t in network(1).state_dict().items()
    }
    return sealed(save(state))


def headed(**changes):
    """An update whose header says something else of its first tensor."""
    content = WeightsUpdate.of(network(1), 1, ENCODER).content
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["0.bias"].update(changes)
    text = json.dumps(header).encode()
    return sealed(len(text).to_bytes(8, "little") + text + content[8 + size :])


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
        (lambda: made_of(1e300, torch.float64), "is torch.float64, the checkpoint's is"),
        (lambda: made_of(1, torch.int64), "is torch.int64"),
        (lambda: headed(dtype="F8_E9"), "no safetensors"),
        (lambda: headed(shape=[2**40, 2**40]), "no safetensors"),
        (lambda: headed(shape=[]), "no safetensors"),
        (lambda: WeightsUpdate.of(network(1, width=10**5), 1, ENCODER), "bytes, the checkpoint's"),
        (lambda: altered(version=2**64 - 1), "no learner is that far ahead"),
        (lambda: altered(version=-1), "no learner is that far ahead"),
    ],
)
def test_a_bad_update_is_refused_and_the_last_good_weights_stay(used, live, make, reason):
    with pytest.raises(CheckpointError, match=reason):
        live.stage(make())
    assert not live.swap()
    assert same(used, network(0))
    assert live.stage(WeightsUpdate.of(network(2), 2, ENCODER))


def test_a_node_that_begins_late_takes_the_newest_and_one_from_beyond_locks_nobody_out(used, live):
    with pytest.raises(CheckpointError, match="far ahead"):
        live.stage(WeightsUpdate.of(network(1), MOST_AHEAD + 1, ENCODER))
    assert live.stage(WeightsUpdate.of(network(2), MOST_AHEAD, ENCODER))
