# SPDX-License-Identifier: Apache-2.0
"""The environment keeps gymnasium's contract and its own about `info`."""

import json

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from ptp_core.data.coverage import SceneCoverage, shares_of_task
from ptp_core.data.env_spec import spec_of
from ptp_sim.env import ENV_ID, SCENE_GROUPS, TableEnv, make_env, register
from ptp_sim.goal_images import PlanFailed, make_goal, stage_images
from ptp_sim.layouts import PAPER_RANGES, VARIED_RANGES, block_place, training_scene
from ptp_sim.scene import scene_numbers
from ptp_sim.tasks import TASKS
from ptp_sim.world import TableWorld

FAILURES = 50  # of a scripted plan, in as many scenes
ACTION = np.array([0.5, -0.5, 0.2, 0.1, -1.0], np.float32)


@pytest.fixture(scope="module")
def env():
    env = make_env(render_mode="rgb_array")
    yield env
    env.close()


def test_registered_environment_passes_check_env():
    register()
    env = gymnasium.make(ENV_ID)
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_scenes_are_drawn_until_the_scripted_plan_solves_one(env, monkeypatch):
    calls = []

    def mostly_fails(*arguments):
        calls.append(arguments)
        if len(calls) <= FAILURES:
            raise PlanFailed("this scene cannot be solved")
        return make_goal(*arguments)

    monkeypatch.setattr("ptp_sim.env.make_goal", mostly_fails)
    env.reset(seed=3, options={"task": "A", "protocol": "varied"})
    assert len(calls) > FAILURES


@pytest.mark.parametrize("name", list(TASKS))
@pytest.mark.parametrize("protocol", ["paper", "varied", "shifted"])
def test_reset_shows_a_goal_that_is_not_reached_yet(env, name, protocol):
    options = {"task": name, "protocol": protocol}
    image, info = env.reset(seed=3, options=options)
    assert image.shape == info["goal_image"].shape == (48, 48, 3)
    assert image.dtype == info["goal_image"].dtype == np.uint8
    assert info["success"] is False
    again, same = env.reset(seed=3, options=options)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(info["goal_image"], same["goal_image"])


def test_scripted_stages_end_in_success_and_zero_reward(env):
    env.reset(seed=0, options={"task": "A"})
    rng = np.random.default_rng(0)
    rewards = []
    for stage in TASKS["A"].stages:
        expert = stage.expert(env.world.state(), False, rng)
        for _ in range(60):
            _, reward, terminated, _, info = env.step(expert.act(env.world.state()))
            rewards.append(reward)
            assert not terminated
    assert info["success"] and rewards[0] == -1.0 and rewards[-1] == 0.0


def test_demonstration_reports_its_expert(env):
    _, info = env.reset(seed=1, options={"task": "demonstration", "primitive": "close"})
    assert info["primitive"] == "close" and info["success"] is False
    for _ in range(75):
        _, _, _, _, info = env.step(info["expert_action"])
    assert info["success"] and info["expert_done"]


@pytest.mark.parametrize("name, steps", [("A", 400), ("E", 600)])
def test_episode_is_truncated_after_the_steps_of_its_task(env, name, steps):
    env.reset(seed=0, options={"task": name})
    env._steps = steps - 2
    still = np.array([0, 0, 0, 0, -1], np.float32)
    assert not env.step(still)[3]
    assert env.step(still)[3]


def test_commands_run_the_tasks_of_the_paper_unless_others_are_named(env):
    spec = spec_of(env, "table")
    assert spec.choose_tasks(None) == ("A", "B", "C")
    assert spec.tasks == ("A", "B", "C", "D", "E", "F")
    assert (spec.longest_episode("AC", 7), spec.longest_episode("AD", 7)) == (400, 600)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"task": "G"}, "unknown task 'G'"),
        ({"protocol": "easy"}, "unknown protocol 'easy'"),
        ({"tsk": "A"}, "unknown reset option"),
        ({"goal": 99}, "goal 99 does not exist"),
        ({"task": "demonstration", "protocol": "shifted"}, "outside of what demonstrations show"),
        ({"task": "demonstration", "primitive": "fly"}, "unknown primitive 'fly'"),
    ],
)
def test_bad_reset_options_are_named(env, options, message):
    with pytest.raises(ValueError, match=message):
        env.reset(options=options)


def test_the_scene_of_a_seed_can_be_drawn_without_simulating_it(env):
    for name, protocol in (("A", "varied"), ("F", "shifted"), ("C", "paper")):
        drawn = env.sample_scene(name, protocol, seed=8)
        _, info = env.reset(seed=8, options={"task": name, "protocol": protocol})
        assert drawn.keys() == info["scene"].keys()
        assert all(abs(drawn[key] - info["scene"][key]) < 0.012 for key in drawn)
    assert drawn != env.sample_scene("C", "varied", seed=8)


def test_a_shifted_scene_has_its_goal_picture_in_its_own_colours(env):
    _, plain = env.reset(seed=2, options={"task": "C", "protocol": "varied"})
    _, info = env.reset(seed=2, options={"task": "C", "protocol": "shifted_colours"})
    assert "can_red" in info["scene"] and "can_red" not in plain["scene"]
    lime = np.array([127, 255, 0])
    for shown, seen in ((plain["goal_image"], True), (info["goal_image"], False)):
        near = np.abs(shown / shown.max(axis=2, keepdims=True).clip(1) - lime / 255).max(axis=2)
        assert (near < 0.12).any() is np.bool_(seen)


