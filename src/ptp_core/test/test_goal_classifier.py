# SPDX-License-Identifier: Apache-2.0
"""The classifier of finished work: its pairs of frames, and that it looks past the arm."""

import dataclasses

import numpy as np
import pytest
import torch

from ptp_core.config import GoalClassifierConfig
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.trajectory import Metadata, Segment
from ptp_core.errors import DatasetError
from ptp_core.learning.goal_classifier import (
    GoalClassifier,
    PairSampler,
    UnanimousClassifier,
)
from ptp_core.tiny_networks import LATENT, rng

CONFIG = GoalClassifierConfig(channels=8, hidden_units=32, dropout=0.0, margin=2)
LENGTHS = np.array([30, 30, 30])


def data(success=(True, True, False), done=(10, 20, 10)):
    codes = np.zeros((90, LATENT.codes), np.uint16)
    metadata = [
        Metadata(success=good, segments=(Segment(0, 30, "push", done=step, success=good),))
        for good, step in zip(success, done, strict=True)
    ]
    actions = np.zeros((90, 5), np.float32)
    return EncodedDataset(codes, actions, LENGTHS, "id", metadata=metadata)


BEFORE = {*range(4), *range(30, 38)}  # 0.4 of the 10 and 20 steps of work
UNDER_WAY = {*range(4, 8), *range(38, 48)}
AFTER = {*range(12, 30), *range(52, 60)}


