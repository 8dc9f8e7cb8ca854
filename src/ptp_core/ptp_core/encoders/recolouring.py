# SPDX-License-Identifier: Apache-2.0
"""Images in other colours, from which an encoder learns what colours do not tell. Ours.

After "randomized-to-canonical" networks (James et al., CVPR 2019, arXiv 1812.07252): the encoder
sees an image in random colours, and the decoder draws it in its own. They need a simulator that
draws both. Here the hues of a recorded image are mapped at random, each range of hues to a colour
of its own, so that things of different colours change apart from each other.
"""

from __future__ import annotations

import torch

RANGES = 8  # of hues
GREY = 0.25  # saturation below which a pixel counts as grey, which is a range of its own
KEPT = 0.25  # share of ranges that keep their colour; of grey, which covers table and walls, 0.6
GREY_KEPT = 0.6


def recoloured(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Images float (B, 3, H, W) in [-0.5, 0.5] in random colours, each in others.

    ``generator`` is a CPU generator.
    """
    count = len(images)
    hue, saturation, value = to_hsv(images + 0.5)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator).to(images)

    turned = (hue + draw(count, 1, 1)) % 1.0
    grey = saturation < GREY
    ranges = (turned * RANGES).long().clamp(max=RANGES - 1).masked_fill(grey, RANGES).flatten(1)

    def of_range(drawn: torch.Tensor) -> torch.Tensor:
        return drawn.gather(1, ranges).view_as(hue)

    each = count, RANGES + 1
    kept = draw(*each) < KEPT
    kept[:, RANGES] = draw(count) < GREY_KEPT
    colourful = torch.where(grey, 0.35, 0.35 + 0.65 * saturation)
    bright = torch.where(grey, 1.0, 1.3) * value
    other = to_rgb(
        of_range(draw(*each)),
        (colourful * of_range(1.1 * draw(*each).sqrt())).clamp(0.0, 1.0),
        (bright * of_range(0.35 + 0.85 * draw(*each))).clamp(0.0, 1.0),
    )
    return torch.where(of_range(kept.float())[:, None] > 0, images, other - 0.5)


def to_hsv(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hue in [0, 1), saturation and value in [0, 1], (B, H, W), of (B, 3, H, W) in [0, 1]."""
    red, green, blue = images.unbind(1)
    value, largest = images.max(1)
    spread = value - images.amin(1)
    apart = spread.clamp(min=1e-6)
    sixths = torch.stack(
        [(green - blue) / apart, (blue - red) / apart + 2, (red - green) / apart + 4]
    )
    hue = (sixths.gather(0, largest[None])[0] / 6.0) % 1.0
    return hue, spread / value.clamp(min=1e-6), value


def to_rgb(hue: torch.Tensor, saturation: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Images (B, 3, H, W) in [0, 1] of hue, saturation and value (B, H, W)."""
    channels = torch.tensor([5.0, 3.0, 1.0]).to(hue)[:, None, None]
    sixths = (channels + 6.0 * hue[:, None]) % 6.0
    part = torch.minimum(sixths, 4.0 - sixths).clamp(0.0, 1.0)
    return value[:, None] * (1.0 - saturation[:, None] * part)
