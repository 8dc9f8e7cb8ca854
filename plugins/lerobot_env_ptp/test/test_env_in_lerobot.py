# SPDX-License-Identifier: Apache-2.0
"""The environment as LeRobot makes it; only where LeRobot is installed."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("lerobot", reason="lerobot is not installed")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from lerobot.envs import env_to_policy_features, make_env, make_env_config, preprocess_observation

import lerobot_env_ptp  # noqa: F401  (registers the environment)

TOY = {"factory": "ptp_core.toy_env:make_env", "state_size": 2}


def test_lerobot_makes_the_environment_and_reads_its_observations():
    config = make_env_config("ptp_table", goal_image=True, **TOY)
    vector = make_env(config, n_envs=2)["ptp_table"][0]
    observation, _ = vector.reset(seed=[0, 1], options={"lerobot_new_rollout": True})
    read = preprocess_observation(observation)
    features = env_to_policy_features(config)
    assert {name for name in features if name != "action"} == set(read)
    for name, value in read.items():
        assert tuple(value.shape) == (2, *features[name].shape)
        assert value.dtype == torch.float32
    vector.close()


def test_each_worker_of_lerobot_knows_the_environment():
    """Workers are processes that know only what they import."""
    config = make_env_config("ptp_table", **TOY)
    vector = make_env(config, n_envs=2, use_async_envs=True)["ptp_table"][0]
    vector.reset(seed=[0, 1])
    assert list(vector.call("task")) == ["A", "A"]
    vector.close()