def test_pairs_are_before_or_after_the_work_of_one_successful_demonstration():
    config = dataclasses.replace(CONFIG, under_way=0.0)
    pairs = PairSampler(data(), config).draw(4000, np.random.default_rng(0))
    before = BEFORE
    assert {*pairs.first, *pairs.second} == before | AFTER
    assert (pairs.first // 30 == pairs.second // 30).all()
    same = [(a in before) == (b in before) for a, b in zip(pairs.first, pairs.second, strict=True)]
    np.testing.assert_array_equal(pairs.same, same)
    assert pairs.same.mean() == pytest.approx(0.5, abs=0.03)


def test_work_under_way_is_other_work_than_work_done():
    pairs = PairSampler(data(), CONFIG).draw(4000, np.random.default_rng(0))
    shown = np.isin(pairs.first, [*UNDER_WAY])
    assert {*pairs.first[shown]} == UNDER_WAY and {*pairs.second[shown]} == AFTER
    assert not pairs.same[shown].any() and not np.isin(pairs.second, [*UNDER_WAY]).any()
    assert shown.sum() / (pairs.same == 0).sum() == pytest.approx(0.5, abs=0.04)
    assert (pairs.first // 30 == pairs.second // 30).all()


def test_work_of_a_few_steps_has_no_frames_under_way():
    short = data(done=(5, 5, 5))
    pairs = PairSampler(short, CONFIG).draw(1000, np.random.default_rng(0))
    assert {*pairs.first, *pairs.second} <= {0, 1, 30, 31, 2, 32, *range(7, 30), *range(37, 60)}


def test_of_several_pairs_that_one_is_taken_whose_arm_misleads_most():
    """The arm's place is the frame's number: apart for the same work, near for other work."""
    known = data()
    plain = PairSampler(known, CONFIG).draw(2000, np.random.default_rng(0))
    known.proprioception = np.arange(90, dtype=np.float32)[:, None]
    chosen = PairSampler(known, CONFIG).draw(2000, np.random.default_rng(0))
    gaps = [np.abs(pairs.first - pairs.second) for pairs in (plain, chosen)]
    for label, larger in ((1.0, True), (0.0, False)):
        before, after = (
            gap[pairs.same == label].mean()
            for gap, pairs in zip(gaps, (plain, chosen), strict=True)
        )
        assert (after > 1.5 * before) if larger else (after < 0.8 * before)


@pytest.mark.parametrize("seeds, paired", [((7, 7, 7), True), ((7, 8, 8), False)])
def test_the_work_of_a_demonstration_and_of_its_repeat_is_the_same(seeds, paired):
    known = data(success=(True, True, True))
    known.metadata = [
        dataclasses.replace(each, extra={"seed": seed, **({"repeats": 0} if number == 1 else {})})
        for number, (each, seed) in enumerate(zip(known.metadata, seeds, strict=True))
    ]
    pairs = PairSampler(known, CONFIG).draw(8000, np.random.default_rng(0))
    across = pairs.first // 30 != pairs.second // 30
    assert across.any() == paired
    assert pairs.same[across].all()
    ends = [{*range(12, 30)}, {*range(52, 60)}]
    for one, other in ((0, 1), (1, 0)) if paired else ():
        there = across & (pairs.first // 30 == one)
        assert ({*pairs.first[there]}, {*pairs.second[there]}) == (ends[one], ends[other])
    done = np.isin(pairs.second, [*range(12, 30), *range(52, 60), *range(72, 90)])
    share = across.sum() / (done & (pairs.same == 1)).sum()
    assert share == pytest.approx(CONFIG.repeated if paired else 0.0, abs=0.03)


def test_the_same_work_with_an_object_elsewhere_is_other_work():
    known = data(success=(True, True, True))
    known.metadata = [
        dataclasses.replace(each, extra={"seed": 7, **({"elsewhere": 0} if number == 1 else {})})
        for number, each in enumerate(known.metadata)
    ]
    sampler = PairSampler(known, CONFIG)
    pairs = sampler.draw(8000, np.random.default_rng(0))
    across = pairs.first // 30 != pairs.second // 30
    assert not pairs.same[across].any()
    assert across.sum() / (pairs.same == 0).sum() == pytest.approx(CONFIG.elsewhere, abs=0.03)
    for frames in (pairs.first[across], pairs.second[across]):
        assert {*frames} == {*range(4), *range(30, 38), *range(12, 30), *range(52, 60)}
    parts = [np.isin(frames[across], [*BEFORE]) for frames in (pairs.first, pairs.second)]
    np.testing.assert_array_equal(*parts)  # both before the work, or both after it
    assert {tuple(pair) for pair in sampler.elsewhere(50, np.random.default_rng(0)).T} == {
        (0, 1),
        (1, 0),
    }
    assert PairSampler(data(), CONFIG).elsewhere(5, np.random.default_rng(0)).shape == (2, 0)


def test_data_that_never_say_when_work_is_done_are_refused():
    with pytest.raises(DatasetError, match="expert_done"):
        PairSampler(data(done=(None, None, None)), CONFIG)


def test_both_orders_of_a_pair_give_the_same_answer():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = GoalClassifier(CONFIG, LATENT).eval()
    first, second = torch.randn(2, 6, LATENT.size, generator=rng())
    forth, back = network.probability(first, second), network.probability(second, first)
    torch.testing.assert_close(forth, back)


def test_it_learns_to_look_at_the_object_and_not_at_the_arm():
    """The arm changes much more of the latent than the object, and says nothing."""
    config = dataclasses.replace(CONFIG, learning_rate=3e-3)
    grid = (LATENT.channels, LATENT.height, LATENT.width)

    def scene(where, draws):
        latents = torch.zeros(len(where), *grid)
        latents[:, :, 1, 1] = where[:, None]
        latents[:, :, 4:, 4:] = 2.0 * torch.randn(len(where), 5, 8, 8, generator=draws)
        return latents.flatten(1)

    def batch(count, draws):
        moved, same = torch.randint(2, (2, count), generator=draws)
        other = torch.where(same == 1, moved, 1 - moved)
        return scene(2.0 * moved - 1, draws), scene(2.0 * other - 1, draws), same.float()

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, draws = GoalClassifier(config, LATENT), rng(1)
        optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate)
        for _ in range(200):
            loss, _ = network.loss(*batch(64, draws))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    first, second, same = batch(1000, rng(2))
    accuracy = network.eval().loss(first, second, same)[1]["accuracy"]
    distance = torch.linalg.vector_norm(first - second, dim=1)
    by_distance = ((distance < distance.median()).float() == same).float().mean()
    assert accuracy > 0.95 and by_distance < 0.6


def test_work_is_done_where_all_of_several_classifiers_say_so():
    torch.manual_seed(0)
    members = [GoalClassifier(CONFIG, LATENT).eval() for _ in range(2)]
    both = UnanimousClassifier(members)
    pair = torch.randn(2, 20, LATENT.size, generator=rng())
    with torch.no_grad():
        for member in members:  # so that they differ in both directions
            member.body[-1].bias -= member(*pair).median()
        one, two = (member(*pair) for member in members)
        assert torch.equal(both(*pair), torch.minimum(one, two))
        assert (one < two).any() and (two < one).any()
        left = torch.maximum(*(member.work_left(*pair) for member in members))
        assert torch.allclose(both.work_left(*pair), left)
    assert torch.allclose(both.probability(*pair), torch.minimum(one, two).sigmoid())
