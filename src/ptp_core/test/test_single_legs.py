# SPDX-License-Identifier: Apache-2.0
"""Pairs of states that one demonstration connects, and pairs that take two."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from ptp_core.config import GoalClassifierConfig, SingleLegsConfig
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.trajectory import Metadata, Segment
from ptp_core.errors import ConfigError
from ptp_core.learning.goal_classifier import PairSampler
from ptp_core.learning.single_legs import LegSampler, SingleLegs
from ptp_core.tiny_networks import LATENT, rng, tiny_networks

CONFIG = SingleLegsConfig(
    channels=8, hidden_units=32, dropout=0.0, sigma=0.0, batch_size=6, candidates=3
)
BEFORE, AFTER = range(4), range(12, 30)  # frames of a demonstration whose work is done after 10


@pytest.fixture
def checkpoint():
    return tiny_networks(diffusion=True)


@pytest.fixture
def data():
    """Five demonstrations of 30 frames, each frame other codes; their work is done after 10."""
    codes = np.random.default_rng(0).integers(0, 32, (150, LATENT.codes)).astype(np.uint16)
    segment = Segment(0, 30, "push", done=10, success=True)
    metadata = [Metadata(success=True, segments=(segment,))] * 5
    actions = np.zeros((150, 5), np.float32)
    return EncodedDataset(codes, actions, np.full(5, 30), "id", metadata=metadata)


def sampler(checkpoint, data, bias=-30.0, strict=None, **changes):
    """``bias``: of the goal classifier's answer, whether two states show the same work."""
    classifier = checkpoint.part("classifier")
    classifier.body[-1].bias.fill_(bias)
    pairs = PairSampler(data, GoalClassifierConfig(channels=4, hidden_units=16, dropout=0.0))
    parts = checkpoint.vqvae, checkpoint.generators["dt60"], classifier
    return LegSampler(data, pairs, *parts, dataclasses.replace(CONFIG, **changes), 2, strict)


def draw(made, seed=0, logits=None):
    return made.draw(np.random.default_rng(seed), rng(seed), logits)


def frames_of(checkpoint, data, latents):
    """The frame of the data that each latent is; -1: none."""
    known = checkpoint.vqvae.lookup(torch.from_numpy(data.codes.astype(np.int64)))
    equal = (latents[:, None] == known).all(-1)
    return np.array([int(row.nonzero()[0, 0]) if row.any() else -1 for row in equal])


