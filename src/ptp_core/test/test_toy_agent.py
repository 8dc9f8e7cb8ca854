# SPDX-License-Identifier: Apache-2.0
"""A method of one's own: registered, stored, loaded, run and updated like those of the project."""

import inspect
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from ptp_core import toy_agent
from ptp_core.agents import registry
from ptp_core.agents.agent import ImageGoal, Observation
from ptp_core.agents.registry import AgentOptions, agent_names, build_agent, checkpoint_for
from ptp_core.config import FollowerConfig
from ptp_core.errors import (
    CheckpointError,
    ConfigError,
    DecisionError,
    GoalError,
    InputError,
    ObservationError,
)
from ptp_core.policies.live_weights import LiveWeights, WeightsUpdate
from ptp_core.rollout.episode_results import EpisodeSeeds
from ptp_core.rollout.evaluation import EvaluationConfig, evaluate
from ptp_core.rollout.run_episode import run_episode
from ptp_core.tiny_networks import tiny_checkpoint
from ptp_core.toy_agent import register_toy, save_toy
from ptp_core.toy_env import ARM_REACHED, ToyArm, ToyEnv
from ptp_core.training.checkpoint import load_checkpoint, save_again

ARM = "ptp_core.toy_env:make_arm"
SEEDS = EpisodeSeeds(env=1, plan=2, policy=3)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    register_toy()
    save_toy(tmp_path / "toy")
    return tmp_path / "toy"


def play(agent, task, env=None):
    env = env or ToyArm(max_steps=5)
    return run_episode(env, agent, options={"task": task}, seeds=SEEDS)


def test_a_method_is_short():
    whole = inspect.getsource(toy_agent)
    method = whole[whole.index("class ToyAgent") : whole.index("def register_toy")]
    lines = [line for line in method.splitlines() if line.strip()]
    assert len(lines) < 40


def test_it_runs_from_its_checkpoint_and_follows_the_instruction(folder):
    assert "toy" in agent_names()
    checkpoint = load_checkpoint(folder)
    assert (checkpoint.agent, checkpoint.encoder, checkpoint.encoder_id) == ("toy", None, "")
    assert checkpoint.spec == toy_agent.SPEC
    agent = build_agent("toy", checkpoint)
    results = [play(agent, task) for task in ("up", "down")]
    assert [(one.success, one.first_success) for one in results] == [(True, 3)] * 2
    assert results[0].final_distance is None and results[0].plan_seconds is None


def test_it_is_evaluated_in_processes_of_their_own(folder):
    config = EvaluationConfig(
        checkpoint=folder,
        env="ptp_core.toy_env:make_arm",
        env_kwargs={"max_steps": 5},
        tasks=("up", "down"),
        episodes=2,
    )
    results = [evaluate(config, num_envs=number, progress=False) for number in (0, 1)]
    for result in results:
        assert result["method"] == "toy" and result["mean_success_rate"] == 1.0
        assert set(result["checkpoint_sha256"]) == {"toy_layer.safetensors"}


class StagedArm(ToyArm):
    """The toy arm whose tasks have three stages: a third, two thirds and all of the way."""

    def _info(self):
        way = 1.0 if self._task == "up" else -1.0
        done = int(np.clip((way * self._joints).min() / ARM_REACHED * 3, 0, 3))
        return {**super()._info(), "stages_reached": done, "stages": 3}


def test_stages_are_scored_beside_success(folder):
    common = {"checkpoint": folder, "env": f"{__name__}:StagedArm", "episodes": 2}
    for steps, score, rates in ((1, 1 / 3, [1.0, 0.0, 0.0]), (5, 1.0, [1.0, 1.0, 1.0])):
        config = EvaluationConfig(**common, tasks=("up",), env_kwargs={"max_steps": steps})
        result = evaluate(config, num_envs=0, progress=False)
        figures = result["tasks"]["up"]
        assert figures["success_rate"] == (score == 1.0)
        assert figures["stages"]["score"] == result["mean_stage_score"] == pytest.approx(score)
        assert figures["stages"]["rates"] == rates
        assert "privileged" in figures["stages"]["judged_by"]
        assert [run["stages_reached"] for run in figures["runs"]] == [round(3 * score)] * 2
    plain = EvaluationConfig(**{**common, "env": ARM}, tasks=("up",), max_steps=2)
    result = evaluate(plain, num_envs=0, progress=False)
    assert "mean_stage_score" not in result and "stages" not in result["tasks"]["up"]


