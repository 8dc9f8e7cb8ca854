# SPDX-License-Identifier: Apache-2.0
"""Environments that do not do what their spaces say are named before anything is stored."""

import dataclasses

import gymnasium
import numpy as np
import pytest

from ptp_core.config import DataConfig
from ptp_core.data.collect_demonstrations import collect
from ptp_core.data.env_check import (
    check_actions,
    check_expert,
    check_not_black,
    check_observation,
)
from ptp_core.data.env_spec import check_tasks, spec_of
from ptp_core.errors import InputError
from ptp_core.toy_env import ToyEnv

NAME = f"{__name__}:Wrapped"
CONFIG = DataConfig(env=NAME, trajectories=2, steps=5, num_envs=1)


class Wrapped(gymnasium.Wrapper):
    """The toy as people wrap theirs: ``fault`` says in what it differs from its spaces."""

    def __init__(self, fault="", after=0):
        super().__init__(ToyEnv())
        self._fault, self._left = fault, after

    def reset(self, **options):
        image, info = self.env.reset(**options)
        return self._change(image, info)

    def step(self, action):
        image, reward, terminated, truncated, info = self.env.step(action)
        image, info = self._change(image, info)
        return image, reward, terminated, truncated, info

    def _change(self, image, info):
        self._left -= 1
        if self._left >= 0:
            return image, info
        if self._fault == "floats":
            return image / 255, info
        if self._fault == "cast":
            return (image / 255).astype(np.uint8), info
        if self._fault == "large":
            return np.repeat(image, 2, axis=0), info
        if self._fault == "dict":
            return {"camera": image, "state": np.zeros(3)}, info
        if self._fault == "expert":
            return image, {**info, "expert_action": np.zeros(7)}
        if self._fault == "nan":
            return image, {**info, "expert_action": np.full(5, np.nan)}
        if self._fault == "goal":
            return image, {**info, "goal_image": info["goal_image"] / 255}
        return image, info


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("floats", r"the first observation is float64 \(48, 48, 3\), its space says uint8"),
        ("cast", r"the first image of camera is black, its largest value is [01]"),
        ("large", r"the first observation is uint8 \(96, 48, 3\), its space says uint8 \(48"),
        ("dict", r"the first observation is a dict with camera, state, its space says uint8"),
        ("expert", r"\"expert_action\"\] must be \(5,\) finite numbers, not float64 \(7,\)"),
        ("nan", r"\"expert_action\"\] must be \(5,\) finite numbers"),
    ],
)
def test_a_wrong_observation_is_named_before_anything_is_stored(tmp_path, fault, message):
    config = dataclasses.replace(CONFIG, env_kwargs={"fault": fault})
    with pytest.raises(InputError, match=message):
        collect(config, tmp_path / "data", progress=False)
    assert not (tmp_path / "data").exists()


def test_an_observation_that_changes_later_is_named_with_its_step(tmp_path):
    config = dataclasses.replace(CONFIG, env_kwargs={"fault": "floats", "after": 4})
    with pytest.raises(InputError, match="the observation camera is float64"):
        collect(config, tmp_path, progress=False)


def test_actions_of_another_range_are_named():
    space = gymnasium.spaces.Box(-0.05, 0.05, (5,), np.float32)
    with pytest.raises(InputError, match=r"actions go from -0.05 to 0.05; the method needs -1 to"):
        check_actions(space, "metres")


def test_a_dict_needs_the_keys_that_its_space_says():
    picture = gymnasium.spaces.Box(0, 255, (48, 48, 3), np.uint8)
    space = gymnasium.spaces.Dict({"camera": picture, "wrist": picture})
    right = {"camera": np.zeros((48, 48, 3), np.uint8), "wrist": np.zeros((48, 48, 3), np.uint8)}
    check_observation(right, space, "it", "env")
    with pytest.raises(InputError, match="it has camera, its space says camera, wrist"):
        check_observation({"camera": right["camera"]}, space, "it", "env")
    with pytest.raises(
        InputError, match=r"wrist of it is float64 \(48, 48, 3\), its space says u"
    ):
        check_observation({**right, "wrist": right["wrist"] / 1.0}, space, "it", "env")


def test_the_goal_is_looked_at_before_the_first_step(tmp_path):
    from ptp_core.rollout.evaluation import EvaluationConfig, evaluate
    from ptp_core.tiny_networks import tiny_checkpoint

    tiny_checkpoint(tmp_path / "tiny")
    config = EvaluationConfig(
        checkpoint=tmp_path / "tiny",
        env=NAME,
        env_kwargs={"fault": "goal"},
        tasks=("A",),
        episodes=1,
        method="model_free",
    )
    with pytest.raises(InputError, match="the goal image is float64, uint8 is needed"):
        evaluate(config, num_envs=0, progress=False)


def test_a_wrong_task_is_named_before_the_networks_are_loaded(tmp_path):
    from ptp_core.rollout.evaluation import EvaluationConfig, evaluate

    config = EvaluationConfig(
        checkpoint=tmp_path / "none",
        env="ptp_core.toy_env:make_env",
        method="ptp",
        tasks=("A", "D"),
    )
    with pytest.raises(InputError, match=r'unknown task "D"; ptp_core.toy_env:make_env has A, B'):
        evaluate(config, num_envs=0, progress=False)


def test_a_subclass_may_have_more_tasks_than_it_says():
    class More(ToyEnv):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=seed, options={"task": "A"})

    env = More()
    check_tasks(env, ["D"], spec_of(env, "more"))


def test_what_is_right_is_given_back():
    picture = np.full((48, 48, 3), 7, np.uint8)
    assert check_not_black(picture, "it", "env") is picture
    assert check_expert([1, 0, 0, 0, -1], "env", 5).dtype == np.float64
