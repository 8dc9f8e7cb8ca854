# SPDX-License-Identifier: Apache-2.0
"""The long tasks: sentences, start scenes that do not tell them apart, experts that solve them."""

from itertools import combinations

import numpy as np
import pytest

from ptp_robot.action import ActionScale
from ptp_sim.env import TableEnv
from ptp_sim.layouts import varied
from ptp_sim.long_tasks import LONG_TASKS, MOST_YAW, tasks_beginning_as
from ptp_sim.task_demonstration import TaskDemonstration
from ptp_sim.tasks import TASKS
from ptp_sim.world import TableWorld


@pytest.fixture(scope="module")
def world():
    world = TableWorld()
    yield world
    world.close()


def pairs_of_a_start_scene():
    return [
        (one, other)
        for one, other in combinations(LONG_TASKS.values(), 2)
        if one.scene == other.scene
    ]


def test_ten_tasks_of_two_to_four_stages_have_a_sentence_and_three_held_out_ones():
    assert list(LONG_TASKS) == [f"long_{number}" for number in range(1, 11)]
    assert sorted({len(task.stages) for task in LONG_TASKS.values()}) == [2, 3, 4]
    said = [task.instruction for task in LONG_TASKS.values()]
    held_out = [text for task in LONG_TASKS.values() for text in task.paraphrases]
    assert all(len(task.paraphrases) >= 3 for task in LONG_TASKS.values())
    assert len(set(said + held_out)) == len(said) + len(held_out)
    assert not set(LONG_TASKS) & set(TASKS)


def test_some_tasks_differ_in_the_order_of_their_stages_alone():
    orders = [
        (one.name, other.name)
        for one, other in pairs_of_a_start_scene()
        if set(one.stages) == set(other.stages) and one.stages != other.stages
    ]
    assert orders == [("long_3", "long_4"), ("long_7", "long_8")]


def test_some_tasks_differ_in_one_target_alone():
    targets = [
        (one.name, other.name)
        for one, other in pairs_of_a_start_scene()
        if [stage.kind for stage in one.stages] == [stage.kind for stage in other.stages]
        and sum(a != b for a, b in zip(one.stages, other.stages, strict=True)) == 1
    ]
    assert targets == [("long_1", "long_2"), ("long_5", "long_6"), ("long_9", "long_10")]


def test_the_start_scene_does_not_tell_which_task_is_asked_for():
    env = TableEnv()
    for first in ("long_1", "long_7"):
        others = [task.name for task in tasks_beginning_as(LONG_TASKS[first])]
        assert len(others) >= 4
        for protocol in ("varied", "distractors"):
            for seed in range(3):
                drawn = [env.sample_scene(name, protocol, seed) for name in others]
                assert all(scene == drawn[0] for scene in drawn)
    env.close()


def show(world, task, seed):
    """Run the smooth experts in a varied scene; the demonstration, and yaws of the tool [rad]."""
    rng = np.random.default_rng([7, seed])
    world.reset(varied(task.scene, rng, task.within_reach))
    demonstration = TaskDemonstration(task, world.state(), False, rng)
    info, yaws = demonstration.look(world.state()), []
    for _ in range(task.steps):
        if info["chain_done"]:
            return demonstration, info, yaws
        world.step(ActionScale().to_delta(info["expert_action"]))
        state = world.state()
        info = demonstration.look(state)
        yaws.append(abs(state.tcp_yaw))
    raise AssertionError(f"{task.name}, seed {seed}: it does not end")


@pytest.mark.parametrize("name", list(LONG_TASKS))
def test_smooth_experts_carry_out_every_stage_in_order(world, name):
    demonstration, info, _ = show(world, LONG_TASKS[name], seed=1)
    assert info["task_success"] and info["success"]
    assert demonstration.progress.reached == len(LONG_TASKS[name].stages)
    assert info["segment"] == len(LONG_TASKS[name].stages) - 1


def test_the_wrist_stays_away_from_its_limit(world):
    """In this scene the shorter way leads there, and the hand gets stuck above the handle."""
    _, info, yaws = show(world, LONG_TASKS["long_7"], seed=2)
    assert info["task_success"] and max(yaws) < MOST_YAW + 0.1
