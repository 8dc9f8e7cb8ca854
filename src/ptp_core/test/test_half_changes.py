# SPDX-License-Identifier: Apache-2.0
"""Work half done: each place is changed alone, and what only the arm changes is no place."""

import pytest
import torch

from ptp_core.learning.half_changes import half_changes, parted
from ptp_core.tiny_networks import rng

SIZE, FRAMES, CHANNELS = 12, 5, 2
OLD, NEW = (9, 2), (4, 8)


def moved(count=6, new=NEW):
    """An object leaves OLD for ``new``; an arm is at another cell of the first row each time."""
    before, after = torch.zeros(2, count, FRAMES, CHANNELS, SIZE, SIZE)
    before[..., OLD[0], OLD[1]] = 2.0
    after[..., new[0], new[1]] = 2.0
    for frame in range(FRAMES):
        before[:, frame, :, 0, frame] = 5.0
        after[:, frame, :, 0, frame + 6] = 5.0
    return before, after


def object_cells(latents):
    maps = latents.view(len(latents), CHANNELS, SIZE, SIZE)[:, 0]
    return maps[:, OLD[0], OLD[1]] == 2.0, maps[:, NEW[0], NEW[1]] == 2.0


def test_an_object_is_in_both_places_or_in_none():
    drawn = half_changes(*moved(40), 1.0, rng())
    old, new = object_cells(drawn.half)
    assert (old == new).all() and old.any() and not old.all()
    assert drawn.known.all()
    for latents, places in ((drawn.start, (True, False)), (drawn.after, (False, True))):
        assert tuple(bool(place.all()) for place in object_cells(latents)) == places
        assert tuple(bool(place.any()) for place in object_cells(latents)) == places


def test_seams_leave_the_object_where_it_is():
    drawn = half_changes(*moved(20), 1.0, rng())
    for latents, places in ((drawn.seam_start, (True, False)), (drawn.seam_after, (False, True))):
        old, new = object_cells(latents)
        assert (old == places[0]).all() and (new == places[1]).all()


def test_cells_that_the_arm_alone_changes_are_not_changed():
    changed, first, patches = parted(*moved())
    assert {*map(tuple, changed[0].nonzero().tolist())} == {OLD, NEW}
    assert not changed[:, 0].any()
    assert not patches[:, 0].any()
    assert (first[:, OLD[0], OLD[1]] != first[:, NEW[0], NEW[1]]).all()


def test_work_that_changes_one_place_is_not_known():
    before, after = moved()
    after[..., NEW[0], NEW[1]] = 0.0
    assert not half_changes(before, after, 1.0, rng()).known.any()
    assert not half_changes(*moved(), 1e3, rng()).known.any()


@pytest.mark.parametrize("new", [(9, 6), (2, 2), (10, 10)])
def test_each_cell_belongs_to_the_nearer_place(new):
    _, first, _ = parted(*moved(1, new))
    cells = torch.cartesian_prod(torch.arange(SIZE), torch.arange(SIZE)).float()
    to_old, to_new = ((cells - torch.tensor(place).float()).norm(dim=1) for place in (OLD, new))
    clear = (to_old - to_new).abs().view(SIZE, SIZE) > 3.0
    nearer = (to_old < to_new).view(SIZE, SIZE)
    same = (first[0] == nearer)[clear].float().mean()
    assert same in (0.0, 1.0)


def test_a_patch_holds_the_object_and_little_else():
    drawn = half_changes(*moved(40), 1.0, rng())
    patch = drawn.patch.view(40, CHANNELS, SIZE, SIZE)[:, 0]
    old, new = patch[:, OLD[0], OLD[1]], patch[:, NEW[0], NEW[1]]
    assert (old ^ new).all() and old.any() and new.any() and drawn.patch_known.all()
    assert (patch.sum((1, 2)) <= 9).all()
    halves = object_cells(drawn.half)
    assert torch.equal(halves[0], ~old) and torch.equal(
        halves[1], new
    )  # the patch's place is done
    changes = (drawn.earlier != drawn.later) & drawn.patch
    assert changes.any(1).all()


def test_a_seed_gives_one_draw():
    one, again, other = (half_changes(*moved(20), 1.0, rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.half, again.half) and not torch.equal(one.half, other.half)
