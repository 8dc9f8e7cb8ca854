# SPDX-License-Identifier: Apache-2.0
"""Configuration files: defaults, round trip, and mistakes that name key, file and cure."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from ptp_core.config import (
    BaselinesConfig,
    DataConfig,
    PlannerConfig,
    StateTrainConfig,
    TrainConfig,
    from_dict,
    load_config,
    to_dict,
)
from ptp_core.errors import ConfigError


def test_round_trip_through_json_keeps_every_value():
    config = TrainConfig()
    assert from_dict(TrainConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_defaults_are_the_papers_settings():
    config = TrainConfig()
    assert (config.vqvae.codebook_size, config.vqvae.hidden_channels) == (512, 128)
    assert (config.generators.z_dim, config.generators.reconstruction_weight) == (8, 1000.0)
    assert (config.iql.expectile, config.iql.temperature, config.iql.discount) == (
        0.9,
        0.01,
        0.995,
    )
    assert (config.planner.samples, config.planner.subgoals) == (1024, 8)
    assert config.planner == PlannerConfig.paper()
    assert (config.follower.distance_threshold, config.follower.timeout) == (2.0, 30)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("iql: {expectil: 0.9}", r'unknown key "iql.expectil"; did you mean "iql.expectile"'),
        ("planner: {sigmas: 3}", r'"planner.sigmas" must be a list'),
        ("iql: {reward_epsilon: autt}", r'"iql.reward_epsilon" must be a number or one of "auto"'),
        ("seed: true", r'"seed" must be an integer'),
        ("vqvae: 3", r"vqvae must be a mapping"),
        ("planner: {subgoals: 6}", r"multiple of 4"),
        ("planner: {iterations: 9}", r"one sigma an iteration"),
        ("iql: {relabelling: {future: 0.9}}", r"sum to"),
        ("iql: {discount: .nan}", r"not a number"),
        ("data: {env: ptp_sim.env}", r"module:factory"),
        ("a: [", r"not valid YAML"),
    ],
)
def test_a_mistake_names_the_file_and_the_cure(tmp_path, text, message):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as raised:
        load_config(path, TrainConfig)
    assert "broken.yaml" in str(raised.value)


def test_a_file_of_another_kind_names_the_key_and_the_cure(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("vae: {zdim: 16}")
    with pytest.raises(ConfigError, match=r'unknown key "vae.zdim"; did you mean "vae.z_dim"'):
        load_config(path, cls=BaselinesConfig)
    path.write_text("gcp: {depth: 4, samples: [1, 1, 1, 1]}")
    with pytest.raises(ConfigError, match=r"gcp.depth is 4 and midpoints.depth 3"):
        load_config(path, cls=BaselinesConfig)


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml", TrainConfig)


def test_overrides_replace_values_of_the_file(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("iql: {steps: 5, learning_rate: 1e-4}")
    config = load_config(path, TrainConfig, {"iql.steps": 7, "vqvae.batch_size": 8})
    assert (config.iql.steps, config.vqvae.batch_size) == (7, 8)
    assert config.iql.learning_rate == 1e-4


TRAIN_FILES = Path(__file__).parents[3] / "config" / "train"


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("paper", TrainConfig),
        ("best", TrainConfig),
        ("varied", TrainConfig),
        ("baselines", BaselinesConfig),
        ("ogbench_states", StateTrainConfig),
    ],
)
def test_shipped_training_files_spell_out_every_setting(name, cls):
    path = TRAIN_FILES / f"{name}.yaml"
    written = yaml.safe_load(path.read_text())

    def keys(values, prefix=""):
        for key, value in values.items():
            nested = isinstance(value, dict) and key != "env_kwargs"
            yield from keys(value, f"{prefix}{key}.") if nested else [f"{prefix}{key}"]

    assert set(keys(written)) == set(keys(to_dict(load_config(path, cls=cls))))


def test_the_papers_file_equals_the_defaults():
    config = load_config(TRAIN_FILES / "paper.yaml", TrainConfig)
    data = DataConfig(env="ptp_sim.env:make_env")  # no package below names an environment
    default = TrainConfig(data=data)
    assert dataclasses.replace(config, save_minutes=default.save_minutes) == default


def test_a_key_of_an_earlier_version_is_taken_from_checkpoints_and_named_in_files(tmp_path):
    values = {"data": {"workers": 3}}
    assert from_dict(TrainConfig, values).data.num_envs == 3
    path = tmp_path / "old.yaml"
    path.write_text("data: {workers: 3}")
    with pytest.raises(ConfigError, match=r'"data\.workers" is now "data\.num_envs"'):
        load_config(path, TrainConfig)