def test_single_legs_are_a_demonstrations_own_and_pairs_of_legs_end_elsewhere(checkpoint, data):
    drawn = draw(sampler(checkpoint, data))
    assert drawn.single.tolist() == [1.0] * 12 + [0.0] * 12 + [1.0] * 6
    assert drawn.weights[:18].tolist() == [0.5] * 12 + [1.0] * 6
    before, after = (frames_of(checkpoint, data, x) for x in (drawn.before, drawn.after))
    shown, own, two = slice(0, 6), slice(6, 12), slice(12, 18)
    assert np.isin(before[:18] % 30, BEFORE).all() and np.isin(after[shown] % 30, AFTER).all()
    assert (before[shown] // 30 == after[shown] // 30).all()
    assert (before[own] // 30 == before[shown] // 30).all() and (before[own] % 30 < 2).all()
    assert (before[two] == before[shown]).all() and (after[6:18] == -1).all()
    vqvae, generator = checkpoint.vqvae, checkpoint.generators["dt60"]
    with torch.no_grad():
        z = generator.encode(drawn.before[own], drawn.after[shown])[0]
        ends = vqvae.quantise(generator(z, drawn.before[own]))[1]
        seconds = torch.stack(
            [vqvae.quantise(generator(z, s.expand(6, -1)))[1] for s in drawn.after[shown]]
        )
    assert torch.equal(drawn.after[own], ends)
    match = (drawn.after[two][:, None] == seconds).all(-1)
    assert match.any(1).all()  # another demonstration's leg, from where this one ended


def test_one_leg_does_not_do_the_work_and_put_another_object_elsewhere(checkpoint, data):
    data.metadata = [
        dataclasses.replace(known, extra={"seed": 7, **({"elsewhere": 0} if number == 1 else {})})
        for number, known in enumerate(data.metadata)
    ]
    made = sampler(checkpoint, data)
    ends = []
    for seed in range(20):
        drawn = draw(made, seed)
        assert not drawn.single[30:].any() and drawn.weights[30:].tolist() == [0.5] * 6
        before, after = (frames_of(checkpoint, data, x[30:]) for x in (drawn.before, drawn.after))
        assert np.isin(before % 30, (0, 1)).all() and {*before // 30} <= {0, 1}
        frames = after >= 0
        assert np.isin(after[frames] % 30, AFTER).all()
        assert (after[frames] // 30 == 1 - before[frames] // 30).all()
        ends += [*frames]
    assert 0.3 < np.mean(ends) < 0.7  # the others are drawn


def test_a_second_leg_that_changes_nothing_has_no_weight(checkpoint, data):
    drawn = draw(sampler(checkpoint, data, bias=30.0))
    assert drawn.weights[:18].tolist() == [0.5] * 12 + [0.0] * 6
    network = SingleLegs(CONFIG, LATENT)
    loss, metrics = network.loss(*vars(drawn).values())
    assert loss.isfinite() and 0 <= metrics["accuracy"] <= 1


def test_of_several_second_legs_the_one_that_looks_most_like_a_single_one_is_taken(
    checkpoint, data
):
    scores = []

    def logits(before, after):
        scores.append(after[:, 0] + before[:, 1])
        return scores[-1]

    drawn = draw(sampler(checkpoint, data), logits=logits)
    found = drawn.after[12:18, 0] + drawn.before[12:18, 1]
    torch.testing.assert_close(found, scores[0].view(6, 3).amax(1))


def cells(checkpoint, data, latents):
    """Number (B, frames) of cells in which latents (B, D) equal each frame."""
    codes = checkpoint.vqvae.quantise(latents)[0].numpy()
    return (codes[:, None] == data.codes[None]).sum(-1)


def test_no_leg_does_what_half_done_work_shows(checkpoint, data):
    made = sampler(checkpoint, data, least_change=0.0, half_done=2.0, batch_size=60)
    drawn = draw(made)
    no_leg, seams = slice(180, 240), slice(240, 300)
    assert not drawn.single[no_leg].any() and drawn.single[seams].all()
    assert set(drawn.weights[seams].tolist()) == {1.0}
    assert drawn.weights[no_leg].mean() == pytest.approx(2.0) and not drawn.weights[no_leg].all()
    shown = {}
    for name, latents in (("before", drawn.before), ("after", drawn.after)):
        counts = cells(checkpoint, data, latents)
        of_before, of_after = (counts[:, np.isin(np.arange(150) % 30, p)] for p in (BEFORE, AFTER))
        whole, part = LATENT.codes, LATENT.codes * 2 // 5
        half = (
            (of_before.max(1) < whole) & (of_after.max(1) > part / 4) & (of_before.max(1) > part)
        )
        shown[name] = half[no_leg]
    assert 0.2 < shown["before"].mean() < 0.9  # a half done start, or a half done end
    assert shown["after"].any()


def test_half_done_work_that_seems_done_or_not_begun_has_no_weight(checkpoint, data):
    drawn = draw(sampler(checkpoint, data, bias=30.0, least_change=0.0))
    assert not drawn.weights[18:24].any() and drawn.weights[24:].all()
    strict = copy.deepcopy(checkpoint.part("classifier"))  # it alone judges half done work
    drawn = draw(sampler(checkpoint, data, least_change=0.0, strict=strict))
    assert not drawn.weights[18:24].any() and drawn.weights[12:18].all()
    drawn = draw(sampler(checkpoint, data, least_change=1e6))
    assert not drawn.weights[18:24].any()


def test_both_orders_of_a_pair_may_give_different_answers():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SingleLegs(CONFIG, LATENT).eval()
    first, second = torch.randn(2, 6, LATENT.size, generator=rng())
    assert not torch.allclose(network(first, second), network(second, first))
    expected = -network.probability(first, second).log()
    torch.testing.assert_close(network.cost(first, second), expected)


def test_it_learns_to_tell_one_change_from_two():
    """Of three objects, a leg moves one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SingleLegs(CONFIG, LATENT)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)

    def batch(count, draws):
        where = torch.randint(2, (count, 3), generator=draws)
        single = torch.randint(2, (count,), generator=draws)
        order = torch.rand((count, 3), generator=draws).argsort(1)
        moved = (order == 0) | ((order == 1) & (single == 0)[:, None])
        scenes = []
        for state in (where, torch.where(moved, 1 - where, where)):
            latents = torch.zeros(count, LATENT.channels, LATENT.height, LATENT.width)
            for number in range(3):
                latents[:, :, 2, 2 * number] = 2.0 * state[:, number, None] - 1
            scenes.append(latents.flatten(1))
        return (*scenes, single.float())

    draws = rng(1)
    for _ in range(150):
        loss, _ = network.loss(*batch(64, draws))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert network.eval().loss(*batch(500, rng(2)))[1]["accuracy"] > 0.95


def test_a_seed_gives_one_draw(checkpoint, data):
    made = sampler(checkpoint, data, sigma=0.5)
    one, again, other = (draw(made, seed) for seed in (1, 1, 2))
    assert torch.equal(one.after, again.after) and not torch.equal(one.after, other.after)


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match="candidates is 0"):
        SingleLegsConfig(candidates=0)
    with pytest.raises(ConfigError, match="channels is 0"):
        SingleLegsConfig(channels=0)
