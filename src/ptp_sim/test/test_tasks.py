# SPDX-License-Identifier: Apache-2.0
"""The judge follows the paper's thresholds."""

from dataclasses import replace

import numpy as np
import pytest

from ptp_sim.env import TableEnv
from ptp_sim.scene import BLOCK_ON_TABLE_Z, CAN_QUADRANTS, DRAWER_TRAVEL, opening_direction
from ptp_sim.tasks import TASKS, judge, task_named


@pytest.fixture(scope="module")
def env():
    env = TableEnv()
    yield env
    env.close()


def pair(env, name):
    """The start state and a goal state of a task."""
    env.reset(seed=0, options={"task": name, "goal": 0})
    return env.world.state(), env.paper_goals(name)[0].state


@pytest.mark.parametrize(
    "name, satisfied",
    [
        ("A", {"block"}),
        ("B", {"block"}),
        ("C", {"can"}),
        ("D", set()),
        ("E", {"drawer"}),
        ("F", set()),
    ],
)
def test_start_satisfies_only_what_the_task_leaves_alone(env, name, satisfied):
    start, goal = pair(env, name)
    parts = judge(start, goal)
    assert {part for part, value in parts.items() if value} == satisfied


@pytest.mark.parametrize("name", list(TASKS))
def test_every_goal_satisfies_every_other_goal(env, name):
    goals = env.paper_goals(name)
    assert len(goals) == 32
    assert all(judge(a.state, b.state)["overall"] for a in goals[:8] for b in goals[:8])


@pytest.mark.parametrize("short_of, reached", [(0.06, True), (0.07, False)])
def test_handle_must_be_within_65_mm(env, short_of, reached):
    _, goal = pair(env, "A")
    along = np.append(opening_direction(goal.drawer_yaw), 0.0)
    state = replace(goal, handle=goal.handle - short_of * along)
    assert judge(state, goal)["drawer"] is reached


@pytest.mark.parametrize(
    "aside, up, reached", [(0.07, 0.0, True), (0.09, 0.0, False), (0.0, 0.02, False)]
)
def test_block_must_lie_on_the_tray_near_its_goal(env, aside, up, reached):
    _, goal = pair(env, "C")
    state = replace(goal, block=goal.block + np.array([aside, 0.0, up]))
    assert judge(state, goal)["block"] is reached


def test_block_may_lie_anywhere_on_the_table(env):
    _, goal = pair(env, "A")
    state = replace(goal, block=np.array([0.8, -0.1, BLOCK_ON_TABLE_Z]))
    assert judge(state, goal)["block"]
    assert not judge(replace(state, block=state.block + np.array([0, 0, 0.05])), goal)["block"]


def test_can_is_judged_by_its_quadrant(env):
    _, goal = pair(env, "A")
    for quadrant, (x, y) in enumerate(CAN_QUADRANTS):
        state = replace(goal, can=np.array([x, y, goal.can[2]]))
        assert judge(state, goal)["can"] is (quadrant == 2)


def test_unknown_task_is_named_with_the_choices():
    with pytest.raises(ValueError, match="A, B, C"):
        task_named("G")


def test_stages_of_long_tasks_are_those_of_the_short_ones_and_one_or_two_more():
    assert TASKS["D"].stages[:2] == TASKS["E"].stages[:2] == TASKS["A"].stages
    assert TASKS["F"].stages[:2] == TASKS["C"].stages
    assert [len(TASKS[name].stages) for name in "DEF"] == [3, 4, 3]
    assert TASKS["E"].stages[2].meaning == ("block_drawer", "drawer")


def test_a_stage_must_stand_at_the_end_unless_a_later_one_of_its_kind_replaces_it(env):
    """E opens the drawer and closes it again; the block must then be in the closed drawer."""
    task = TASKS["E"]
    _, goal = pair(env, "E")
    assert task.finished(goal) and not task.stages[1].done(goal)
    opened = replace(goal, drawer_opening=DRAWER_TRAVEL)
    assert not task.finished(opened)
    assert not task.finished(replace(goal, block=np.array([0.7, 0.08, BLOCK_ON_TABLE_Z])))
    assert not task.finished(replace(goal, can=np.array([*CAN_QUADRANTS[1], goal.can[2]])))


def test_reach_is_asked_of_the_slide_after_the_drawer_has_moved():
    """In F the open drawer is in the way of the hand; when the can is slid it is closed."""
    task = TASKS["F"]
    slide_first = replace(task, stages=task.stages[::-1])
    near = task.scene.with_(drawer_xy=(0.7, -0.1675))
    assert task.within_reach(near) and not slide_first.within_reach(near)
