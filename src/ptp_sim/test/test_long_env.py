# SPDX-License-Identifier: Apache-2.0
"""`table-long`: what it declares, and its episodes."""

import numpy as np
import pytest

from ptp_core.data.env_spec import spec_of
from ptp_sim.long_env import make_env
from ptp_sim.long_tasks import LONG_TASKS
from ptp_sim.tasks import TASKS


@pytest.fixture(scope="module")
def env():
    env = make_env()
    yield env
    env.close()


def test_it_declares_its_tasks_with_sentences(env):
    spec = spec_of(env, "table-long")
    assert spec.choose_tasks(None) == tuple(LONG_TASKS) and spec.choose_protocol("") == "varied"
    assert {"distractors", "backgrounds"} < set(spec.protocols)
    assert spec.instructions["long_4"].startswith("slide the can to the near right, then close")
    assert spec.paraphrase("long_4", 4) == spec.paraphrases["long_4"][1]
    assert set(spec.goals) == {"image", "language"}
    assert (spec.longest_episode(["long_1"], 7), spec.longest_episode(["long_5"], 7)) == (400, 600)


def test_an_episode_has_a_sentence_a_goal_image_and_stages(env):
    image, info = env.reset(seed=2, options={"task": "long_5"})
    assert info["instruction"] == LONG_TASKS["long_5"].instruction
    assert info["goal_image"].shape == image.shape and not np.array_equal(
        info["goal_image"], image
    )
    assert (info["stages_reached"], info["stages"], info["success"]) == (0, 3, False)
    assert list(info["parts"]) == ["drawer", "block", "can", "order"]
    again, same = env.reset(seed=2, options={"task": "long_5"})
    assert np.array_equal(image, again) and np.array_equal(info["goal_image"], same["goal_image"])


def test_scripted_stages_are_counted_and_end_in_success(env):
    task, rng = LONG_TASKS["long_4"], np.random.default_rng(0)
    env.reset(seed=4, options={"task": "long_4"})
    counts = []
    for stage in task.stages:
        expert = task.expert(stage, env.world.state(), False, rng)
        while not expert.done:
            *_, info = env.step(expert.act(env.world.state()))
        for _ in range(12):
            *_, info = env.step(expert.act(env.world.state()))
        counts.append((info["stages_reached"], info["success"]))
    assert counts == [(1, False), (2, True)]


def test_an_episode_does_not_depend_on_a_grasp_before_it():
    def show(env, task, until):
        *_, info = env.reset(seed=1, options={"task": "demonstration", "demonstrated_task": task})
        for step in range(60):
            if until(step, info["state"]):
                return info["state"]
            *_, info = env.step(info["expert_action"])
        raise AssertionError("it did not come to that")

    env = make_env()
    before = show(env, "long_4", lambda step, state: step == 30)
    assert show(env, "long_1", lambda step, state: state["holding"])["holding"]
    after = show(env, "long_4", lambda step, state: step == 30)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    env.close()


def test_short_tasks_have_no_stages_to_count(env):
    _, info = env.reset(seed=0, options={"task": "A", "protocol": "paper"})
    assert "stages" not in info and list(info["parts"]) == ["drawer", "block", "can"]
    assert TASKS["A"].aftermath == (0, 5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"task": "long_11"}, "unknown task 'long_11': use one of A, B"),
        ({"task": "long_1", "protocol": "shifted"}, "task 'long_1' has no shifted scenes"),
        ({"task": "long_1", "goal": 1, "protocol": "paper"}, "'long_1' has no numbered goals"),
        ({"task": "A", "demonstrated_task": "long_1"}, "goes with the task 'demonstration'"),
        (
            {"task": "demonstration", "demonstrated_task": "long_1", "protocol": "distractors"},
            "outside of what demonstrations show",
        ),
    ],
)
def test_bad_reset_options_are_named_and_leave_the_scene(env, options, message):
    before = env.world.observe()
    with pytest.raises(ValueError, match=message):
        env.reset(seed=1, options=options)
    assert np.array_equal(env.world.observe(), before)
