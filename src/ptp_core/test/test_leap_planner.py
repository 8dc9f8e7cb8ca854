# SPDX-License-Identifier: Apache-2.0
"""LEAP: its VAE, legs of a horizon, its cost, its optimum, and what every planner promises."""

import math

import pytest
import torch

from ptp_core.config import LatentVAEConfig, LeapConfig, from_dict, split_horizon
from ptp_core.errors import ConfigError, InputError, PlanCancelled
from ptp_core.planners.leap_planner import CEM, LatentVAE, LeapPlanner, leap_cost
from ptp_core.tiny_networks import LATENT, distance_value, rng, tiny_vqvae

TINY = LeapConfig(samples=24, iterations=3, elite_fraction=0.25)


@pytest.fixture(scope="module")
def vqvae():
    return tiny_vqvae()


@pytest.fixture(scope="module")
def pair(vqvae):
    return vqvae.lookup(torch.randint(32, (2, 144), generator=rng(2)))


@pytest.fixture(scope="module")
def path(vqvae, pair):
    """From start to goal, one cell of the grid after the other: (145, 720)."""
    start, goal = vqvae.quantise(pair)[0]
    done = torch.arange(144)[None] < torch.arange(145)[:, None]
    return vqvae.lookup(torch.where(done, goal, start))


@pytest.fixture(scope="module")
def vae(path):
    """Trained on the path, enough to tell near from far."""
    torch.manual_seed(0)
    model = LatentVAE(LatentVAEConfig(hidden_units=64, kl_weight=2.5), LATENT)
    model.fit_scale(path)
    optimiser = torch.optim.Adam(model.parameters(), lr=4e-3)
    generator = rng(3)
    for _ in range(150):
        loss, _ = model.loss(path, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.requires_grad_(False)


@pytest.fixture
def planner(vqvae, vae):
    def make(config=TINY, value=distance_value):
        return LeapPlanner(vqvae, vae, value, config)

    return make


# Legs of a horizon.


@pytest.mark.parametrize(
    ("horizon", "leg_limit", "count", "taus"),
    [
        (99, 25, 4, (24,) * 4),  # the authors' setting
        (399, 50, 8, (49,) * 8),
        (25, 25, 1, (25,)),
        (0, 0, 1, (0,)),
        (99, 40, 3, (33, 32, 32)),
    ],
)
def test_a_horizon_is_cut_into_the_fewest_even_legs(horizon, leg_limit, count, taus):
    legs = split_horizon(horizon, leg_limit)
    assert (legs.count, legs.subgoals, legs.taus) == (count, count - 1, taus)
    assert sum(tau + 1 for tau in legs.taus) == horizon + 1
    assert LeapConfig.for_horizon(horizon, leg_limit).subgoals == count - 1


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="negative"):
        split_horizon(-1, 25)
    with pytest.raises(ConfigError, match=r"LeapConfig.elite_fraction is 1.5"):
        LeapConfig(elite_fraction=1.5)
    with pytest.raises(ConfigError, match=r"LeapConfig.subgoals is -1"):
        LeapConfig(subgoals=-1)


def test_defaults_are_the_authors_settings():
    config = LeapConfig()
    assert (config.iterations, config.samples, config.elites) == (15, 1000, 50)
    assert (config.subgoals, config.initial_std) == (3, 1.5)
    assert config == LeapConfig.for_horizon(99, 25)
    assert LeapConfig(samples=3).elites == 1


# Cost.


def test_the_cost_is_the_worst_leg_and_the_density_of_the_raw_z():
    start, goal = torch.zeros(2), torch.tensor([3.0, 4.0])
    latents = torch.tensor([[[0.0, 1.0], [0.0, 4.0]], [[0.0, 0.0], [3.0, 3.0]]])
    z = torch.tensor([[[1.0, 2.0, 0.0], [0.0, 2.0, 0.0]], [[0.0] * 3, [0.0] * 3]])
    terms = leap_cost(start, goal, latents, z, distance_value, 0.1)
    worst = torch.tensor([3.0, math.sqrt(18.0)])
    log_density = torch.tensor([-9.0 / 2, 0.0]) - 6 / 2 * math.log(2 * math.pi)
    assert torch.allclose(terms.value, worst)
    assert torch.allclose(terms.prior, -0.1 * log_density)
    assert torch.allclose(terms.total, worst - 0.1 * log_density)
    assert torch.equal(terms.distance, torch.zeros(2))


