# SPDX-License-Identifier: Apache-2.0
"""What `lerobot-eval` does with an environment, on the toy environment and without LeRobot."""

import importlib.util
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from ptp_core.errors import InputError

PACKAGE = Path(__file__).resolve().parents[1] / "lerobot_env_ptp"


def load():
    """The module alone: the package imports LeRobot."""
    name = "lerobot_env_ptp_lerobot_table"
    spec = importlib.util.spec_from_file_location(name, PACKAGE / "lerobot_table.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


MODULE = load()
TOY = "ptp_core.toy_env:make_env"


def make(**options):
    return MODULE.LerobotTable(factory=TOY, **options)


def test_observations_are_those_of_its_space():
    env = make(goal_image=True)
    seen, info = env.reset(seed=1, options={"lerobot_new_rollout": True})
    assert env.observation_space.contains(seen)
    assert set(seen["pixels"]) == {"camera", "goal"} and seen["agent_pos"].shape == (2,)
    assert info == {"is_success": False}
    assert np.array_equal(seen["pixels"]["camera"], env.render())
    assert not np.array_equal(seen["pixels"]["goal"], seen["pixels"]["camera"])


def test_the_same_seed_is_the_same_scene():
    env = make(protocol="varied")
    first, again, other = (env.reset(seed=seed)[0]["pixels"]["camera"] for seed in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def carry(env):
    """Run a script that brings the toy's block to the goal of task A; the last step's result."""
    env.reset(seed=0)
    inner = env.unwrapped._env.unwrapped
    for _ in range(200):
        near = np.linalg.norm(inner._hand - inner._block) < 4
        way = (inner._goal if near else inner._block) - inner._hand
        action = np.zeros(5, np.float32)
        action[:2], action[4] = np.clip(way / 2, -1, 1), 1.0 if near else -1.0
        result = env.step(action)
        if result[2] or result[3]:
            return result
    raise AssertionError("the script did not reach the goal")


def test_success_ends_the_episode_and_is_reported():
    _, reward, terminated, truncated, info = carry(make())
    assert (terminated, truncated, info) == (True, False, {"is_success": True})
    assert reward == 0.0


def test_a_vector_of_them_reports_success_where_lerobot_looks():
    """The vector environment and the attributes that `lerobot-eval` uses."""
    mode = gymnasium.vector.AutoresetMode.SAME_STEP
    vector = gymnasium.vector.SyncVectorEnv([make, make], autoreset_mode=mode)
    vector.reset(seed=[0, 1], options={"lerobot_new_rollout": True})
    assert vector.call("_max_episode_steps") == (400, 400)
    assert vector.call("task_description") == ("A", "A") == vector.call("task")
    vector.envs[0].unwrapped._max_episode_steps = 1
    *_, truncated, info = vector.step(np.zeros((2, 5), np.float32))
    assert list(truncated) == [True, False]
    assert info["final_info"]["is_success"].tolist() == [False, False]


def test_actions_are_cut_and_those_that_are_not_finite_refused():
    env = make()
    env.reset(seed=0)
    far, _, _, _, _ = env.step(np.array([9, 0, 0, 0, -1], np.float32))
    env.reset(seed=0)
    near, _, _, _, _ = env.step(np.array([1, 0, 0, 0, -1], np.float32))
    assert np.array_equal(far["agent_pos"], near["agent_pos"])
    with pytest.raises(InputError, match="not finite"):
        env.step(np.full(5, np.nan, np.float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"task": "Z"}, "unknown task Z"), ({"protocol": "other"}, "unknown protocol")],
)
def test_what_the_environment_lacks_is_named(options, message):
    with pytest.raises(InputError, match=message):
        make(**options)
