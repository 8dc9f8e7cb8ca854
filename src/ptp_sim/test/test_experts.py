# SPDX-License-Identifier: Apache-2.0
"""Scripted experts finish what they begin in at least 90 % of seeded trials."""

import numpy as np
import pytest

from ptp_sim.env import TableEnv
from ptp_sim.goal_images import PlanFailed, make_goal
from ptp_sim.layouts import varied
from ptp_sim.primitives import PRIMITIVES
from ptp_sim.tasks import TASKS

TRIALS = 10


@pytest.fixture(scope="module")
def env():
    env = TableEnv()
    yield env
    env.close()


def demonstrate(env, name, seed, steps=75, noise=0.1):
    """Run a demonstration without pictures, as the collector does with them."""
    env.reset(seed=seed, options={"task": "demonstration", "primitive": name})
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        action = env._demonstration.expert.act(env.world.state()) + noise * rng.standard_normal(5)
        env.world.step(env.scale.to_delta(np.clip(action, -1.0, 1.0)))
    return env._demonstration.primitive.reached(env.world.state())


def test_experts_finish_their_primitive_in_time(env):
    results = {
        name: sum(demonstrate(env, name, 100 + i) for i in range(TRIALS)) for name in PRIMITIVES
    }
    assert sum(results.values()) >= 0.9 * TRIALS * len(PRIMITIVES), results


@pytest.mark.parametrize("protocol", ["paper", "varied"])
def test_two_stage_plans_reach_their_goals(env, protocol):
    solved = 0
    for task in TASKS.values():
        for i in range(TRIALS):
            rng = np.random.default_rng([3, i])
            scene = task.scene
            if protocol == "varied":
                scene = varied(scene, rng, task.within_reach)
            try:
                make_goal(env.world, scene, task, rng, aftermath=i % 6)
                solved += 1
            except PlanFailed:
                pass
    assert solved >= 0.9 * TRIALS * len(TASKS)


def test_a_demonstration_changes_one_thing_only(env):
    """No demonstration holds a whole target task."""
    for i, name in enumerate(PRIMITIVES):
        env.reset(seed=500 + i, options={"task": "demonstration", "primitive": name})
        before = env.world.state()
        demonstrate(env, name, 500 + i)
        after = env.world.state()
        moved = {
            "slide": np.linalg.norm(after.can - before.can) > 0.05,
            "block": np.linalg.norm(after.block - before.block) > 0.05,
            "drawer": abs(after.drawer_opening - before.drawer_opening) > 0.05,
        }
        kind = {"open": "drawer", "close": "drawer"}.get(name, name.split("_")[0])
        assert {k for k, v in moved.items() if v} == {kind}
