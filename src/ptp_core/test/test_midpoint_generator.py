# SPDX-License-Identifier: Apache-2.0
"""Midpoint generator: frames of balanced trees, the two Gaussians over z, learning."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from ptp_core.config import MidpointConfig, from_dict
from ptp_core.errors import ConfigError, DatasetError, InputError
from ptp_core.planners.gcp_planner import (
    MidpointGenerator,
    balanced_triples,
    sample_triples,
)
from ptp_core.planners.subgoal_generator import context_features, decode_from_features
from ptp_core.tiny_networks import LATENT, rng

SMALL = MidpointConfig(hidden_channels=8, hidden_units=32)


def latents(count, seed=0):
    return torch.randn(3, count, 720, generator=rng(seed))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MidpointGenerator(SMALL, LATENT)


@pytest.mark.parametrize(
    ("end", "middles"),
    [(6, [3, 1, 5, 0, 2, 4, 6]), (14, [7, 3, 11, 1, 5, 9, 13]), (9, [4, 1, 7, 0, 2, 5, 8])],
)
def test_nodes_are_half_way_between_parents_that_begin_one_step_outside(end, middles):
    assert balanced_triples(end, 3)[:, 1].tolist() == middles


def test_parents_are_the_nodes_next_to_a_node_in_the_layers_above():
    expected = [(0, 7, 14), (0, 3, 7), (7, 11, 14), (0, 1, 3), (3, 5, 7), (7, 9, 11), (11, 13, 14)]
    assert balanced_triples(14, 3).tolist() == [list(triple) for triple in expected]


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_a_tree_that_fills_its_trajectory_has_every_frame_once(depth):
    triples = balanced_triples(2**depth - 2, depth)
    assert triples.shape == (2**depth - 1, 3)
    assert triples.dtype == np.int64
    assert sorted(triples[:, 1]) == list(range(2**depth - 1))


def test_trees_of_many_trajectories_are_those_of_each():
    ends = np.arange(6, 90)
    together = balanced_triples(ends, 3)
    for end, triples in zip(ends, together):
        assert np.array_equal(triples, balanced_triples(int(end), 3))
    assert (np.diff(together, axis=-1) >= 0).all()


def test_a_trajectory_without_a_frame_for_every_node_is_refused():
    with pytest.raises(InputError, match="7 nodes; a trajectory has 6 frames"):
        balanced_triples(5, 3)
    with pytest.raises(InputError, match="depth of 1"):
        balanced_triples(5, 0)
    with pytest.raises(DatasetError, match=r"7 frames.*lower MidpointConfig\.depth"):
        sample_triples(np.array([6, 2]), 3, 4, np.random.default_rng(0))


def test_samples_are_nodes_of_long_enough_trajectories_all_equally_often():
    lengths = np.array([20, 6, 7, 40])  # the second is too short
    starts = [0, 20, 26, 33]
    triples = sample_triples(lengths, 3, 8400, np.random.default_rng(0))
    assert (triples.shape, triples.dtype) == ((8400, 3), np.int64)
    drawn, counts = np.unique(triples, axis=0, return_counts=True)
    expected = np.concatenate(
        [starts[i] + balanced_triples(int(lengths[i]) - 1, 3) for i in (0, 2, 3)]
    )
    assert {tuple(row) for row in drawn} == {tuple(row) for row in expected}
    assert len(counts) == 21
    assert (abs(counts - 400) < 5 * math.sqrt(400)).all()


def test_triples_depend_on_the_generator_alone():
    draws = [
        sample_triples(np.array([50, 60]), 3, 30, np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_a_prediction_depends_on_both_parents_and_on_z(model):
    left, right, other = latents(4)
    z = torch.zeros(4, 8)
    prediction = model(z, model.context(left, right))
    assert prediction.shape == (4, 720)
    for changed in (
        model(z + 1, model.context(left, right)),
        model(z, model.context(other, right)),
        model(z, model.context(left, other)),
        model(z, model.context(right, left)),
    ):
        assert not torch.allclose(prediction, changed, atol=1e-4)


def test_candidates_that_share_parents_are_predicted_as_if_alone(model):
    left, right, _ = latents(2)
    context = model.context(left, right)
    z = torch.randn(2, 5, 8, generator=rng())
    with torch.no_grad():
        shared = decode_from_features(model, z, context_features(model, context))
        for row in range(2):
            alone = model(z[row], context[row].expand(5, -1))
            assert torch.allclose(shared[row], alone, atol=1e-5)


def test_the_prior_reads_the_parents_and_the_posterior_the_middle_too(model):
    left, right, middle = latents(3)
    for index in range(2):  # mean, log variance
        prior = model.prior(left, right)[index]
        assert prior.shape == (3, 8)
        assert not torch.allclose(prior, model.prior(right, left)[index], atol=1e-4)
        posterior = model.posterior(left, right, middle)[index]
        changed = model.posterior(left, right, middle + 1)[index]
        assert not torch.allclose(posterior, changed, atol=1e-4)


def test_the_divergence_is_that_of_two_gaussians():
    model = MidpointGenerator(SMALL, LATENT)
    with torch.no_grad():
        for head in (model.prior_head, model.posterior_head):
            head.weight.zero_()
            head.bias.zero_()
        model.posterior_head.bias[:8] = 1.0  # q = N(1, 1)
        model.prior_head.bias[8:] = math.log(4.0)  # p = N(0, 4)
    kl = model.loss(*latents(2), rng())[1]["kl"]
    one = math.log(2.0) + (1.0 + 1.0) / (2 * 4.0) - 0.5
    assert float(kl) == pytest.approx(8 * one, rel=1e-5)
    with torch.no_grad():
        model.prior_head.bias.copy_(model.posterior_head.bias)
    assert float(model.loss(*latents(2), rng())[1]["kl"]) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0])
def test_the_divergence_is_never_negative_and_finite_at_any_scale(model, scale):
    for seed in range(5):
        kl = float(model.loss(*(scale * latents(4, seed)), rng(seed))[1]["kl"])
        assert 0.0 <= kl < float("inf")


def test_the_loss_weighs_the_error_and_the_divergence():
    torch.manual_seed(0)
    weights = {"reconstruction_weight": 7.0, "kl_weight": 3.0}
    model = MidpointGenerator(
        MidpointConfig(hidden_channels=8, hidden_units=32, **weights), LATENT
    )
    left, right, middle = latents(4)
    loss, metrics = model.loss(left, right, middle, rng(1))
    expected = 7.0 * metrics["smooth_l1"] + 3.0 * metrics["kl"]
    assert loss.item() == pytest.approx(float(expected), rel=1e-6)
    assert float(metrics["loss"]) == loss.item()
    mean, logvar = model.posterior(left, right, middle)
    z = mean + torch.randn(4, 8, generator=rng(1)) * torch.exp(logvar / 2)
    error = functional.smooth_l1_loss(model(z, torch.cat([left, right], 1)), middle)
    assert float(metrics["smooth_l1"]) == pytest.approx(error.item(), rel=1e-6)


def test_every_part_learns_from_the_loss(model):
    loss, _ = model.loss(*latents(4), rng())
    loss.backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    model.zero_grad(set_to_none=True)
    assert silent == []


def test_the_same_seed_gives_the_same_loss(model):
    first, second, other = (model.loss(*latents(4), rng(seed))[0].item() for seed in (1, 1, 2))
    assert first == second != other


def test_the_learned_prior_finds_every_middle_of_its_parents():
    # Two pairs of parents; the first has two middles, the second one.
    torch.manual_seed(1)
    model = MidpointGenerator(SMALL, LATENT)
    left, right, middles = latents(4, seed=3)
    left, right, middles = left[[0, 0, 1, 1]], right[[0, 0, 1, 1]], middles[[0, 1, 2, 2]]
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    generator = rng()
    rows = torch.arange(4).repeat(4)
    for _ in range(150):
        loss, metrics = model.loss(left[rows], right[rows], middles[rows], generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        mean, logvar = model.posterior(left, right, middles)
        to_standard = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1).mean()
        mean, logvar = model.prior(left[[0, 2]], right[[0, 2]])
        z = (
            mean[:, None]
            + torch.randn(2, 40, 8, generator=generator) * (logvar / 2).exp()[:, None]
        )
        context = model.context(left[[0, 2]], right[[0, 2]])
        drawn = decode_from_features(model, z, context_features(model, context))
    assert metrics["kl"] < 0.5 * to_standard  # than the prior that is not learned
    nearest = torch.cdist(drawn, middles[:3]).argmin(-1)
    assert set(nearest[0].tolist()) == {0, 1}
    assert set(nearest[1].tolist()) == {2}
    # Whoever ignores z can do no better for both than their mean.
    without_z = functional.smooth_l1_loss(middles[:2].mean(0), middles[0])
    for number, pair in enumerate((0, 0, 1)):
        best = drawn[pair, torch.cdist(drawn[pair], middles[number][None]).argmin()]
        assert functional.smooth_l1_loss(best, middles[number]) < 0.7 * without_z


def test_settings_out_of_range_are_refused():
    assert from_dict(MidpointConfig, {"z_dim": 4}).z_dim == 4
    for wrong in ({"z_dim": 0}, {"depth": 0}, {"kl_weight": -1.0}, {"logvar_limit": 100.0}):
        with pytest.raises(ConfigError, match=f"MidpointConfig.{next(iter(wrong))} is"):
            MidpointConfig(**wrong)