def test_a_candidate_costs_the_same_alone_and_among_thousands():
    latents = torch.randn(2500, 3, 4, generator=rng(1))  # more pairs than one call takes
    z = torch.randn(2500, 3, 2, generator=rng(2))
    start, goal = torch.randn(2, 4, generator=rng(3))
    sizes = []

    def value(a, b):
        sizes.append(len(a))
        return distance_value(a, b)

    together = leap_cost(start, goal, latents, z, value, 0.01).total
    assert sum(sizes) == 2500 * 4 and len(sizes) > 1
    for row in (0, 1023, 1024, 2499):
        alone = leap_cost(start, goal, latents[row : row + 1], z[row : row + 1], value, 0.01)
        assert torch.allclose(alone.total, together[row : row + 1])


def on_a_line(prior_weight):
    """Search three subgoals between 0 and 4 on a line, where z is the place itself."""
    start, goal = torch.zeros(1), torch.tensor([4.0])

    def cost(z):
        return leap_cost(start, goal, z, z, distance_value, prior_weight)

    return CEM(cost, samples=1000, elites=50, iterations=15, initial_std=1.5).solve((3, 1), rng())


def test_without_prior_subgoals_divide_a_line_evenly():
    found = on_a_line(0.0)
    assert -1.2 <= -float(found.costs.value) <= -1.0 + 1e-6
    assert torch.allclose(found.z.flatten(), torch.tensor([1.0, 2.0, 3.0]), atol=0.3)


def test_a_heavy_prior_pulls_all_subgoals_to_its_mean():
    assert (on_a_line(10.0).z.abs() < 0.3).all()


# Planner.


def test_the_prior_sees_raw_z_and_the_value_sees_quantised_latents(planner, vqvae, vae, pair):
    seen = []

    def value(latents, goals):
        seen.append(torch.cat([latents, goals]))
        return distance_value(latents, goals)

    plan = planner(value=value).plan(*pair, rng())
    assert all(torch.equal(vqvae.quantise(each)[1], each) for each in seen)
    (z,) = plan.z
    assert z.shape == (1, 3, 16)
    raw = vae.decode(z[0])
    codes, latents = vqvae.quantise(raw)
    assert not torch.allclose(raw, latents)
    assert torch.equal(plan.codes[:-1], codes)
    squares, weight = float(z.square().sum()), TINY.prior_weight
    expected = weight * (squares / 2 + 48 / 2 * math.log(2 * math.pi))
    assert plan.costs["prior"] == pytest.approx(expected, rel=1e-5)
    back = float(vae.encode(latents)[0].square().sum())
    assert back != pytest.approx(squares, rel=0.01)  # so that a prior on re-encoded z would show


def test_every_leg_from_start_to_goal_is_valued(planner, pair):
    calls = []

    def value(latents, goals):
        calls.append((latents.view(24, -1, 720), goals.view(24, -1, 720)))
        return distance_value(latents, goals)

    planner(value=value).plan(*pair, rng())
    assert len(calls) == TINY.iterations
    for before, after in calls:
        assert before.shape[1] == TINY.subgoals + 1
        assert torch.equal(before[:, 0], pair[0].expand(24, -1))
        assert torch.equal(after[:, -1], pair[1].expand(24, -1))
        assert torch.equal(before[:, 1:], after[:, :-1])


def test_without_subgoals_the_plan_is_the_goal(planner, vqvae, pair):
    pairs, heard = [], []

    def value(latents, goals):
        pairs.append((latents, goals))
        return distance_value(latents, goals)

    config = LeapConfig(subgoals=0)
    plan = planner(config, value).plan(*pair, rng(), on_iteration=heard.append)
    assert torch.equal(plan.latents, pair[1:])
    assert torch.equal(plan.codes, vqvae.quantise(pair[1:])[0])
    ((latents, goals),) = pairs
    assert torch.equal(latents, pair[:1]) and torch.equal(goals, pair[1:])
    assert plan.cost == pytest.approx(float(torch.linalg.vector_norm(pair[0] - pair[1])))
    assert [feedback.fraction for feedback in heard] == [1.0]


