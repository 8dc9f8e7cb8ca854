# SPDX-License-Identifier: Apache-2.0
"""Other surroundings: out of the way of the plan, on varied scenes, gone at the next reset."""

import numpy as np
import pytest

from ptp_core.data.coverage import SceneCoverage
from ptp_sim.distractors import APART, COUNT, draw_distractors, places_of_plan
from ptp_sim.env import SCENE_GROUPS, make_env
from ptp_sim.layouts import distance_to_drawer, varied
from ptp_sim.long_tasks import ALL_TASKS, tasks_beginning_as
from ptp_sim.scene import DRAWER_TRAVEL

NAMES = ("A", "E", "long_1", "long_9")


@pytest.fixture(scope="module")
def env():
    env = make_env()
    yield env
    env.close()


@pytest.mark.parametrize("name", NAMES)
def test_distractors_leave_room_for_the_plan_and_for_each_other(name):
    task = ALL_TASKS[name]
    rng = np.random.default_rng(3)
    counts = set()
    for _ in range(5):
        scene = varied(task.scene, rng, task.within_reach)
        found = draw_distractors(scene, tasks_beginning_as(task), rng)
        counts.add(len(found))
        assert len({one.colour for one in found}) == len(found)
        for number, one in enumerate(found):
            others = [(other.xy, other.radius) for other in found[:number]]
            for place, radius in [*places_of_plan(task, scene), *others]:
                assert np.linalg.norm(np.subtract(one.xy, place)) > one.radius + radius + APART
            for opening in (0.0, DRAWER_TRAVEL):
                gap = distance_to_drawer(one.xy, scene.drawer_xy, scene.drawer_yaw, opening)
                assert gap > one.radius + APART
    assert counts <= set(range(COUNT[0], COUNT[1] + 1))


@pytest.mark.parametrize("name", ["A", "long_9"])
def test_poses_are_those_of_a_varied_scene_of_the_same_seed(env, name):
    plain = env.sample_scene(name, "varied", seed=6)
    for protocol, own in (("distractors", {"distractors"}), ("backgrounds", None)):
        drawn = env.sample_scene(name, protocol, seed=6)
        assert {key: drawn[key] for key in plain} == plain
        extra = set(drawn) - set(plain)
        assert extra == own or {key.split("_")[0] for key in extra} == {"table", "wall"}


def test_images_show_other_surroundings_until_the_next_reset(env):
    options = {"task": "C", "protocol": "varied"}
    plain, before = env.reset(seed=3, options=options)
    painted, info = env.reset(seed=3, options={**options, "protocol": "backgrounds"})
    assert (np.abs(painted.astype(int) - plain).max(axis=2) > 20).mean() > 0.5
    assert (
        np.abs(info["goal_image"].astype(int) - before["goal_image"]).max(axis=2) > 20
    ).mean() > 0.5
    state = info["state"]
    assert all(np.array_equal(state[key], before["state"][key]) for key in state)
    crowded, info = env.reset(seed=3, options={**options, "protocol": "distractors"})
    changed = (np.abs(crowded.astype(int) - plain).max(axis=2) > 40).mean()
    assert 0.002 < changed < 0.2 and info["scene"]["distractors"] >= COUNT[0]
    again, after = env.reset(seed=3, options=options)
    assert np.array_equal(again, plain)
    assert np.array_equal(after["goal_image"], before["goal_image"])


def test_distractors_stand_still_where_they_were_put(env):
    for seed in range(3):
        env.reset(seed=seed, options={"task": "E", "protocol": "distractors"})
        wanted = env.world.surroundings.distractors
        for body, one in zip(env.world._distractors, wanted, strict=True):
            position, _ = env.world._pose(body)
            assert np.linalg.norm(position[:2] - one.xy) < 0.003


def test_no_demonstration_covers_them(env):
    scenes = [env.sample_scene("A", "varied", seed) for seed in range(30)]
    coverage = SceneCoverage.of_scenes(SCENE_GROUPS, scenes)
    for protocol, group in (("distractors", "distractors"), ("backgrounds", "background")):
        drawn = [env.sample_scene("A", protocol, seed) for seed in range(5)]
        shares = coverage.shares(drawn)["groups"]
        assert shares[group] == 0.0
        assert coverage.shares(scenes)["groups"][group] == 1.0
