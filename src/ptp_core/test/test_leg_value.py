# SPDX-License-Identifier: Apache-2.0
"""The value of legs: what was tried, what it learns, and where it begins."""

import numpy as np
import pytest
import torch

from ptp_core.config import LegValueConfig
from ptp_core.data.trajectory import PracticeEpisode
from ptp_core.learning.leg_value import HELD, LIKELY, LegLearner, LegValue, tried_legs
from ptp_core.tiny_networks import LATENT, rng, tiny_networks
from ptp_core.training.checkpoint import Part

WORDS = 4  # latents that episodes are made of


@pytest.fixture
def checkpoint():
    return tiny_networks(diffusion=True)


@pytest.fixture
def words():
    """Codes (WORDS, N) of states that look different."""
    return torch.randint(32, (WORDS, LATENT.codes), generator=rng(3)).numpy().astype(np.uint16)


class SeesWords:
    """A goal classifier that knows two states are the same where their latents are equal."""

    @staticmethod
    def probability(latents, goals):
        return (latents == goals).all(1).float()


def episode(words, frames, targets):
    """``frames`` (n + 1) and ``targets`` (n): numbers of words."""
    actions = np.zeros((len(targets), 5), np.float32)
    return PracticeEpisode(words[frames], actions, words[targets])


def legs_of(checkpoint, words, frames, targets):
    made = episode(words, frames, targets)
    latents, ends = (
        checkpoint.vqvae.lookup(torch.from_numpy(codes.astype(np.int64)))
        for codes in (made.codes, made.targets)
    )
    return tried_legs(made, latents, ends, SeesWords())


def test_a_leg_is_a_run_of_one_target_and_its_last_frames_say_whether_it_was_reached(
    checkpoint, words
):
    frames = [0] * 6 + [1] * HELD + [1] * 10 + [3] * 10
    targets = [1] * (5 + HELD) + [2] * 10 + [3] * 10
    first, second, third = legs_of(checkpoint, words, frames, targets)
    assert [leg.reached for leg in (first, second, third)] == [True, False, True]
    assert (first.end == words[1]).all() and (second.end == words[2]).all()
    assert first.states.shape == (5, LATENT.codes) and (first.states == words[0]).all()
    assert (second.states == words[1]).all()


def test_the_last_leg_is_known_only_when_it_was_reached(checkpoint, words):
    assert legs_of(checkpoint, words, [0] * 9, [1] * 8) == []
    (leg,) = legs_of(checkpoint, words, [0] * 4 + [1] * HELD, [1] * (3 + HELD))
    assert leg.reached


def test_before_practice_every_leg_is_likely_whatever_the_states(checkpoint):
    classifier = checkpoint.part("classifier")
    value = LegValue.of(classifier).eval()
    states, ends = torch.randn(2, 6, LATENT.size, generator=rng())
    with torch.no_grad():
        assert torch.equal(value(states, ends), torch.full((6,), LIKELY))
    torch.testing.assert_close(
        value.cost(states, ends), torch.full((6,), float(np.log1p(np.exp(-LIKELY))))
    )
    own, seen = value.body[:-1].state_dict(), classifier.body[:-1].state_dict()
    assert own.keys() == seen.keys() and all(torch.equal(own[k], seen[k]) for k in own)


def test_it_learns_which_end_is_reached_from_which_state(checkpoint, words):
    """Word 1 is reached from word 0 and never from word 2; word 3 the other way round."""
    value = LegValue(LegValueConfig(channels=16, hidden_units=64), LATENT)
    checkpoint.parts["leg_value"] = Part("leg_value", value, value.config)
    codebook = checkpoint.vqvae.codebook  # tiny networks hardly tell their latents apart
    codebook.sub_(codebook.mean(0)).mul_(20.0)
    learner = LegLearner(checkpoint, None, seed=0)
    lookup = checkpoint.vqvae.lookup
    for start, end, reached in ((0, 1, True), (2, 1, False), (2, 3, True), (0, 3, False)):
        frames = [start] * 10 + [end if reached else start] * HELD + [end]
        targets = [end] * (9 + HELD) + [start]
        made = episode(words, frames, targets)
        latents = lookup(torch.from_numpy(made.codes.astype(np.int64)))
        ends = lookup(torch.from_numpy(made.targets.astype(np.int64)))
        learner.tried += tried_legs(made, latents, ends, SeesWords())[:1]
    draws = np.random.default_rng(0)
    torch.manual_seed(0)
    metrics = [learner.step(draws) for _ in range(300)]
    assert float(metrics[-1]["value_loss"]) < 0.2 < float(metrics[0]["value_loss"])
    table = lookup(torch.from_numpy(words.astype(np.int64)))
    assert value.cost(table[[0, 2]], table[[1, 3]]).max() < 0.3
    assert value.cost(table[[2, 0]], table[[1, 3]]).min() > 1.5


def test_without_a_tried_leg_nothing_is_learned(checkpoint, words):
    learner = LegLearner(checkpoint, None, seed=0)
    learner.add(PracticeEpisode(words[[0, 0]], np.zeros((1, 5), np.float32)), torch.zeros(2, 1))
    before = {k: v.clone() for k, v in learner.value.state_dict().items()}
    assert learner.step(np.random.default_rng(0)) == {}
    assert all(torch.equal(before[k], v) for k, v in learner.value.state_dict().items())