@pytest.mark.parametrize("subgoals", [1, 3, 5])
def test_a_plan_has_k_subgoals_and_ends_at_the_goal(planner, vqvae, pair, subgoals):
    config = LeapConfig(subgoals=subgoals, samples=24, iterations=2)
    plan = planner(config).plan(*pair, rng())
    assert (plan.codes.shape, plan.codes.dtype) == ((subgoals + 1, 144), torch.int64)
    assert (plan.latents.shape, plan.latents.dtype) == ((subgoals + 1, 720), torch.float32)
    assert torch.isfinite(plan.latents).all()
    assert torch.equal(plan.latents[-1], pair[1])
    assert torch.equal(vqvae.lookup(plan.codes), plan.latents)
    assert plan.cost == pytest.approx(plan.costs["value"] + plan.costs["prior"], rel=1e-5)
    assert plan.cost == plan.costs["level_0"] and plan.costs["distance"] == 0.0
    states = torch.cat([pair[:1], plan.latents])
    worst = float(distance_value(states[:-1], states[1:]).min())
    assert plan.costs["value"] == pytest.approx(-worst, rel=1e-5)


def test_subgoals_lie_on_the_learned_path_from_near_to_far(planner, pair, path):
    def cells_left(latents, goals):  # V of a path on which every cell takes one step
        same = (latents - goals).view(-1, 5, 144).abs().amax(1) < 1e-6
        return -(~same).sum(1).float()

    config = LeapConfig(samples=200, iterations=10)
    plan = planner(config, cells_left).plan(*pair, rng())
    steps = -float(cells_left(pair[:1], pair[1:]))
    assert plan.costs["value"] < 0.5 * steps  # each leg of the best plan has a quarter
    places = torch.cdist(plan.latents, path).argmin(1)
    assert (places.diff() > 0).all() and places[-1] == 144 and places[0] > 0


def test_a_plan_depends_on_its_generator_alone(planner, pair):
    shared = planner()
    first = shared.plan(*pair, rng(0), remember=True)
    second, other = (shared.plan(*pair, rng(seed)) for seed in (0, 1))
    assert torch.equal(first.codes, second.codes)
    assert torch.equal(first.latents, second.latents)
    assert first.cost == second.cost
    assert not torch.equal(first.z[0], other.z[0])


def test_feedback_tells_every_evaluation_and_its_best_cost(planner, pair):
    heard = []
    plan = planner().plan(*pair, rng(), on_iteration=heard.append)
    assert [(each.level, each.levels, each.iterations) for each in heard] == [(0, 1, 3)] * 3
    assert [each.iteration for each in heard] == [0, 1, 2]
    assert heard[-1].fraction == 1.0
    assert heard[-1].best_cost == plan.cost


def test_a_plan_can_be_cancelled_between_evaluations(planner, pair):
    heard = []
    with pytest.raises(PlanCancelled):
        planner().plan(*pair, rng(), on_iteration=heard.append, cancelled=lambda: len(heard) == 2)
    assert len(heard) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(torch.zeros(700), "start latent has shape"), (torch.full((720,), torch.nan), "not finite")],
)
def test_bad_latents_are_refused(planner, pair, wrong, message):
    with pytest.raises(InputError, match=message):
        planner().plan(wrong, pair[1], rng())
    with pytest.raises(InputError, match="goal"):
        planner().plan(pair[0], wrong, rng())


def test_an_update_of_the_weights_takes_effect_in_the_next_plan(vqvae, vae, pair):
    own = LatentVAE(vae.config, LATENT).requires_grad_(False)
    own.load_state_dict(vae.state_dict())
    planner = LeapPlanner(vqvae, own, distance_value, TINY)
    before = planner.plan(*pair, rng())
    own.decoder[-1].weight.mul_(-1.0)
    assert not torch.equal(planner.plan(*pair, rng()).codes, before.codes)


SMALL = LatentVAEConfig(hidden_units=32)


def small(config=SMALL):
    torch.manual_seed(0)
    return LatentVAE(config, LATENT)


def latents(count, seed=0):
    return torch.randn(count, 720, generator=rng(seed))


def test_a_latent_becomes_sixteen_numbers_and_back_straight_to_720():
    model = LatentVAE(LatentVAEConfig(), LATENT)
    mean, logvar = model.encode(latents(3))
    assert mean.shape == logvar.shape == (3, 16) and model.z_dim == 16
    assert model.decode(mean).shape == (3, 720)
    assert model.decode(torch.zeros(4, 2, 16)).shape == (4, 2, 720)
    assert not torch.allclose(model.decode(mean), model.decode(mean + 1))
    assert small(LatentVAEConfig(z_dim=5, hidden_units=8)).encode(latents(2))[0].shape == (2, 5)


