# SPDX-License-Identifier: Apache-2.0
"""Random scenes are within the protocol's ranges, never overlap and depend on the seed alone."""

import numpy as np
import pytest

from ptp_sim.layouts import is_clear, training_scene, varied
from ptp_sim.scene import CAN_RADIUS, quadrant_of
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
    base = TASKS[name].scene
    rng = np.random.default_rng(2)
    made = [varied(base, rng) for _ in range(60)]
    yaw = np.array([s.drawer_yaw - base.drawer_yaw for s in made])
    can = np.array([s.can_xy for s in made]) - base.can_xy
    start = np.array([s.tcp_xyz for s in made]) - base.tcp_xyz
    assert np.abs(np.rad2deg(yaw)).max() <= 10.0 and np.abs(np.rad2deg(yaw)).max() > 7.0
    assert np.abs(can).max() <= 0.03 and np.abs(can).max() > 0.02
    assert np.abs(start).max() <= 0.03 + 1e-9
    assert all(quadrant_of(s.can_xy) == quadrant_of(base.can_xy) for s in made)


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
