# SPDX-License-Identifier: Apache-2.0
"""Configuration files: defaults, round trip, and mistakes that name key, file and cure."""

import json

import pytest

from ptp_core.config import PlannerConfig, TrainConfig, from_dict, load_config, to_dict
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
        load_config(path)
    assert "broken.yaml" in str(raised.value)


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")


def test_overrides_replace_values_of_the_file(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("iql: {steps: 5, learning_rate: 1e-4}")
    config = load_config(path, {"iql.steps": 7, "vqvae.batch_size": 8})
    assert (config.iql.steps, config.vqvae.batch_size) == (7, 8)
    assert config.iql.learning_rate == 1e-4
