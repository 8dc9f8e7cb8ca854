# SPDX-License-Identifier: Apache-2.0
"""Diffusion over chunks of actions: the schedule, the loss and the samples."""

import numpy as np
import pytest
import torch

from ptp_core.config import DiffusionConfig
from ptp_core.errors import ConfigError, InputError
from ptp_core.policies.diffusion_head import DiffusionHead, cosine_betas, sampled_steps
from ptp_core.tiny_networks import rng

SMALL = DiffusionConfig(hidden_units=32, blocks=1, dropout=0.0, draws=4)


def head(config=SMALL, horizon=3, actions=2):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DiffusionHead(config, 4, horizon, actions)


def test_the_schedule_is_that_of_lbps_released_code():
    betas = cosine_betas(25)
    kept = torch.cumprod(1 - betas, 0)
    assert betas[[0, 12, 24]].tolist() == pytest.approx([0.0054300, 0.1186612, 0.999], rel=1e-5)
    assert kept[[0, 12, 24]].tolist() == pytest.approx([0.99457, 0.462707, 3.881e-6], rel=1e-4)


def test_samples_lie_within_the_actions_limits_and_follow_from_the_seed():
    for steps in (25, 6):
        made = head(DiffusionConfig(hidden_units=32, blocks=1, sampling_steps=steps)).eval()
        condition = 3 * torch.randn(16, 4, generator=rng(1))
        chunks = made.sample(condition, rng(2))
        assert chunks.shape == (16, 3, 2) and chunks.abs().max() <= 1
        assert torch.equal(chunks, made.sample(condition, rng(2)))
        assert not torch.equal(chunks, made.sample(condition, rng(3)))


@pytest.mark.parametrize("steps", [25, 6])
def test_samples_at_a_low_temperature_lie_near_one_chunk_for_each_condition(steps):
    sizes = {"hidden_units": 32, "blocks": 1, "sampling_steps": steps}
    trained = head(DiffusionConfig(**sizes)).eval()
    condition = torch.randn(1, 4, generator=rng(1)).expand(64, 4)

    def spread(temperature):
        made = head(DiffusionConfig(**sizes, temperature=temperature)).eval()
        made.load_state_dict(trained.state_dict())
        return float(made.sample(condition, rng(2)).std(0).mean())

    assert spread(0.0) < 1e-6 < spread(0.2) < spread(1.0)


def test_fewer_steps_begin_at_the_noisiest_and_end_at_the_first():
    assert sampled_steps(25, 25) == list(range(24, -1, -1))
    assert sampled_steps(25, 5) == [24, 18, 12, 6, 0]


@pytest.mark.parametrize("sampling_steps", [25, 8])
def test_a_trained_head_samples_both_ways_and_not_their_mean(sampling_steps):
    """The condition's sign chooses one of two pairs of chunks; each is shown half of the time."""
    made = head(
        DiffusionConfig(
            hidden_units=64, blocks=2, dropout=0.0, draws=4, sampling_steps=sampling_steps
        ),
        horizon=2,
        actions=1,
    )
    optimiser = torch.optim.Adam(made.parameters(), 3e-3)
    draws = rng(0)
    for _ in range(400):
        sign = torch.randint(2, (64, 1), generator=draws) * 2.0 - 1
        way = torch.randint(2, (64, 1), generator=draws) * 2.0 - 1
        chunks = torch.cat([0.7 * way, 0.5 * sign * way], dim=1)[..., None]
        loss, _ = made.loss(sign.expand(-1, 4), chunks, torch.ones(64, 2), draws)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    made.eval()
    for sign in (-1.0, 1.0):
        chunks = made.sample(torch.full((400, 4), sign), rng(5))[..., 0]
        first, second = chunks.T
        assert ((first.abs() - 0.7).abs() < 0.25).float().mean() > 0.75  # a mean: none
        assert 0.3 < (first > 0).float().mean() < 0.7
        right = (second - 0.5 * sign * first.sign()).abs() < 0.25
        assert right.float().mean() > 0.75


def test_steps_of_weight_0_do_not_count():
    made = head().eval()
    condition, weights = torch.zeros(8, 4), torch.ones(8, 3)
    weights[:, 2] = 0.0
    chunks = torch.rand(8, 3, 2, generator=rng(1))
    with torch.no_grad():
        loss = made.loss(condition, chunks, weights, rng(2))[0]
        assert loss != made.loss(condition, chunks, torch.ones(8, 3), rng(2))[0]
        errors = _errors(made, condition, chunks, rng(2))
    assert float(loss) == pytest.approx(float(errors[:, :2].mean()), rel=1e-5)


def _errors(made, condition, chunks, draws):
    """The squared errors (draws * B, H, A) of the loss, written out."""
    count = made.config.draws * len(chunks)
    step = torch.randint(made.config.steps, (count,), generator=draws)
    noise = torch.randn((count, 6), generator=draws)
    kept = torch.cumprod(1 - cosine_betas(25), 0).float()[step][:, None]
    clean = chunks.flatten(1).repeat(made.config.draws, 1)
    noisy = kept.sqrt() * clean + (1 - kept).sqrt() * noise
    predicted = made(noisy, step, condition.repeat(made.config.draws, 1))
    return (predicted - noise).square().view(count, 3, 2)


def test_wrong_noise_and_impossible_settings_are_refused():
    with pytest.raises(InputError, match="noise has shape"):
        head().sample(torch.zeros(2, 4), noise=torch.zeros(2, 5))
    with pytest.raises(ConfigError, match="sampling_steps is 30"):
        DiffusionConfig(sampling_steps=30)
    with pytest.raises(ConfigError, match="even only"):
        DiffusionConfig(time_features=5)
    with pytest.raises(ConfigError, match="temperature"):
        DiffusionConfig(temperature=-0.1)


def test_the_noise_that_a_sample_starts_from_can_be_given():
    made = head(DiffusionConfig(hidden_units=32, blocks=1, sampling_steps=5)).eval()
    noise = torch.randn(2, 6, generator=rng(0))
    same = [made.sample(torch.zeros(2, 4), rng(seed), noise) for seed in (1, 2)]
    np.testing.assert_array_equal(*same)
