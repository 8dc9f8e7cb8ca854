# SPDX-License-Identifier: Apache-2.0
"""Changes that are half done: an object in two places, or in none. Ours.

What a demonstration moves leaves one place and arrives at another, so in no pair of frames does an
object only vanish or only appear. A network that learns from such pairs hardly looks whether a
goal lacks an object, and a planner finds ends in which one is gone. The cells of a latent map, put
together from a frame before the work and one after it, show what cannot be:

            at the one place    at the other
    before        A                  B
    after         A'                 B'
    half          A'                 B

The places are the cell that the work changed most, and the one that it changed most away from
there; each other cell belongs to the nearer of both. A cell counts as changed by how far the
medians of several frames before and after the work are apart, less what the arm changes there
within each part. Frames put together have a seam, and their arm may be cut. So the work done and
not done is also shown with the same seam, from two frames of the same part.

The cells that changed at one place are a patch. Two frames of another demonstration, one with the
patch from before the work and one with that from after it, differ by one object alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

APART = 2.5  # cells from one place to the other, at least
REMOTE = 4.0  # cells beyond which being farther apart counts no more, and where patches end
FAINT = 0.1  # change, as a share of the largest, below which a cell is in no patch


@dataclass(frozen=True)
class HalfChanges:
    """Latents (B, D) of demonstrations' work, half done and with a seam, see the module."""

    start: torch.Tensor  # a frame before the work
    after: torch.Tensor  # a frame after it
    half: torch.Tensor
    seam_start: torch.Tensor
    seam_after: torch.Tensor
    known: torch.Tensor  # bool (B,), whether the work changed both places
    patch: torch.Tensor  # bool (B, D), what changed at the place that is done in ``half``
    patch_known: torch.Tensor  # bool (B,), whether the work changed enough there
    earlier: torch.Tensor  # further frames before and after the work, to cut patches from
    later: torch.Tensor


def half_changes(
    before: torch.Tensor, after: torch.Tensor, least: float, generator: torch.Generator
) -> HalfChanges:
    """Put frames together.

    Args:
        before: latent maps (B, F, C, H, W) of F >= 4 frames of each demonstration before its work.
        after: the same after it.
        least: squared L2 distance, summed over cells, that the work changes at either place.
        generator: a CPU generator, which chooses the place that is done.

    """
    changed, first, patches = parted(before, after)
    flipped = torch.rand((len(first), 1, 1), generator=generator).to(first.device) < 0.5
    place = first ^ ~flipped
    least_changed = torch.minimum((changed * first).sum((1, 2)), (changed * ~first).sum((1, 2)))
    patch, done = patches & place, place[:, None]

    def together(where_done: torch.Tensor, elsewhere: torch.Tensor) -> torch.Tensor:
        return torch.where(done, where_done, elsewhere).flatten(1)

    return HalfChanges(
        start=before[:, 2].flatten(1),
        after=after[:, 2].flatten(1),
        half=together(after[:, 0], before[:, 0]),
        seam_start=together(before[:, 1], before[:, 0]),
        seam_after=together(after[:, 0], after[:, 1]),
        known=least_changed > least,
        patch=patch[:, None].expand_as(before[:, 0]).flatten(1),
        patch_known=(changed * patch).sum((1, 2)) > least,
        earlier=before[:, 3].flatten(1),
        later=after[:, 3].flatten(1),
    )


def parted(
    before: torch.Tensor, after: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """How much the work changes cells, which belong to the first place, and which to a patch.

    All are (B, H, W), the latter two bool.
    """
    medians = (after.median(1).values - before.median(1).values).square().sum(1)
    within = (before.var(1) + after.var(1)).sum(1)
    changed = (medians - 2.0 * within).clamp(min=0.0)
    height, width = changed.shape[1:]
    cells = torch.cartesian_prod(torch.arange(height), torch.arange(width)).to(changed)
    smooth = functional.avg_pool2d(changed[:, None], 3, 1, 1).flatten(1)
    one = smooth.argmax(1)
    to_one = (cells - cells[one][:, None]).norm(dim=2)
    two = (smooth * (to_one >= APART) * to_one.clamp(max=REMOTE)).argmax(1)
    to_two = (cells - cells[two][:, None]).norm(dim=2)
    clear = smooth > FAINT * smooth.amax(1, keepdim=True)
    patches = clear & (torch.minimum(to_one, to_two) < REMOTE)
    shape = -1, height, width
    return changed, (to_one < to_two).view(shape), patches.view(shape)
