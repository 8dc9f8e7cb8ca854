# SPDX-License-Identifier: Apache-2.0
"""Actors: one action a control step from a Gaussian or a chunked policy."""

import numpy as np
import pytest
import torch

from ptp_core.config import ChunkedPolicyConfig, DiffusionConfig
from ptp_core.errors import InputError
from ptp_core.policies.actors import ChunkedActor, GaussianActor, actor_of
from ptp_core.policies.chunked_policy import ChunkedPolicy
from ptp_core.tiny_networks import LATENT, rng, tiny_networks


@pytest.fixture
def policy():
    config = ChunkedPolicyConfig(
        channels=4, condition_units=16, head=DiffusionConfig(hidden_units=16, sampling_steps=3)
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ChunkedPolicy(config, LATENT, 5, 4).eval()


def latents(count, seed=0):
    return torch.randn(count, LATENT.size, generator=rng(seed))


def test_a_chunked_actor_repeats_itself_with_its_seed(policy):
    actor = ChunkedActor(policy)
    own = np.zeros(4, np.float32)
    first, second = latents(2)
    episodes = []
    for seed in (1, 1, 2):
        actor.reset(seed)
        episodes.append(np.stack([actor.act(first, second, own) for _ in range(8)]))
    np.testing.assert_array_equal(episodes[0], episodes[1])
    assert not np.array_equal(episodes[0], episodes[2])
    assert np.abs(episodes[0]).max() <= 1


def test_chunks_for_an_earlier_goal_are_dropped(policy):
    """With one chunk left, the action is the first of the newest chunk."""
    actor = ChunkedActor(policy)
    own = np.full(4, 0.2, np.float32)
    now, before, after = latents(3)
    actor.reset(0)
    for _ in range(3):
        actor.act(now, before, own)
    state = actor._noise.get_state()
    action = actor.act(now, after, own)
    draws = torch.Generator()
    draws.set_state(state)
    chunk = policy.sample(now[None], after[None], torch.from_numpy(own)[None], draws)[0]
    np.testing.assert_array_equal(action, chunk[0].numpy())


def test_a_policy_says_what_proprioception_it_needs(policy):
    first, second = latents(2)[:, None]
    with pytest.raises(InputError, match="needs 4 numbers of proprioception, not 0"):
        policy.sample(first, second)
    assert ChunkedActor(policy).proprioceptive


def test_proprioception_is_standardised(policy):
    mean, std = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([2.0, 2.0, 2.0, 2.0])
    first, second = latents(2)[:, None]
    plain = policy.sample(first, second, torch.zeros(1, 4), rng())
    policy.set_scale(mean, std)
    assert torch.equal(plain, policy.sample(first, second, mean[None], rng()))


def test_a_gaussian_actor_gives_the_mean_or_a_draw():
    checkpoint = tiny_networks()
    first, second = latents(2)
    mean, sampled = (actor_of(checkpoint.iql, sample) for sample in (False, True))
    assert isinstance(mean, GaussianActor) and not mean.proprioceptive
    expected = checkpoint.iql.act(first[None], second[None])[0].detach().numpy()
    for actor in (mean, sampled):
        actor.reset(3)
    np.testing.assert_array_equal(mean.act(first, second, None), expected)
    assert not np.array_equal(sampled.act(first, second, None), expected)
