# SPDX-License-Identifier: Apache-2.0
"""The shipped goals come from the scripted plans, and a damaged file is named."""

import dataclasses
from importlib import resources

import numpy as np
import pytest

from ptp_sim.env import make_env
from ptp_sim.goal_images import (
    STANDING_HEIGHT,
    PlanFailed,
    goals_of,
    read_goals,
    run_plan,
    write_goals,
)
from ptp_sim.scene import BLOCK_ON_TRAY_Z, CAN_Z
from ptp_sim.tasks import TASKS
from ptp_sim.world import TableWorld

SHIPPED = resources.files("ptp_sim") / "data" / "paper_goals.npz"


@pytest.mark.parametrize("name", list(TASKS))
def test_shipped_goals_are_what_the_plans_give(name):
    world = TableWorld()
    made = goals_of(TASKS[name], world, count=2)
    world.close()
    for ours, theirs in zip(made, read_goals(SHIPPED)[name], strict=False):
        assert np.abs(ours.state.can - theirs.state.can).max() < 0.01
        assert np.abs(ours.state.handle - theirs.state.handle).max() < 0.01
        assert np.mean(np.abs(ours.image.astype(int) - theirs.image) > 30) < 0.02


def test_the_can_of_a_varied_goal_stands():
    """In the scene of B it runs into the closed drawer: it leans, falls over or lies on it."""
    env = make_env()
    found = []
    for seed in range(6):
        _, info = env.reset(seed=seed, options={"task": "B", "protocol": "varied"})
        found.append(env.unwrapped._goal.state.can[2] - info["state"]["can"][2])
    env.close()
    assert np.abs(found).max() < STANDING_HEIGHT


def test_a_plan_whose_can_falls_over_gives_no_goal():
    task, world = TASKS["B"], TableWorld()
    # A varied scene: the handle of the closed drawer is where the can is pushed to.
    drawer = {"drawer_xy": (0.552, 0.15), "drawer_yaw": np.deg2rad(96.2)}
    scene = task.scene.with_(
        **drawer, can_xy=(0.709, -0.088), block_xyz=(0.552, 0.15, BLOCK_ON_TRAY_Z)
    )
    rng = np.random.default_rng
    leaning, _ = run_plan(world, scene, task, rng(0))
    with pytest.raises(PlanFailed, match="the can fell over"):
        run_plan(world, scene, task, rng(0), standing=True)
    world.close()
    assert abs(leaning.can[2] - CAN_Z) > STANDING_HEIGHT


def test_a_task_may_have_a_longer_name():
    world = TableWorld()
    named = dataclasses.replace(TASKS["B"], name="open_drawer")
    (goal,) = goals_of(named, world, count=1)
    world.close()
    assert goal.image.shape == (48, 48, 3)


def test_goals_survive_writing_and_reading(tmp_path):
    goals = {name: read_goals(SHIPPED)[name][:3] for name in TASKS}
    write_goals(tmp_path / "goals.npz", goals)
    again = read_goals(tmp_path / "goals.npz")
    assert len(again["B"]) == 3
    np.testing.assert_array_equal(again["B"][1].image, goals["B"][1].image)
    assert again["B"][1].state.holding is goals["B"][1].state.holding


def test_truncated_file_is_named_with_the_cure(tmp_path):
    path = tmp_path / "goals.npz"
    path.write_bytes(SHIPPED.read_bytes()[:1000])
    with pytest.raises(ValueError, match="goal_images"):
        read_goals(path)
