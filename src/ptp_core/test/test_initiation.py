# SPDX-License-Identifier: Apache-2.0
"""Where a leg can begin: what pairs teach it, and that it is learned."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from ptp_core.config import (
    GoalClassifierConfig,
    InitiationConfig,
    InitiationPartConfig,
)
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.trajectory import Metadata, Segment
from ptp_core.errors import ConfigError
from ptp_core.learning.demonstrated_legs import DemonstratedLegs
from ptp_core.learning.goal_classifier import PairSampler
from ptp_core.learning.initiation import InitiationSet, LegStartSampler
from ptp_core.tiny_networks import LATENT, rng, tiny_networks

PAIRS = GoalClassifierConfig(channels=4, hidden_units=16, dropout=0.0)
CONFIG = InitiationConfig(
    channels=4, hidden_units=16, dropout=0.0, batch_size=32, mixed=2, sigma=0.0
)


def network(**changes):
    config = dataclasses.replace(CONFIG, **changes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return InitiationSet(InitiationPartConfig(network=config, z_dim=3), LATENT)


def test_the_loss_is_the_cross_entropy_of_shown_and_mixed_pairs():
    made = network()
    states, z = torch.randn(6, LATENT.size, generator=rng()), torch.randn(6, 3, generator=rng(1))
    order = torch.stack([torch.randperm(6, generator=rng(seed)) for seed in (2, 3)])
    loss, metrics = made.loss(states, z, order)
    made.requires_grad_(False)
    shown = [float(made(states[i : i + 1], z[i : i + 1])) for i in range(6)]
    mixed = [float(made(states[i : i + 1], z[row[i]][None])) for row in order for i in range(6)]
    labels = torch.tensor([1.0] * 6 + [0.0] * 12)
    each = functional.binary_cross_entropy_with_logits(
        torch.tensor(shown + mixed), labels, reduction="none"
    )
    expected = 0.5 * (each[:6].mean() + each[6:].mean())
    torch.testing.assert_close(loss, expected)
    right = np.mean([np.mean(np.array(shown) > 0), np.mean(np.array(mixed) <= 0)])
    assert float(metrics["accuracy"]) == pytest.approx(right)


def test_it_learns_which_leg_begins_in_which_scene():
    """Two kinds of scenes, each with a leg of its own, and one leg that begins in both."""
    made = network()
    optimiser = torch.optim.Adam(made.parameters(), 3e-3)
    scenes, legs = torch.randn(2, LATENT.size, generator=rng(7)), torch.eye(3)
    noise = rng(1)
    for _ in range(250):
        kind = torch.randint(2, (128,), generator=noise)
        either = torch.rand(128, generator=noise) < 0.5
        z = legs[torch.where(either, 2, kind)]
        order = torch.stack([torch.randperm(128, generator=noise) for _ in range(2)])
        loss, _ = made.loss(scenes[kind], z, order)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        logits = torch.stack([made(scenes[k].expand(3, -1), legs) for k in (0, 1)])
        cost = made.cost(scenes, legs[[1, 1]])
    # The density ratio is 2 for a leg of the scene's own, 1 for the other, 0 for the wrong one.
    expected = torch.tensor([[np.log(2), 0.0], [np.log(2), 0.0]], dtype=torch.float32)
    found = torch.stack([logits[[0, 1], [0, 1]], logits[:, 2]], dim=1)
    torch.testing.assert_close(found, expected, atol=0.3, rtol=0)
    assert (logits[[0, 1], [1, 0]] < -3).all()
    assert float(cost[0]) > 3 and float(cost[1]) < 1


@pytest.fixture
def data():
    """Two demonstrations of 30 frames, each frame other codes; their work is done after 10, 20."""
    codes = np.random.default_rng(0).integers(0, 32, (60, LATENT.codes)).astype(np.uint16)
    metadata = [
        Metadata(success=True, segments=(Segment(0, 30, "push", done=done, success=True),))
        for done in (10, 20)
    ]
    actions = np.zeros((60, 5), np.float32)
    return EncodedDataset(codes, actions, np.array([30, 30]), "id", metadata=metadata)


def drawn(data, seed=0, **changes):
    made = tiny_networks(diffusion=True)
    config = dataclasses.replace(CONFIG, **changes)
    networks = made.vqvae, made.generators["dt60"]
    legs = DemonstratedLegs(data, PairSampler(data, PAIRS), *networks, 2)
    sampler = LegStartSampler(legs, config)
    return made, sampler.draw(np.random.default_rng(seed), rng(seed))


def test_states_come_before_anything_is_moved_and_legs_are_those_of_the_demonstration(data):
    made, (states, z, order) = drawn(data)
    known = made.vqvae.lookup(torch.from_numpy(data.codes.astype(np.int64)))
    frames = [int((state == known).all(1).nonzero()[0, 0]) for state in states]
    assert set(frames) <= {*range(4), *range(30, 38)} and len(set(frames)) > 6
    generator, possible = made.generators["dt60"], {0: [], 30: []}
    for first, late in ((0, range(12, 30)), (30, range(52, 60))):
        for start in (first, first + 1):
            ends = known[list(late)]
            possible[first].append(generator.encode(known[start].expand_as(ends), ends)[0])
    for frame, leg in zip(frames, z, strict=True):
        own = torch.cat(possible[30 if frame >= 30 else 0])
        assert float((own - leg).abs().amax(1).min()) < 1e-5
    assert order.shape == (2, 32) and not torch.equal(order[0], order[1])
    assert all(sorted(row.tolist()) == list(range(32)) for row in order)


def test_latent_actions_have_noise_of_at_most_sigma(data):
    _, (_, exact, _) = drawn(data)
    _, (_, noisy, _) = drawn(data, sigma=0.5)
    apart = noisy - exact
    assert 0.05 < float(apart.std()) < 0.5 and (apart != 0).all()


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match="mixed is 0"):
        InitiationConfig(mixed=0)
    with pytest.raises(ConfigError, match="z_dim is 0"):
        InitiationPartConfig(network=CONFIG, z_dim=0)
