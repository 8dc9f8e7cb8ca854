# SPDX-License-Identifier: Apache-2.0
"""Random scenes are within the protocol's ranges, never overlap and depend on the seed alone."""

import numpy as np
import pytest

from ptp_sim.layouts import (
    PAPER_RANGES,
    SHIFTS,
    VARIED_RANGES,
    LayoutError,
    block_place,
    is_clear,
    shifted,
    training_scene,
    varied,
)
from ptp_sim.scene import CAN_RADIUS, USUAL, drawer_inside_xy, quadrant_of
from ptp_sim.tasks import TASKS
from ptp_sim.world import TableWorld


@pytest.fixture(scope="module")
def world():
    world = TableWorld()
    yield world
    world.close()


def scenes(count):
    rng = np.random.default_rng(1)
    made = [training_scene(rng) for _ in range(count)]
    for task in TASKS.values():
        made += [varied(task.scene, rng) for _ in range(count)]
    return made


def test_objects_stay_where_a_scene_puts_them(world):
    """An overlap would push them apart at once."""
    for scene in scenes(25):
        world.reset(scene)
        state = world.state()
        assert np.linalg.norm(state.can[:2] - scene.can_xy) < 0.004
        assert np.linalg.norm(state.block[:2] - scene.block_xyz[:2]) < 0.012
        assert abs(state.drawer_opening - scene.drawer_opening) < 0.004
        assert np.linalg.norm(state.tcp - scene.tcp_xyz) < 0.005


@pytest.mark.parametrize("name", list(TASKS))
def test_varied_scenes_keep_to_the_protocol(name):
    task = TASKS[name]
    base = task.scene
    rng = np.random.default_rng(2)
    made = [varied(base, rng, task.within_reach) for _ in range(60)]
    drawer = np.array([s.drawer_xy for s in made]) - base.drawer_xy
    yaw = np.array([s.drawer_yaw - base.drawer_yaw for s in made])
    can = np.array([s.can_xy for s in made]) - base.can_xy
    start = np.array([s.tcp_xyz for s in made]) - base.tcp_xyz
    assert np.abs(np.rad2deg(yaw)).max() <= 10.0 and np.abs(np.rad2deg(yaw)).max() > 7.0
    assert np.abs(drawer).max() <= 0.03 and (np.abs(drawer).max(axis=0) > 0.02).all()
    assert np.abs(can).max() <= 0.03 and np.abs(can).max() > 0.02
    assert np.abs(start).max() <= 0.03 + 1e-9
    assert all(quadrant_of(s.can_xy) == quadrant_of(base.can_xy) for s in made)
    assert all(task.within_reach(s) for s in made)


@pytest.mark.parametrize("name, room", [("A", 0.03), ("B", 0.01), ("C", 0.01), ("D", 0.03)])
def test_a_block_in_or_on_the_drawer_moves_with_it(name, room):
    base = TASKS[name].scene
    rng = np.random.default_rng(3)
    for scene in (varied(base, rng) for _ in range(60)):
        place = {
            "A": base.block_xyz[:2],  # on the table
            "D": base.block_xyz[:2],
            "B": scene.drawer_xy,  # on the tray, at its middle
            "C": drawer_inside_xy(scene.drawer_xy, scene.drawer_yaw, scene.drawer_opening),
        }[name]
        assert np.abs(np.subtract(scene.block_xyz[:2], place)).max() <= room + 1e-9
        assert scene.block_xyz[2] == base.block_xyz[2]


def test_a_varied_scene_that_is_not_accepted_is_drawn_again():
    base = TASKS["B"].scene
    rng = np.random.default_rng(4)

    def moved_right(scene):
        return scene.drawer_xy[1] < base.drawer_xy[1]

    assert not all(moved_right(varied(base, rng)) for _ in range(20))
    assert all(moved_right(varied(base, rng, moved_right)) for _ in range(20))
    with pytest.raises(LayoutError, match="no varied scene"):
        varied(base, rng, lambda scene: False)


def ring(offsets):
    """Whether each offset (x, y) is 5 to 7 cm in the larger of both."""
    largest = np.abs(offsets).max(axis=1)
    return (largest > 0.05).all() and (largest <= 0.07 + 1e-9).all()


@pytest.mark.parametrize("name", ["A", "D"])
def test_shifted_poses_are_beyond_those_of_demonstrations(name):
    task, rng = TASKS[name], np.random.default_rng(5)
    base = task.scene
    made = [shifted(base, rng, SHIFTS["shifted_poses"], task.within_reach) for _ in range(40)]
    assert ring(np.array([s.drawer_xy for s in made]) - base.drawer_xy)
    assert ring(np.array([s.can_xy for s in made]) - base.can_xy)
    assert ring(np.array([s.block_xyz[:2] for s in made]) - base.block_xyz[:2])
    assert {s.bodies for s in made} == {USUAL}
    assert all(task.within_reach(s) for s in made)


def test_a_block_in_a_shifted_drawer_moves_with_it():
    rng = np.random.default_rng(6)
    for _ in range(20):
        scene = shifted(TASKS["C"].scene, rng, SHIFTS["shifted"])
        inside = drawer_inside_xy(scene.drawer_xy, scene.drawer_yaw, scene.drawer_opening)
        assert np.abs(np.subtract(scene.block_xyz[:2], inside)).max() <= 0.01 + 1e-9


def test_each_shift_changes_its_own_part_alone():
    base = TASKS["B"].scene
    made = {
        name: [shifted(base, np.random.default_rng(n), shift) for n in range(20)]
        for name, shift in SHIFTS.items()
    }
    for name in ("shifted_colours", "shifted_bodies"):
        offsets = np.array([s.drawer_xy for s in made[name]]) - base.drawer_xy
        assert np.abs(offsets).max() <= 0.03
    for scene in (*made["shifted"], *made["shifted_colours"]):
        assert None not in (scene.bodies.can_colour, scene.bodies.block_colour)
        assert scene.bodies.can_colour != scene.bodies.block_colour
    for name in ("shifted", "shifted_bodies"):
        assert {(s.bodies.size, s.bodies.friction) for s in made[name]} == {
            *((0.85, 0.5), (0.85, 1.5), (1.15, 0.5), (1.15, 1.5))
        }
    assert all(s.bodies.can_colour is None for s in made["shifted_bodies"])
    assert all((s.bodies.size, s.bodies.friction) == (1.0, 1.0) for s in made["shifted_colours"])


def test_overlap_is_noticed():
    scene = TASKS["A"].scene
    assert is_clear(scene)
    beside = (scene.can_xy[0] + CAN_RADIUS, scene.can_xy[1], scene.block_xyz[2])
    assert not is_clear(scene.with_(block_xyz=beside))
    assert not is_clear(scene.with_(can_xy=(0.56, 0.08)))
    assert not is_clear(scene.with_(tcp_xyz=(*scene.can_xy, -0.33)))


def test_same_seed_gives_the_same_scene():
    one, two = (training_scene(np.random.default_rng(9)) for _ in range(2))
    assert one == two
    assert one != training_scene(np.random.default_rng(10))


def test_demonstrations_of_varied_scenes_begin_with_the_block_in_the_closed_drawer_too():
    def hidden(ranges):
        rng = np.random.default_rng(11)
        closed = [
            s for s in (training_scene(rng, ranges) for _ in range(300)) if s.drawer_opening == 0
        ]
        return np.mean([block_place(scene) == "drawer" for scene in closed])

    assert hidden(PAPER_RANGES) == 0.0
    assert 0.2 < hidden(VARIED_RANGES) < 0.5