def test_paraphrases_are_told_in_turn_instead_of_the_instruction(folder, tmp_path):
    common = {"checkpoint": folder, "env": ARM, "env_kwargs": {"max_steps": 5}, "episodes": 3}
    output = tmp_path / "words.json"
    told = {}
    for paraphrases in (False, True):
        config = EvaluationConfig(**common, tasks=("up",), paraphrases=paraphrases)
        result = evaluate(config, num_envs=0, progress=False, output=output)
        told[paraphrases] = [run["instruction"] for run in result["tasks"]["up"]["runs"]]
        assert result.get("paraphrases", False) is paraphrases
    first, second = ToyArm.paraphrases["up"]
    assert told == {False: ["move all joints up"] * 3, True: [first, second, first]}


def test_paraphrases_need_a_method_and_an_environment_with_words(folder, tmp_path):
    tiny_checkpoint(tmp_path / "table")
    toy = {"env": "ptp_core.toy_env:make_env", "paraphrases": True}
    with pytest.raises(InputError, match="model_free takes no instructions"):
        EvaluationConfig(**toy, checkpoint=tmp_path / "table", method="model_free").check()
    with pytest.raises(InputError, match='declares no paraphrases of task "A"'):
        evaluate(EvaluationConfig(**toy, checkpoint=folder), num_envs=0, progress=False)


def test_its_weights_are_updated_while_it_acts(folder, tmp_path):
    checkpoint = load_checkpoint(folder)
    agent = build_agent(checkpoint.agent, checkpoint)
    live = LiveWeights(agent.learned, checkpoint.encoder_id)
    save_toy(tmp_path / "lazy", gain=0.1)
    lazy = load_checkpoint(tmp_path / "lazy").part("toy_layer")
    assert live.stage(WeightsUpdate.of(lazy, 1, checkpoint.encoder_id)) and live.swap()
    assert not play(agent, "up").success
    save_again(tmp_path / "learned", checkpoint, {})
    again = load_checkpoint(tmp_path / "learned")
    assert again.sha256 == load_checkpoint(tmp_path / "lazy").sha256


def test_what_does_not_fit_is_one_clear_error(folder, tmp_path):
    agent = build_agent("toy", load_checkpoint(folder))
    with pytest.raises(InputError, match=r"ToyEnv takes 5 numbers as action .* toy gives 7"):
        play(agent, "A", ToyEnv())
    with pytest.raises(GoalError, match="toy takes language goals, not a goal of kind image"):
        agent.reset(Observation(), ImageGoal({}), None)
    blind = Observation({"front": np.zeros((32, 48, 3), np.uint8)})
    with pytest.raises(ObservationError, match='no image of camera "wrist"'):
        agent.act(blind)
    with pytest.raises(CheckpointError, match="no generators, which ptp needs; it has toy_layer"):
        build_agent("ptp", load_checkpoint(folder))
    with pytest.raises(ConfigError, match="methods that pursue subgoals; toy has its own"):
        build_agent("toy", load_checkpoint(folder), AgentOptions(follower=FollowerConfig()))
    tiny_checkpoint(tmp_path / "table")
    assert checkpoint_for("toy", tmp_path / "table") == folder
    for name in ("vqvae", "iql"):
        with pytest.raises(CheckpointError):
            getattr(load_checkpoint(folder), name)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.full((7, 10), torch.nan), "toy gave an action with values that are not finite"),
        (torch.ones(6, 10), r"toy gave an action of shape \(6,\); its spec names 7 numbers"),
    ],
)
def test_an_action_that_is_not_what_the_spec_says_ends_the_episode(folder, weights, message):
    agent = build_agent("toy", load_checkpoint(folder))
    agent.learned.weight = torch.nn.Parameter(weights, requires_grad=False)
    with pytest.raises(DecisionError, match=message):
        play(agent, "up")


def test_an_installed_package_brings_methods_and_parts_by_its_entry_points(folder, tmp_path):
    about = tmp_path / "toys" / "toys-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1\n")
    (about / "entry_points.txt").write_text(
        "[ptp.agents]\ntoy = ptp_core.toy_agent:TOY\n"
        "[ptp.parts]\ntoy_layer = ptp_core.toy_agent:TOY_LAYER\n"
    )
    code = (
        "import sys; from ptp_core.training.checkpoint import load_checkpoint; "
        "from ptp_core.agents.registry import build_agent; found = load_checkpoint(sys.argv[1]); "
        "print(type(build_agent(found.agent, found)).__name__)"
    )
    command = [sys.executable, "-c", code, str(folder)]
    path = os.pathsep.join([str(about.parent), *sys.path])
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.stdout == "ToyAgent\n", done.stderr
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert 'a part of type "toy_layer"' in done.stderr
