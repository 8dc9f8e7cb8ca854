# SPDX-License-Identifier: Apache-2.0
"""VAE of whole latents: shapes, loss, scale, learning a short code."""

import pytest
import torch

from ptp_core.config import LatentVAEConfig, from_dict
from ptp_core.errors import ConfigError, InputError
from ptp_core.planners.latent_vae import LatentVAE
from ptp_core.tiny_networks import LATENT, rng

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