def test_the_loss_is_half_the_squared_error_plus_beta_times_the_divergence():
    model = small(LatentVAEConfig(hidden_units=32, reconstruction_weight=2.0, kl_weight=3.0))
    batch = latents(4)
    with torch.no_grad():
        model.mean.weight.zero_()
        model.mean.bias.fill_(2.0)
        model.logvar.weight.zero_()
        model.logvar.bias.fill_(-1.0)
    loss, metrics = model.loss(batch, rng(1))
    kl = 16 * 0.5 * (2.0**2 + torch.tensor(-1.0).exp().item() - 1 + 1)
    z = 2.0 + torch.randn(4, 16, generator=rng(1)) * torch.tensor(-0.5).exp()
    mse = (model.decode(z) - batch).square().mean().item()
    assert float(metrics["kl"]) == pytest.approx(kl, rel=1e-5)
    assert float(metrics["reconstruction_mse"]) == pytest.approx(mse, rel=1e-5)
    assert loss.item() == pytest.approx(2.0 * 720 / 2 * mse + 3.0 * kl, rel=1e-5)
    assert float(metrics["loss"]) == loss.item() and not metrics["loss"].requires_grad


def test_the_posterior_equal_to_the_prior_has_no_divergence():
    model = small()
    with torch.no_grad():
        for layer in (model.mean, model.logvar):
            layer.weight.zero_()
            layer.bias.zero_()
    assert float(model.loss(latents(2), rng())[1]["kl"]) == 0.0


def test_the_same_generator_seed_gives_the_same_loss():
    model, batch = small(), latents(4)
    assert model.loss(batch, rng(1))[0].item() == model.loss(batch, rng(1))[0].item()
    assert model.loss(batch, rng(1))[0].item() != model.loss(batch, rng(2))[0].item()


def test_the_scale_of_the_encoders_latents_does_not_matter():
    data, losses = latents(64) * 0.02 + 3.0, []
    for factor in (1.0, 100.0):
        model = small()
        model.fit_scale(data * factor)
        losses.append(model.loss(data * factor, rng())[0].item())
        error = (model.decode(torch.zeros(1, 16)) - data.mean(0) * factor).square().mean().sqrt()
        assert error < 0.02 * factor  # an untrained decoder gives about the mean latent
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    other = small()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.decode(torch.ones(1, 16)), model.decode(torch.ones(1, 16)))


def test_latents_that_never_change_give_finite_numbers():
    data = latents(1).expand(8, 720).clone()
    model = small()
    model.fit_scale(data)
    assert torch.isfinite(model.loss(data, rng())[0])
    assert torch.allclose(model.decode(torch.zeros(1, 16)), data[:1], atol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(720), torch.zeros(0, 720), torch.zeros(2, 700), torch.full((2, 720), -torch.inf)],
)
def test_a_scale_from_bad_latents_is_refused(wrong):
    with pytest.raises(InputError, match="latent"):
        small().fit_scale(wrong)


def test_latents_of_another_size_are_refused():
    with pytest.raises(InputError, match="720 numbers, not 700"):
        small().encode(torch.zeros(2, 700))
    with pytest.raises(InputError, match="720 numbers, not 700"):
        small().loss(torch.zeros(2, 700), rng())


def test_settings_out_of_range_name_the_field():
    with pytest.raises(ConfigError, match=r"LatentVAEConfig.z_dim is 0"):
        LatentVAEConfig(z_dim=0)
    with pytest.raises(ConfigError, match="did you mean"):
        from_dict(LatentVAEConfig, {"zdim": 4})


def test_training_learns_what_varies_and_z_stays_near_the_prior():
    data = 0.1 * latents(1, 1) + 0.05 * torch.randn(256, 2, generator=rng(2)) @ latents(2, 3)
    model = small(LatentVAEConfig(hidden_units=64))
    model.fit_scale(data)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = rng(4)
    for _ in range(120):
        loss, metrics = model.loss(data, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    mean, _ = model.encode(data)
    decoded = model.decode(mean)
    assert (decoded - data).square().mean() < 0.1 * (data - data.mean(0)).square().mean()
    assert float(metrics["kl"]) > 1.0  # the code is used
    assert mean.square().mean() < 1.5
