# SPDX-License-Identifier: Apache-2.0
"""Stages count in the order of the task, and a result that stands already does not count."""

from dataclasses import replace

import numpy as np
import pytest

from ptp_sim.long_tasks import LONG_TASKS
from ptp_sim.scene import (
    BLOCK_IN_DRAWER_Z,
    BLOCK_ON_TABLE_Z,
    BLOCK_ON_TRAY_Z,
    CAN_QUADRANTS,
    DRAWER_TRAVEL,
    drawer_inside_xy,
    handle_xy,
)
from ptp_sim.stage_progress import StageProgress
from ptp_sim.world import TableWorld


@pytest.fixture(scope="module")
def start():
    """The state in which tasks with an open drawer begin."""
    world = TableWorld()
    world.reset(LONG_TASKS["long_1"].scene)
    state = world.state()
    world.close()
    return state


def with_drawer(state, opening):
    handle = handle_xy(state.drawer_xy, state.drawer_yaw, opening)
    return replace(state, drawer_opening=opening, handle=np.array([*handle, state.handle[2]]))


def with_can(state, quadrant):
    return replace(state, can=np.array([*CAN_QUADRANTS[quadrant], state.can[2]]))


def on_tray(state, **changes):
    return replace(state, block=np.array([*state.drawer_xy, BLOCK_ON_TRAY_Z]), **changes)


def in_drawer(state):
    inside = drawer_inside_xy(state.drawer_xy, state.drawer_yaw, state.drawer_opening)
    return replace(state, block=np.array([*inside, BLOCK_IN_DRAWER_Z]))


def followed(name, *states):
    """Progress of a task that begins in the first of these states and goes through the others."""
    progress = StageProgress(LONG_TASKS[name], states[0])
    for state in states[1:]:
        progress.look(state)
    return progress


def test_the_same_work_in_the_other_order_reaches_fewer_stages(start):
    closed, slid = with_drawer(start, 0.0), with_can(start, 1)
    both = with_drawer(slid, 0.0)
    assert followed("long_3", start, closed, both).reached == 2
    assert followed("long_4", start, slid, both).reached == 2
    for name, before in (("long_3", slid), ("long_4", closed)):
        wrong = followed(name, start, before, both)
        assert wrong.reached == 1
        parts = wrong.parts(both)
        assert not parts.pop("order") and all(parts.values())


def test_a_result_that_stood_too_early_counts_once_it_was_undone(start):
    closed = with_drawer(start, 0.0)
    slid = with_can(closed, 1)
    reopened = with_drawer(slid, DRAWER_TRAVEL)
    progress = followed("long_4", start, closed, slid, reopened, slid)
    assert progress.reached == 2 and all(progress.parts(slid).values())


def test_a_stage_that_was_reached_stays_reached_and_yet_must_stand_at_the_end(start):
    placed = on_tray(start)
    fallen = with_drawer(start, 0.0)
    progress = followed("long_2", start, placed, with_drawer(placed, 0.0), fallen)
    assert progress.reached == 2
    assert progress.parts(fallen) == {"drawer": True, "block": False, "can": True, "order": True}


def test_a_block_in_the_hand_is_not_yet_in_its_place(start):
    held = on_tray(start, holding=True)
    assert followed("long_2", start, held).reached == 0
    assert followed("long_2", start, held, on_tray(start)).reached == 1


def test_what_a_task_leaves_alone_must_stay_where_it_was(start):
    placed = in_drawer(start)
    closed = in_drawer(with_drawer(start, 0.0))
    moved = with_can(closed, 1)
    assert all(followed("long_1", start, placed, closed).parts(closed).values())
    parts = followed("long_1", start, placed, closed, moved).parts(moved)
    assert parts == {"drawer": True, "block": True, "can": False, "order": True}
    other = replace(start, block=np.array([0.6, -0.1, BLOCK_ON_TABLE_Z]))
    assert followed("long_3", start, other).parts(other)["block"]  # anywhere on the table
