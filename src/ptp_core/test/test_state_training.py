# SPDX-License-Identifier: Apache-2.0
"""From data without images to agents that pursue goal states: training, resumption, errors."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from ptp_core.agents.agent import AgentSeeds, ImageGoal, Observation, StateGoal
from ptp_core.agents.registry import build_agent
from ptp_core.config import DataConfig, GCIQLConfig, HIQLConfig, StateTrainConfig, load_config
from ptp_core.data.collect_demonstrations import collect
from ptp_core.data.dataset import Dataset, DatasetWriter
from ptp_core.data.state_dataset import load_states
from ptp_core.data.trajectory import Trajectory
from ptp_core.errors import (
    CheckpointError,
    ConfigError,
    DatasetError,
    GoalError,
    InputError,
    ObservationError,
    SpecError,
)
from ptp_core.rollout.evaluation import EvaluationConfig, evaluate
from ptp_core.tiny_networks import tiny_checkpoint
from ptp_core.training.checkpoint import load_checkpoint
from ptp_core.training.state_training import pretrain_states

ENV = "ptp_core.toy_env:make_state_env"
SMALL = {"hidden": (16,), "batch_size": 16, "steps": 6}
CONFIG = StateTrainConfig(
    log_every=3, gciql=GCIQLConfig(**SMALL), hiql=HIQLConfig(**SMALL, subgoal_steps=5)
)
NAMES = ("hand_x", "hand_y", "block_x", "block_y")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    collect(DataConfig(env=ENV, trajectories=4, steps=15, num_envs=1), folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "both"
    train(data, out)
    return out


def train(data, out, config=CONFIG, **options):
    return pretrain_states(config, data, out, progress=False, **options)


def shorter(config, steps):
    parts = {
        name: dataclasses.replace(getattr(config, name), steps=steps) for name in ("gciql", "hiql")
    }
    return dataclasses.replace(config, **parts)


def same(one, other):
    states = [load_checkpoint(folder).modules() for folder in (one, other)]
    pairs = [
        (value, states[1][name].state_dict()[key])
        for name, module in states[0].items()
        for key, value in module.state_dict().items()
    ]
    return all(torch.equal(*pair) for pair in pairs)


def agent(run, name):
    return build_agent(name, load_checkpoint(run / name))


def observation(state=(0.0, 0.1, 0.2, 0.3)):
    return Observation(proprioception=np.array(state, np.float32))


def test_training_ends_with_a_checkpoint_of_each_method(run):
    metrics = json.loads((run / "metrics.json").read_text())
    assert load_config(run / "config.yaml", StateTrainConfig) == CONFIG
    assert (metrics["trajectories"], metrics["frames"]) == (4, 60)
    for name in ("gciql", "hiql"):
        loaded = load_checkpoint(run / name)
        assert (loaded.agent, loaded.encoder, loaded.spec.cameras) == (name, None, ())
        assert loaded.spec.goals == ("state",) and loaded.spec.proprioception == NAMES
        assert loaded.config == CONFIG
        assert metrics[name]["steps"] == 6 and metrics[name]["validation/value/loss"] >= 0
        assert list((run / "training" / name).glob("events.out.tfevents.*"))


def test_a_resumed_training_equals_an_uninterrupted_one(data, run, tmp_path):
    for name in ("gciql", "hiql"):  # one after the other: methods are added
        train(data, tmp_path, shorter(CONFIG, 3), methods=(name,))
    assert not same(tmp_path / "hiql", run / "hiql")
    train(data, tmp_path)
    for name in ("gciql", "hiql"):
        assert same(tmp_path / name, run / name)


def test_an_evaluation_pursues_the_environments_goal_states(run):
    for name in ("gciql", "hiql"):
        config = EvaluationConfig(checkpoint=run / name, env=ENV, episodes=1, max_steps=3)
        result = evaluate(config, num_envs=0, progress=False)
        assert result["method"] == name and set(result["tasks"]) == {"A", "B", "C"}
        assert result["tasks"]["A"]["runs"][0]["steps"] == 3
        assert np.isfinite(result["tasks"]["A"]["final_distance"])  # -V


@pytest.mark.parametrize("name", ["gciql", "hiql"])
def test_an_agent_does_what_its_networks_say(run, name):
    acting = agent(run, name)
    goal = StateGoal(np.array([0.5, 0.5, -0.5, -0.5], np.float32))
    acting.reset(observation(), goal, AgentSeeds(0, 0))
    decision = acting.act(observation())
    states, goals = (torch.from_numpy(x)[None] for x in (observation().proprioception, goal.state))
    with torch.no_grad():
        wanted, value = acting.learned.act(states, goals), acting.learned.value(states, goals)
    np.testing.assert_array_equal(decision.action, wanted[0].numpy())
    assert decision.action.shape == (5,) and np.abs(decision.action).max() <= 1
    assert acting.distance(observation()) == pytest.approx(-float(value))
    other = StateGoal(-goal.state)
    acting.reset(observation(), other, AgentSeeds(0, 0))
    assert (acting.act(observation()).action != decision.action).any()


def test_what_an_agent_cannot_use_is_one_line(run):
    acting = agent(run, "hiql")
    with pytest.raises(InputError, match="no goal yet: call reset"):
        acting.act(observation())
    with pytest.raises(GoalError, match="hiql takes state goals, not a goal of kind image"):
        acting.reset(observation(), ImageGoal({}), AgentSeeds(0, 0))
    with pytest.raises(GoalError, match=r"the goal state must be 4 finite numbers \(hand_x"):
        acting.reset(observation(), StateGoal(np.zeros(3, np.float32)), AgentSeeds(0, 0))
    goal = StateGoal(np.zeros(4, np.float32))
    with pytest.raises(GoalError, match="no given subgoals: leave them out"):
        acting.reset(observation(), goal, AgentSeeds(0, 0), subgoals=(goal,))
    acting.reset(observation(), goal, AgentSeeds(0, 0))
    with pytest.raises(ObservationError, match="hiql needs proprioception of 4 numbers"):
        acting.act(Observation())


def test_methods_and_environments_that_do_not_fit_say_so(run, tmp_path):
    tiny_checkpoint(tmp_path / "table")
    blind = EvaluationConfig(
        checkpoint=tmp_path / "table", method="model_free", env=ENV, tasks=("A",)
    )
    elsewhere = EvaluationConfig(
        checkpoint=run / "gciql", env="ptp_core.toy_env:make_env", tasks=("A",)
    )
    with pytest.raises(SpecError, match="gives goals of kind state; model_free takes image, lat"):
        evaluate(blind, num_envs=0, progress=False)
    with pytest.raises(SpecError, match="gciql needs hand_x, hand_y, block_x, block_y"):
        evaluate(elsewhere, num_envs=0, progress=False)
    with pytest.raises(CheckpointError, match="no gciql, which gciql needs; it has hiql"):
        build_agent("gciql", load_checkpoint(run / "hiql"))


def test_a_run_keeps_its_data_and_settings(data, run, tmp_path):
    with pytest.raises(ConfigError, match='no method "ptp" that learns from states; there are g'):
        train(data, tmp_path / "new", methods=("ptp",))
    other = dataclasses.replace(CONFIG, gciql=dataclasses.replace(CONFIG.gciql, expectile=0.7))
    with pytest.raises(CheckpointError, match=r"trained with other settings: .*expectile"):
        train(data, run, other)
    more = dataclasses.replace(CONFIG, seed=1)
    with pytest.raises(InputError, match="seed"):
        train(data, run, more)


def written(folder, count, proprioception):
    writer = DatasetWriter(folder, {"env": "none"})
    for index in range(count):
        writer.add(
            Trajectory(
                index=index,
                images={"camera": np.ones((4, 8, 8, 3), np.uint8)},
                actions=np.zeros((4, 2), np.float32),
                rewards=np.zeros(4, np.float32),
                proprioception=proprioception,
            )
        )
    return folder


def test_data_without_states_or_with_too_few_are_refused(tmp_path):
    images = written(tmp_path / "images", 2, None)
    with pytest.raises(DatasetError, match="no proprioception, so there are no states to learn"):
        train(images, tmp_path / "new")
    alone = written(tmp_path / "alone", 1, np.zeros((4, 3), np.float32))
    with pytest.raises(DatasetError, match="1 trajectory is too few"):
        train(alone, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_numbers_without_names_get_some_and_images_are_left_out(tmp_path):
    states = np.arange(12, dtype=np.float32).reshape(4, 3)
    found = load_states(Dataset(written(tmp_path / "data", 3, states)))
    assert (found.state_names, found.action_names) == (("p0", "p1", "p2"), ("a0", "a1"))
    np.testing.assert_array_equal(found.states, np.concatenate([states] * 3))
    first, rest = found.split(0.5)
    assert (first.lengths.tolist(), rest.lengths.tolist()) == ([4, 4], [4])
    assert rest.starts.tolist() == [0] and len(rest.states) == 4
    assert first.content_hash() != found.content_hash()
