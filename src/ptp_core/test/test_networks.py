# SPDX-License-Identifier: Apache-2.0
"""Building blocks of the networks."""

import torch

from ptp_core.networks import STD_FLOOR, FiLM, Standardise
from ptp_core.tiny_networks import rng


def test_standardised_latents_come_back_and_constant_dimensions_stay_finite():
    values = torch.randn(500, 6, generator=rng()) * torch.tensor([1.0, 2, 3, 4, 0, 1e-5]) + 3
    scale = Standardise(6)
    scale.fit(values)
    standard = scale(values)
    torch.testing.assert_close(scale.inverse(standard), values, rtol=1e-4, atol=1e-5)
    assert torch.isfinite(standard).all()
    torch.testing.assert_close(standard.mean(0), torch.zeros(6), rtol=0, atol=1e-3)
    torch.testing.assert_close(standard[:, :4].std(0), torch.ones(4), rtol=0.01, atol=0)
    assert float(scale.std.min()) > STD_FLOOR  # of the root mean square, which is about 2.2
    assert float(standard[:, 4:].abs().max()) < 1e-3


def test_where_nothing_varies_only_the_mean_is_taken_off():
    scale = Standardise(3)
    scale.fit(torch.full((10, 3), 0.2))
    torch.testing.assert_close(scale(torch.full((1, 3), 1.2)), torch.ones(1, 3))


def test_film_begins_as_the_identity():
    x, condition = torch.randn(2, 4, 3, 3, generator=rng()), torch.ones(2, 5)
    film = FiLM(5, 4)
    assert torch.equal(film(x, condition), x)
    torch.nn.init.ones_(film.layer.weight)
    torch.testing.assert_close(film(x, condition), x * 6 + 5)
