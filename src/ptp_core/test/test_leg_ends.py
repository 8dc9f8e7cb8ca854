# SPDX-License-Identifier: Apache-2.0
"""Pairs with generated ends: what counts as the same work, and that the classifier learns it."""

import dataclasses

import numpy as np
import pytest
import torch

from ptp_core.config import GoalClassifierConfig, ToleranceConfig
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.trajectory import Metadata, Segment
from ptp_core.errors import ConfigError
from ptp_core.learning.goal_classifier import EARLY, LATE, UNDER_WAY, PairSampler
from ptp_core.learning.leg_ends import LegEndSampler
from ptp_core.tiny_networks import LATENT, rng, tiny_networks

PAIRS = GoalClassifierConfig(channels=4, hidden_units=16, dropout=0.0)
CONFIG = ToleranceConfig(batch_size=8, sigma=0.5, apart=0.0, half_done=1.0)
COUNT = 4  # pairs of each kind with generated ends


@pytest.fixture
def checkpoint():
    return tiny_networks(diffusion=True)


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


def sampler(checkpoint, data, bias=0.0, **changes):
    """``bias``: of the answer of the classifier as it was, whether the work is the same."""
    config = dataclasses.replace(CONFIG, **changes)
    pairs, classifier = PairSampler(data, PAIRS), checkpoint.part("classifier")
    classifier.body[-1].bias.fill_(bias)
    parts = checkpoint.vqvae, checkpoint.generators["dt60"], classifier
    return LegEndSampler(data, pairs, *parts, config, 2)


def draw(made, seed=0, logits=None):
    return made.draw(np.random.default_rng(seed), rng(seed), logits)


def frames_of(checkpoint, data, latents):
    """The frame of the data that each latent is; -1: none."""
    known = checkpoint.vqvae.lookup(torch.from_numpy(data.codes.astype(np.int64)))
    equal = (latents[:, None] == known).all(-1)
    return [int(row.nonzero()[0, 0]) if row.any() else -1 for row in equal]


BEFORE = {*range(4), *range(30, 38)}
DURING = {*range(4, 8), *range(38, 48)}
AFTER = {*range(12, 30), *range(52, 60)}


