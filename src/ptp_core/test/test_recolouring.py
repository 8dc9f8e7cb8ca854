# SPDX-License-Identifier: Apache-2.0
"""Images whose hues are mapped at random."""

import colorsys

import numpy as np
import pytest
import torch

from ptp_core.encoders.recolouring import recoloured, to_hsv, to_rgb
from ptp_core.tiny_networks import rng


def test_hue_saturation_and_value_are_those_of_colorsys_and_lead_back():
    images = torch.rand(2, 3, 5, 4, generator=rng())
    images[0, :, 0] = torch.tensor([0.0, 0.5, 1.0, 0.2])  # greys
    found = torch.stack(to_hsv(images), 1)
    known = [
        colorsys.rgb_to_hsv(*pixel) for pixel in images.permute(0, 2, 3, 1).reshape(-1, 3).tolist()
    ]
    np.testing.assert_allclose(found.permute(0, 2, 3, 1).reshape(-1, 3), known, atol=1e-5)
    torch.testing.assert_close(to_rgb(*found.unbind(1)), images, atol=1e-5, rtol=0)


@pytest.fixture
def images():
    """64 times a red and a green half, with a grey row above."""
    image = torch.zeros(3, 6, 4)
    image[0, :, :2], image[1, :, 2:] = 0.8, 0.8
    image[:, 0] = 0.6
    return image.expand(64, -1, -1, -1) - 0.5


def test_things_of_different_hues_change_apart_and_each_stays_of_one_colour(images):
    other = recoloured(images, rng())
    assert other.shape == images.shape and other.min() >= -0.5 and other.max() <= 0.5
    red, green, grey = other[:, :, 1:, :2], other[:, :, 1:, 2:], other[:, :, :1]
    for part in (red, green, grey):
        assert float(part.flatten(2).std(2).max()) < 1e-6
    changed = [
        (part[..., 0, 0] - of[..., 0, 0]).abs().amax(1) > 0.05
        for part, of in ((red, images[:, :, 1:, :2]), (green, images[:, :, 1:, 2:]))
    ]
    both = torch.stack(changed).float()
    assert 0.5 < both.mean() < 0.95  # some keep their colour
    assert (changed[0] != changed[1]).float().mean() > 0.1
    hues = [to_hsv(part[..., :1, :1] + 0.5)[0].flatten() for part in (red, green)]
    moved = hues[0][both.all(0)], hues[1][both.all(0)] - 1 / 3
    assert float((moved[0] - moved[1]).abs().median()) > 0.1  # not by one rotation


def test_colours_follow_from_the_seed(images):
    assert torch.equal(recoloured(images, rng(1)), recoloured(images, rng(1)))
    assert not torch.equal(recoloured(images, rng(1)), recoloured(images, rng(2)))