def test_action_with_nan_is_refused(env):
    env.reset(seed=0)
    with pytest.raises(ValueError, match="not finite"):
        env.step(np.array([0, 0, np.nan, 0, 0], np.float32))


def test_render_gives_a_larger_picture(env):
    assert env.render().shape == (480, 480, 3)
    with pytest.raises(ValueError, match="render_mode"):
        TableEnv(render_mode="human")


@pytest.mark.parametrize("protocol", ["paper", "varied"])
def test_pictures_of_stages_are_given_on_request_and_change_nothing(env, protocol):
    options = {"task": "C", "protocol": protocol}
    plain, told = env.reset(seed=4, options=options)
    assert "stage_images" not in told
    plain_step = env.step(ACTION)
    image, info = env.reset(seed=4, options={**options, "stage_images": True})
    step = env.step(ACTION)
    assert np.array_equal(image, plain)
    assert np.array_equal(info["goal_image"], told["goal_image"])
    assert_same_state(info["state"], told["state"])
    assert np.array_equal(step[0], plain_step[0])
    assert_same_state(step[4]["state"], plain_step[4]["state"])
    assert "stage_images" not in step[4]
    (picture,) = info["stage_images"]
    assert picture.shape == (48, 48, 3) and picture.dtype == np.uint8
    assert not np.array_equal(picture, image) and not np.array_equal(picture, info["goal_image"])
    again = env.reset(seed=4, options={**options, "stage_images": True})[1]
    assert np.array_equal(again["stage_images"], info["stage_images"])


def assert_same_state(one, other):
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_stage_is_photographed_when_its_work_is_done_and_the_arm_is_away():
    world, task, rng = TableWorld(), TASKS["C"], np.random.default_rng(0)
    (picture,) = stage_images(world, task.scene, task, rng)
    assert task.stages[0].done(world.state()) and not task.stages[1].done(world.state())
    assert np.array_equal(world.observe(), picture)
    assert world.state().tcp[2] > task.scene.tcp_xyz[2]
    world.close()


def drawn_demonstrations(ranges, count):
    """Scenes as demonstrations draw them, as numbers by name."""
    rng = np.random.default_rng(0)
    return [scene_numbers(training_scene(rng, ranges)) for _ in range(count)]


def test_scenes_are_covered_by_demonstrations_that_draw_every_pose_of_theirs(env):
    two_places, varied = (
        SceneCoverage.of_scenes(SCENE_GROUPS, drawn_demonstrations(ranges, 4000))
        for ranges in (PAPER_RANGES, VARIED_RANGES)
    )
    for task in ("A", "C", "E"):
        few = shares_of_task(two_places, env, task, "varied", range(40))["groups"]
        many = shares_of_task(varied, env, task, "varied", range(40))["groups"]
        assert few["drawer"] < 0.5 and many["drawer"] == many["can"] == 1.0
        # 4,000 hands in 3,400 cells: how many cells hold enough of them is largely chance.
        assert min(share for name, share in many.items() if name != "hand") > 0.7
        assert many["hand"] > 0.1
        shifted = shares_of_task(varied, env, task, "shifted", range(40))
        assert shifted["all"] == shifted["groups"]["colours"] == 0.0
        poses = shares_of_task(varied, env, task, "shifted_poses", range(40))["groups"]
        assert max(poses["drawer"], poses["can"]) < 0.6
        assert poses["colours"] == poses["bodies"] == 1.0


def test_what_a_checkpoint_carries_of_the_table_is_small():
    coverage = SceneCoverage.of_scenes(SCENE_GROUPS, drawn_demonstrations(VARIED_RANGES, 4000))
    assert len(json.dumps(coverage.as_dict())) < 40_000


def test_an_object_that_the_work_does_not_move_lies_elsewhere_where_it_is_asked(env):
    found = {}
    for seed in range(40):
        options = {"task": "demonstration", "protocol": "varied", "half_way": 0.2}
        _, plain = env.reset(seed=seed, options=options)
        before = env.world.state().scene()
        _, other = env.reset(seed=seed, options=options | {"elsewhere": True})
        after = env.world.state().scene()
        assert "elsewhere" not in plain
        assert (other["primitive"], other["target"]) == (plain["primitive"], plain["target"])
        changed = {
            name
            for name in ("drawer_xy", "drawer_opening", "block_xyz", "can_xy")
            if not np.allclose(getattr(before, name), getattr(after, name), atol=0.02)
        }
        assert bool(changed) == other["elsewhere"] and len(changed) <= 1
        assert not changed & {plain["target"]["kind"], "drawer_xy", "drawer_opening"}
        found.setdefault(plain["primitive"], set()).update(changed)
        places = {block_place(before), block_place(after)}
        found.setdefault(tuple(sorted(places)), set())
    assert found["slide"] == {"block_xyz"} and found["block_tray"] == {"can_xy"}
    assert found["open"] == {"block_xyz", "can_xy"}
    assert ("drawer", "table") in found or ("drawer", "tray") in found


def test_a_demonstration_whose_object_lies_elsewhere_succeeds(env):
    options = {"task": "demonstration", "protocol": "varied", "elsewhere": True}
    done = []
    for seed in range(8):
        _, info = env.reset(seed=seed, options=options)
        for _ in range(75):
            *_, info = env.step(info["expert_action"])
        done.append(info["success"])
    assert sum(done) >= 7
