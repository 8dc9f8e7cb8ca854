# SPDX-License-Identifier: Apache-2.0
"""Imagined frames: where they come from, whose codes they are, how batches take them."""

import dataclasses

import numpy as np
import pytest
import torch

from ptp_core.config import GapConfig
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.replay_buffer import ReplayBuffer
from ptp_core.tiny_networks import ACTIONS, ENCODER, LATENT, rng, tiny_config, tiny_networks
from ptp_core.training.iql_stage import generated_goals

LENGTHS = (80, 30, 12)


@pytest.fixture(scope="module")
def networks():
    return tiny_networks()


@pytest.fixture(scope="module")
def data():
    codes = np.random.default_rng(0).integers(0, 32, (sum(LENGTHS), 144)).astype(np.uint16)
    actions = np.zeros((len(codes), 5), np.float32)
    return EncodedDataset(codes, actions, np.array(LENGTHS), ENCODER)


def imagined(networks, data, seed=0):
    return generated_goals(networks.vqvae, networks.generators, data, rng(seed))


def test_a_frame_is_imagined_once_a_generator_reaches_it(networks, data):
    changed = (imagined(networks, data) != data.codes).any(1)
    gaps = tiny_config().generators
    offsets = np.concatenate([np.arange(length) for length in LENGTHS])
    tail = np.concatenate([np.arange(length) >= length - 9 for length in LENGTHS])
    near = offsets < gaps.dt15.minimum
    assert not changed[near & ~tail].any()
    far = offsets >= max(gaps.dt15.maximum, gaps.dt30.maximum)
    assert changed[far].all()


def test_the_same_seed_imagines_the_same(networks, data):
    first, again, other = (imagined(networks, data, seed) for seed in (0, 0, 1))
    assert first.dtype == np.uint16 and first.shape == data.codes.shape
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_without_noise_a_frame_is_what_the_generator_makes_of_its_posterior(data):
    networks = tiny_networks()
    one = GapConfig(mode="multistep", minimum=5, maximum=5, unroll=1)
    settings = dataclasses.replace(networks.config.generators, dt15=one, dt30=one, dt60=one)
    for level in range(3):
        network = networks.generators.level(level)
        network.config = settings
        network.load_state_dict(networks.generators.level(0).state_dict())
        torch.nn.init.zeros_(network.logvar.weight)
        torch.nn.init.constant_(network.logvar.bias, -60.0)
    found = imagined(networks, data)
    lookup = networks.vqvae.lookup
    context = lookup(torch.from_numpy(data.codes[:1].astype(np.int64)))
    target = lookup(torch.from_numpy(data.codes[5:6].astype(np.int64)))
    network = networks.generators.level(0)
    with torch.no_grad():
        shown = network(network.encode(context, target)[0], context)
    assert np.array_equal(networks.vqvae.quantise(shown)[0].numpy(), found[5:6])


def test_a_batch_takes_its_share_of_goals_imagined_and_no_state(data):
    buffer = ReplayBuffer(len(data.codes), LATENT.codes, ACTIONS)
    for start, length in zip(data.starts, data.lengths, strict=True):
        buffer.add_trajectory(data.codes[start : start + length], data.actions[: length - 1])
    other = np.full_like(data.codes, 99)
    batch = buffer.sample(2000, np.random.default_rng(0), other, 0.3)
    share = (batch.goal_codes == 99).all(1).mean()
    assert share == pytest.approx(0.3, abs=0.04)
    assert batch.codes.max() < 32 and batch.next_codes.max() < 32
    plain = buffer.sample(2000, np.random.default_rng(0))
    assert plain.goal_codes.max() < 32