def test_parts_of_a_demonstration_are_drawn_from_it(data):
    pairs = PairSampler(data, PAIRS)
    assert len(pairs) == 2
    chosen = np.repeat([0, 1], 200)
    for part, expected in ((EARLY, BEFORE), (LATE, AFTER), (UNDER_WAY, DURING)):
        drawn = pairs.frames(part, chosen, np.random.default_rng(0))
        assert {*drawn} == expected and (drawn // 30 == chosen).all()
    assert {*pairs.frames(EARLY, chosen, np.random.default_rng(0), most=2)} == {0, 1, 30, 31}


def test_ends_are_compared_with_frames_after_the_work_and_with_earlier_ones(checkpoint, data):
    kinds = {"done": set(), "undone": set(), "others": set()}
    for seed in range(30):
        drawn = draw(sampler(checkpoint, data), seed)
        assert len(drawn.first) == 8 + 5 * COUNT
        frames = frames_of(checkpoint, data, drawn.second[8:20])
        for number, kind in enumerate(kinds):
            kinds[kind] |= {*frames[number * COUNT : (number + 1) * COUNT]}
        labels = drawn.same[8:20].view(3, COUNT)
        assert labels[0].all() and not labels[1:].any()
    assert kinds["done"] - {-1} <= AFTER and -1 in kinds["done"]  # some are another end
    assert kinds["undone"] <= BEFORE | DURING and kinds["undone"] & DURING
    assert kinds["others"] <= AFTER


def test_without_noise_an_end_is_that_of_the_demonstrations_own_latent_action(checkpoint, data):
    made = sampler(checkpoint, data, sigma=0.0)
    drawn = draw(made)
    one, again = drawn.first[8 : 8 + COUNT], drawn.first[8 + COUNT : 8 + 2 * COUNT]
    assert torch.equal(one, again)
    assert torch.equal(checkpoint.vqvae.quantise(one)[1], one)


def test_only_latent_actions_far_apart_count_as_other_work(checkpoint, data):
    near = draw(sampler(checkpoint, data, apart=100.0, other_weight=0.5))
    others = slice(8 + 2 * COUNT, 8 + 3 * COUNT)
    assert not near.weights[others].any() and near.weights[: 8 + 2 * COUNT].all()
    far = draw(sampler(checkpoint, data, apart=0.0, other_weight=0.25))
    assert set(far.weights[others].tolist()) <= {0.0, 0.25}  # 0: paired with itself
    assert 0.25 in far.weights[others].tolist()


@pytest.fixture
def moved():
    """Eight demonstrations that move one code of the grid; nothing else changes."""
    codes = np.zeros((8, 30, LATENT.codes), np.uint16)
    for number, (old, new) in enumerate([(26, 117), (33, 110), (117, 26), (110, 33)] * 2):
        codes[number, :11, old] = codes[number, 11:, new] = 5 + number
    segment = Segment(0, 30, "push", done=10, success=True)
    metadata = [Metadata(success=True, segments=(segment,))] * 8
    actions = np.zeros((240, 5), np.float32)
    lengths = np.full(8, 30)
    return EncodedDataset(codes.reshape(240, -1), actions, lengths, "id", metadata=metadata)


def test_other_work_differs_by_one_object_and_the_same_work_by_none(checkpoint, moved):
    made = sampler(checkpoint, moved, bias=-3.0, least_change=1e-6, batch_size=400)
    drawn = draw(made)
    other, same = slice(1000, 1200), slice(1200, 1400)
    assert not drawn.same[other].any() and drawn.same[same].all()
    first, second = (checkpoint.vqvae.quantise(x)[0] for x in (drawn.first, drawn.second))
    few = (first != 0).sum(1) <= 3  # a frame, not an end that is generated
    frames = few & (drawn.weights > 0)
    differ = (first != second).sum(1)
    assert frames[other].sum() > 20 and frames[same].sum() > 20
    assert set(differ[other][frames[other]].tolist()) == {1}
    assert set(differ[same][frames[same]].tolist()) == {0}
    objects = (second[other] != 0).sum(1)
    assert {0, 2} <= {*objects.tolist()}  # an object in two places, or in none


def test_an_end_is_other_work_than_that_with_an_object_elsewhere(checkpoint, data):
    data.metadata = [
        dataclasses.replace(each, extra={"seed": 7, **({"elsewhere": 0} if number else {})})
        for number, each in enumerate(data.metadata)
    ]
    made = sampler(checkpoint, data, sigma=0.0, half_done=0.0)
    frames = []
    for seed in range(20):
        drawn = draw(made, seed)
        assert len(drawn.first) == 20 + COUNT
        assert not drawn.same[20:].any() and drawn.weights[20:].all()
        assert frames_of(checkpoint, data, drawn.first[20:]) == [-1] * COUNT  # generated
        frames += frames_of(checkpoint, data, drawn.second[20:])
    assert {*frames} <= AFTER and {frame // 30 for frame in frames} == {0, 1}


def test_the_weight_of_half_done_work_is_set(checkpoint, data):
    drawn = draw(sampler(checkpoint, data, least_change=0.0, half_done=3.0))
    assert set(drawn.weights[20:].tolist()) == {3.0}
    without = draw(sampler(checkpoint, data, half_done=0.0))
    assert len(without.first) == len(without.second) == len(without.weights) == 20


def test_small_or_doubtful_halves_have_no_weight(checkpoint, data):
    assert not draw(sampler(checkpoint, data, least_change=1e6)).weights[20:24].any()
    alike = draw(sampler(checkpoint, data, bias=30.0, least_change=0.0))
    assert not alike.weights[20:24].any() and alike.weights[24:].all()


def test_of_several_halves_the_one_that_looks_most_like_work_done_is_taken(checkpoint, data):
    scores = []

    def logits(first, second):
        scores.append(first[:, 0] + second[:, 1])
        return scores[-1]

    drawn = draw(sampler(checkpoint, data, least_change=0.0, candidates=4), logits=logits)
    found = drawn.first[20:24, 0] + drawn.second[20:24, 1]
    torch.testing.assert_close(found, scores[0].view(COUNT, 4).amax(1))


def test_pairs_without_weight_do_not_change_the_loss(checkpoint, data):
    drawn = draw(sampler(checkpoint, data, apart=100.0, half_done=1.0))
    classifier = checkpoint.part("classifier")
    whole = classifier.loss(drawn.first, drawn.second, drawn.same, drawn.weights)[0]
    kept = drawn.weights > 0
    alone = classifier.loss(drawn.first[kept], drawn.second[kept], drawn.same[kept])[0]
    torch.testing.assert_close(whole, alone)


def test_a_seed_gives_one_draw(checkpoint, data):
    made = sampler(checkpoint, data)
    one, again, other = (draw(made, seed) for seed in (1, 1, 2))
    assert torch.equal(one.first, again.first) and torch.equal(one.second, again.second)
    assert not torch.equal(one.second, other.second)


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match="batch_size is 1"):
        ToleranceConfig(batch_size=1)
    with pytest.raises(ConfigError, match=r"sigma is -0\.1"):
        ToleranceConfig(sigma=-0.1)
