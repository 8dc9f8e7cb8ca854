# SPDX-License-Identifier: Apache-2.0
"""collect, pretrain, practice and evaluate as a user calls them, on the toy environment."""

import json
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from ptp_bringup import share_folder
from ptp_cli.commands import training
from ptp_cli.main import main
from ptp_cli.options import config_file
from ptp_core.agents import registry
from ptp_core.agents.ptp import PtpMethod
from ptp_core.agents.registry import build_agent, checkpoint_for, methods
from ptp_core.config import BaselinesConfig, load_config, to_dict
from ptp_core.data.dataset import Dataset
from ptp_core.errors import CheckpointError
from ptp_core.toy_agent import register_toy, save_toy
from ptp_core.training.checkpoint import load_checkpoint
from ptp_core.training.classifier_retraining import STAGES
from ptp_core.training.instructed_training import INSTRUCTED_METHODS
from ptp_core.training.state_training import LEARNERS

TRAINING = """
threads: 1
data: {env: "ptp_core.toy_env:make_env", trajectories: 10, steps: 20, num_envs: 1}
vqvae:
  {codebook_size: 32, hidden_channels: 8, stem_channels: 4, residual_channels: 4,
   residual_blocks: 1, batch_size: 8, steps: 3}
generators:
  hidden_channels: 4
  hidden_units: 16
  steps: 2
  batch_size: 4
  dt15: {minimum: 2, maximum: 3, unroll: 2}
  dt30: {minimum: 4, maximum: 5, unroll: 2}
  dt60: {mode: final, minimum: 3, maximum: 3, unroll: 1}
iql: {policy_hidden: [16], q_hidden: [16], value_hidden: [16], batch_size: 8, steps: 3}
planner: {samples: 4, iterations: 1}
"""


def ptp(*arguments):
    """Run a command line; return its exit status."""
    return main([str(argument) for argument in arguments])


BASELINES = """
vae: {z_dim: 4, hidden_units: 16, batch_size: 4, steps: 3}
midpoints: {z_dim: 2, hidden_channels: 4, hidden_units: 16, depth: 2, batch_size: 4, steps: 3}
leap: {subgoals: 1, samples: 4, iterations: 2}
gcp: {depth: 2, samples: [2, 2]}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    (folder / "tiny.yaml").write_text(TRAINING)
    config, data, out = folder / "tiny.yaml", folder / "data", folder / "run"
    assert ptp("collect", "--config", config, "--out", data) == 0
    assert ptp("pretrain", "--config", config, "--data", data, "--out", out) == 0
    return folder


def last_lines(capsys):
    """Where the command says that its results are, and what comes next."""
    *_, results, following = capsys.readouterr().out.splitlines()
    return results, following


@pytest.fixture
def toy(trained):
    return (
        *("--env", "ptp_core.toy_env:make_env", "--max-steps", 8, "--episodes", 1),
        *("--checkpoint", trained / "run" / "checkpoint"),
    )


def test_collect_shows_several_primitives_in_one_scene_where_asked_to(tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(TRAINING)
    data = tmp_path / "data"
    words = ("collect", "--config", tmp_path / "tiny.yaml", "--out", data, "--chain", 2, 3)
    assert ptp(*words) == 0
    shown = [len(known.segments) for known in Dataset(data).load().metadata]
    assert set(shown) <= {1, 2, 3} and max(shown) > 1
    printed = capsys.readouterr().out
    assert f"{len(shown)} trajectories" in printed
    told = f"ptp pretrain --config {tmp_path / 'tiny.yaml'} --data {data} --out runs/data"
    assert printed.splitlines()[-2:] == [f"results: {data}", f"next: {told}"]
    assert ptp(*words[:-2], 3, 2) == 2
    assert "chain" in capsys.readouterr().err


def test_from_nothing_to_figures(trained, toy, tmp_path, capsys):
    output = tmp_path / "new" / "figures.json"
    planner = trained / "tiny.yaml"
    arguments = ("--tasks", "A", "B", "--seed", 7, "--protocol", "varied", "--num-envs", 1)
    assert ptp("evaluate", *toy, *arguments, "--planner", planner, "--json", output) == 0
    result = json.loads(output.read_text())
    assert list(result["tasks"]) == ["A", "B"]
    assert result["tasks"]["A"]["episodes"] == 1
    assert (result["seed"], result["protocol"]) == (7, "varied")
    assert result["planner"]["samples"] == 4
    assert result["follower"]["sample_actions"]
    printed = capsys.readouterr().out
    assert "95 % interval" in printed
    assert "mean" in printed
    assert printed.splitlines()[-2:] == [f"results: {output}", f"next: ptp report {output}"]


def test_options_reach_the_episodes(toy, tmp_path):
    output = tmp_path / "figures.json"
    options = ("--method", "model_free", "--actions", "mean", "--env-arg", "max_steps=5")
    options += ("--subgoal-steps", 3)
    assert ptp("evaluate", *toy, "--tasks", "A", "--num-envs", 1, *options, "--json", output) == 0
    result = json.loads(output.read_text())
    assert result["method"] == "model_free"
    assert not result["follower"]["sample_actions"]
    assert result["follower"]["timeout"] == 3
    assert result["tasks"]["A"]["runs"][0]["steps"] == 5


def test_commands_can_be_carried_out_by_the_arm_driver(trained, tmp_path):
    checkpoint = ("--checkpoint", trained / "run" / "checkpoint", "--env-arg", "grasp=physical")
    words = (*checkpoint, "--tasks", "A", "--episodes", 1, "--num-envs", 1, "--max-steps", 6)
    found = {}
    for through in ("table", "arm_driver"):
        output = tmp_path / f"{through}.json"
        assert ptp("evaluate", *words, "--through", through, "--json", output) == 0
        found[through] = json.loads(output.read_text())
    table, driven = found["table"], found["arm_driver"]
    assert (table["env"], table["env_kwargs"]) == (
        "ptp_sim.env:make_env",
        {"grasp": "physical"},
    )
    assert driven["env"] == "ptp_sim.driven_env:make_env"
    robot = driven["env_kwargs"].pop("robot")
    assert (robot["name"], robot["limits"]["step"]) == ("sim_joint", 0.05)
    for result in (table, driven):
        assert result["tasks"]["A"]["runs"][0]["steps"] == 6
        del result["env"], result["tasks"], result["mean_success_rate"]
    assert driven == table


def test_a_run_is_not_overwritten_but_resumed(trained, capsys):
    config, data, out = trained / "tiny.yaml", trained / "data", trained / "run"
    arguments = ("--config", config, "--data", data, "--out", out)
    assert ptp("pretrain", *arguments) == 2
    assert "go on with --resume" in capsys.readouterr().err
    manifest = out / "checkpoint" / "manifest.json"
    before = json.loads(manifest.read_text())["parts"]
    assert ptp("pretrain", *arguments, "--resume") == 0
    told = f"ptp evaluate --checkpoint {out / 'checkpoint'} --env ptp_core.toy_env:make_env"
    assert last_lines(capsys) == (f"results: {out}", f"next: {told}")
    assert json.loads(manifest.read_text())["parts"] == before


INSTRUCTED = """
threads: 1
text: {kind: learned, dimensions: 4}
backward: {hidden_factor: 0.02, batch_size: 4, steps: 2}
policy:
  channels: 4
  condition_units: 8
  head: {hidden_units: 8, blocks: 1, sampling_steps: 2}
  fusion: {blocks: 1, feedforward: 8}
  batch_size: 4
  steps: 2
"""


def test_lbp_from_the_same_data_with_the_same_encoder(trained, tmp_path, capsys):
    config, out = tmp_path / "tiny.yaml", tmp_path / "run"
    config.write_text(INSTRUCTED)
    assert set(training.INSTRUCTED) == set(INSTRUCTED_METHODS)
    encoder = trained / "run" / "checkpoint"
    words = ("pretrain-lbp", "--config", config, "--data", trained / "data", "--out", out)
    assert ptp(*words, "--encoder", encoder) == 0
    assert f"{out / 'lbp'}: finished" in capsys.readouterr().out
    made = load_checkpoint(out / "lbp")
    assert (made.agent, made.encoder_id) == ("lbp", load_checkpoint(encoder).encoder_id)
    assert made.spec.proprioception == ("hand_x", "hand_y")
    assert ptp(*words) == 2
    assert "go on with --resume" in capsys.readouterr().err
    assert ptp(*words, "--encoder", encoder, "--resume", "--methods", "lbp", "lcbc") == 0
    assert load_checkpoint(out / "lcbc").spec.goals == ("language",)
    words = ("--env", "ptp_core.toy_env:make_env", "--episodes", 1, "--max-steps", 3)
    words = ("evaluate", *words, "--tasks", "A", "--checkpoint", out / "lbp", "--num-envs", 1)
    assert ptp(*words, "--method", "lbp_goal_image") == 0


CLASSIFIER = """
classifier: {channels: 4, hidden_units: 8, batch_size: 4, steps: 2}
tolerance: {batch_size: 4, steps: 1}
single_legs: {channels: 4, hidden_units: 8, batch_size: 4, steps: 1}
"""


def test_another_classifier_for_a_checkpoint_whose_other_networks_stay(trained, tmp_path, capsys):
    config, out = tmp_path / "tiny.yaml", tmp_path / "run"
    config.write_text(TRAINING)
    given = trained / "run" / "checkpoint"
    words = ("retrain-classifier", "--config", config, "--checkpoint", given, "--out", out)
    words = (*words, "--data", trained / "data")
    assert ptp(*words) == 2
    assert "classifier.steps is 0" in capsys.readouterr().err and not out.exists()
    config.write_text(TRAINING + CLASSIFIER)
    assert ptp(*words) == 0
    told = f"ptp evaluate --checkpoint {out / 'checkpoint'}"
    assert last_lines(capsys) == (f"results: {out}", f"next: {told}")
    before, after = load_checkpoint(given), load_checkpoint(out / "checkpoint")
    added = {"classifier", "strict_classifier", "single_legs"}
    assert {*after.parts} == {*before.parts, *added}
    assert {**after.sha256, **before.sha256} == after.sha256
    assert (after.agent, after.encoder_id) == (before.agent, before.encoder_id)
    assert after.config.classifier.steps == 2 and after.config.iql == before.config.iql
    assert after.metrics["classifier"]["trajectories"] == before.metrics["trajectories"]
    assert "validation/accuracy" in after.metrics["tolerance"]
    assert ptp(*words) == 2 and "go on with --resume" in capsys.readouterr().err
    assert ptp(*words, "--resume") == 0
    assert load_checkpoint(out / "checkpoint").sha256 == after.sha256


def test_later_classifiers_alone_beside_those_that_a_checkpoint_has(trained, tmp_path, capsys):
    assert training.CLASSIFIER_STAGES == STAGES
    config, out = tmp_path / "tiny.yaml", tmp_path / "run"
    config.write_text(TRAINING + CLASSIFIER)
    words = ("retrain-classifier", "--config", config, "--data", trained / "data")
    given = trained / "run" / "checkpoint"
    again = (*words, "--seed", 1, "--from")
    assert ptp(*again, "single_legs", "--checkpoint", given, "--out", out) == 2
    assert "no part classifier" in capsys.readouterr().err and not out.exists()
    assert ptp(*words, "--checkpoint", given, "--out", out) == 0
    before = load_checkpoint(out / "checkpoint").sha256
    for start, trained_again in (
        ("single_legs", {"single_legs"}),
        ("tolerance", {"classifier", "single_legs"}),
    ):
        other = tmp_path / start
        assert ptp(*again, start, "--checkpoint", out / "checkpoint", "--out", other) == 0
        after = load_checkpoint(other / "checkpoint").sha256
        changed = {name for name in before if before[name] != after[name]}
        assert set(after) == set(before) and changed == {
            f"{name}.safetensors" for name in trained_again
        }
        assert (other / start).is_dir() and not (other / "classifier").exists()


STATE_DATA = """
data: {env: "ptp_core.toy_env:make_state_env", trajectories: 3, steps: 8, num_envs: 1}
"""
STATES = """
gciql: {hidden: [8], batch_size: 4, steps: 2}
hiql: {hidden: [8], batch_size: 4, steps: 2}
"""


def test_methods_that_learn_from_states_from_data_to_evaluation(tmp_path, capsys):
    assert set(training.STATE_METHODS) == set(LEARNERS)
    env = ("--env", "ptp_core.toy_env:make_state_env")
    config, data, out = tmp_path / "tiny.yaml", tmp_path / "states", tmp_path / "run"
    config.write_text(STATE_DATA)
    assert ptp("collect", "--config", config, "--out", data, *env) == 0
    told = f"ptp pretrain-states --data {data} --out runs/states"
    assert last_lines(capsys) == (f"results: {data}", f"next: {told}")
    assert ptp("pretrain", "--config", config_file("varied"), "--data", data, "--out", out) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("ptp pretrain: the data have no images") and "pretrain-states" in line
    config.write_text(STATES)
    words = ("pretrain-states", "--config", config, "--data", data, "--out", out)
    assert ptp(*words) == 0
    told = f"ptp evaluate --checkpoint {out / 'gciql'} --env {env[1]}"
    assert last_lines(capsys) == (f"results: {out}", f"next: {told}")
    assert ptp(*words) == 2 and "go on with --resume" in capsys.readouterr().err
    assert ptp(*words, "--resume", "--methods", "hiql") == 0
    words = (*env, "--tasks", "A", "--episodes", 1, "--max-steps", 3, "--num-envs", 1)
    output = tmp_path / "figures.json"
    assert ptp("evaluate", *words, "--checkpoint", out / "hiql", "--json", output) == 0
    assert json.loads(output.read_text())["method"] == "hiql"
    words = (*env, "--task", "A", "--checkpoint", out / "hiql", "--out", tmp_path / "practice")
    assert ptp("practice", *words) == 2
    assert "hiql learns from demonstrations alone" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["pretrain", "pretrain-baselines"])
def test_nothing_cannot_be_resumed(trained, tmp_path, capsys, command):
    out = tmp_path / "new"
    words = ("--config", trained / "tiny.yaml", "--data", trained / "data", "--out", out)
    if command == "pretrain-baselines":
        words = ("--checkpoint", trained / "run" / "checkpoint", *words[2:])
    assert ptp(command, *words, "--resume") == 2
    line = f"{out} holds no run to go on with: leave --resume out to begin one"
    assert line in capsys.readouterr().err
    assert not out.exists()


def test_baselines_from_the_same_data_for_the_same_policy(trained, toy, tmp_path, capsys):
    config, out = tmp_path / "tiny.yaml", trained / "baselines"
    config.write_text(BASELINES)
    words = ("--checkpoint", trained / "run" / "checkpoint", "--data", trained / "data")
    words = ("pretrain-baselines", "--config", config, *words, "--out", out)
    assert ptp(*words) == 0
    leap = json.loads((out / "leap" / "manifest.json").read_text())["parts"]
    assert leap["latent_vae"]["precision"] == "float16"
    assert leap["iql"]["file"].endswith("run/checkpoint/iql.safetensors")
    assert ptp(*words) == 2
    assert "go on with --resume" in capsys.readouterr().err
    assert ptp(*words, "--resume") == 0
    assert json.loads((out / "leap" / "manifest.json").read_text())["parts"] == leap
    gcp = (out / "gcp" / "manifest.json").read_text()
    assert ptp(*words, "--resume", "--only", "gcbc") == 0
    assert (out / "gcp" / "manifest.json").read_text() == gcp
    output, toy = tmp_path / "figures.json", toy[: toy.index("--checkpoint")]
    for name, part in (("leap", "latent_vae"), ("gcbc", "policy")):
        words = ("--checkpoint", out / name, "--tasks", "A", "--num-envs", 1, "--json", output)
        assert ptp("evaluate", *toy, *words) == 0
        result = json.loads(output.read_text())
        assert (result["method"], result["tasks"]["A"]["episodes"]) == (name, 1)
        assert f"{part}.safetensors" in result["checkpoint_sha256"]
        output.unlink()
    own = ("--checkpoint", out / "gcbc")
    assert ptp("practice", *toy, *own, "--out", tmp_path / "cloned") == 2
    assert "gcbc learns from demonstrations alone" in capsys.readouterr().err
    words = ("--checkpoint", out / "gcp", "--epochs", 1)
    words = (*words, "--evaluation-episodes", 1, "--out", tmp_path / "practice")
    assert ptp("practice", *toy, *words) == 0
    found = json.loads((tmp_path / "practice" / "result.json").read_text())["evaluations"]
    assert [entry["epoch"] for entry in found] == [0, 1]
    assert load_checkpoint(tmp_path / "practice" / "checkpoint").agent == "gcp"


def test_a_method_of_ones_own_is_evaluated_by_its_checkpoint(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    register_toy()
    save_toy(tmp_path / "toy")
    output = tmp_path / "figures.json"
    words = ("--checkpoint", tmp_path / "toy", "--env", "ptp_core.toy_env:make_arm")
    words = (*words, "--tasks", "up", "down", "--episodes", 2, "--max-steps", 5, "--num-envs", 1)
    assert ptp("evaluate", *words, "--json", output) == 0
    result = json.loads(output.read_text())
    assert (result["method"], result["mean_success_rate"]) == ("toy", 1.0)
    assert ptp("evaluate", *words, "--method", "model_free") == 2
    assert "no iql, which model_free needs; it has toy_layer" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "practice"])
def test_the_help_lists_every_method(command, capsys):
    with pytest.raises(SystemExit):
        ptp(command, "--help")
    printed = " ".join(capsys.readouterr().out.split())
    assert all(f"{name}: {method.summary}" in printed for name, method in methods().items())
    assert "gcp and leap have theirs in their checkpoints" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "leap", "--planner", "fast"), "for the ptp methods; leap takes its own"),
        (("--method", "gcp"), "run/checkpoint: no midpoints, which gcp needs; it has generators"),
        (("--method", "gcbc", "--subgoals", "random"), "random subgoals are for methods that pl"),
        (
            ("--method", "ptp_no_hierarchy", "--planner", config_file("paper")),
            'plans with "levels" 1, but the planner settings',
        ),
        (("--env-arg", "grasp"), "NAME=VALUE"),
        (("--num-envs", 0), "--num-envs is 0"),
        (("--planner", "quickest"), "neither a preset"),
        (("--plan-buffer", "plans", "--num-envs", 2), "one environment"),
        (("--env", "nowhere:env"), "nowhere:env"),
        (("--checkpoint", "nowhere"), "no checkpoint"),
        (("--through", "arm_driver"), "--through arm_driver is for the simulated table"),
    ],
)
def test_wrong_arguments_are_one_clear_line(toy, arguments, message, capsys):
    assert ptp("evaluate", *toy, *arguments) == 2
    line = capsys.readouterr().err
    assert message in line
    assert line.startswith("ptp evaluate: ")
    assert line.count("\n") == 1


def test_the_option_for_baselines_names_the_one_of_today(toy, capsys):
    with pytest.raises(SystemExit):
        ptp("evaluate", *toy, "--method", "leap", "--baselines", "models/baselines")
    assert "--baselines is now --checkpoint, the folder" in capsys.readouterr().err


def test_the_released_checkpoint_is_the_one_in_models(tmp_path, monkeypatch):
    monkeypatch.setattr(share_folder, "shared_root", lambda: tmp_path)
    with pytest.raises(CheckpointError, match="--checkpoint"):
        share_folder.released_checkpoint()
    for name in ("another", "table"):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "manifest.json").touch()
    assert share_folder.released_checkpoint() == folder


def test_the_released_settings_are_those_of_ptp_single_subgoal_and_of_no_other_method():
    checkpoint = load_checkpoint(share_folder.released_checkpoint())
    assert checkpoint.agent == "ptp_single_subgoal"
    stored = to_dict(checkpoint.config)
    found = {
        name: build_agent(name, checkpoint).settings
        for name, method in methods().items()
        if isinstance(method, PtpMethod) and "chunked" not in method.parts
    }
    single, ptp_ = (found[name]["planner"] for name in ("ptp_single_subgoal", "ptp"))
    assert {key: single[key] for key in stored["planner"]} == stored["planner"]
    timeouts = [found[name]["follower"]["timeout"] for name in ("ptp_single_subgoal", "ptp")]
    assert timeouts == [stored["follower"]["timeout"], 30] == [150, 30]
    assert (ptp_["levels"], ptp_["subgoals"]) == (3, 8)
    assert ptp_["levels"] > found["ptp_no_hierarchy"]["planner"]["levels"]


@pytest.mark.parametrize("name", ["leap", "gcp", "gcbc"])
def test_the_released_baselines_share_the_released_encoder_and_policy(name):
    base = load_checkpoint(share_folder.released_checkpoint())
    released = load_checkpoint(checkpoint_for(name, share_folder.released_checkpoint()))
    assert (released.agent, released.encoder_id) == (name, base.encoder_id)
    assert released.encoder.stored.path == base.encoder.stored.path
    config = load_config(config_file("baselines"), cls=BaselinesConfig)
    agent = build_agent(name, released)
    if name == "gcbc":
        assert agent.planner is None
        return
    assert released.parts["iql"].stored.path == base.parts["iql"].stored.path
    assert getattr(released.config, name) == getattr(config, name)
    codes = torch.randint(512, (2, 144), generator=torch.Generator().manual_seed(0))
    plan = agent.planner.plan(*base.vqvae.lookup(codes), torch.Generator().manual_seed(0))
    assert plan.codes.shape == ({"leap": 4, "gcp": 8}[name], 144)


def test_ctrl_c_leaves_finished_episodes_to_go_on_from(toy, tmp_path):
    output = tmp_path / "figures.json"
    arguments = [*toy, "--tasks", "A", "--episodes", 10_000, "--num-envs", 1, "--json", output]
    process = subprocess.Popen(
        [sys.executable, "-m", "ptp_cli", "evaluate", *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
    )
    partial = tmp_path / "figures.json.partial"
    for line in process.stderr:  # the progress bar, one line an update with carriage returns
        if partial.exists() and partial.read_text().count("\n") > 2:
            break
        assert process.poll() is None, line
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=60)[1]
    assert process.returncode == 130, rest
    assert "repeat the command" in rest
    assert partial.read_text().endswith("\n")


def test_practice_that_was_killed_goes_on_and_ends_as_if_it_had_not_been(trained, toy, tmp_path):
    words = ["practice", *toy, "--demonstrations", trained / "data", "--seed", 3]
    words += ["--planner", trained / "tiny.yaml", "--protocol", "varied", "--epochs", 3]
    words += ["--evaluate-every", 1, "--evaluation-episodes", 1]
    out = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "ptp_cli", *map(str, words), "--out", str(out)],
        stderr=subprocess.DEVNULL,
    )
    while not (out / "epochs" / "000000").exists():
        assert process.poll() is None
    process.kill()
    process.wait()
    assert ptp(*words, "--out", out) == 0
    assert ptp(*words, "--out", tmp_path / "whole") == 0
    kept = [load_file(run / "checkpoint" / "iql.safetensors") for run in (out, tmp_path / "whole")]
    assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[0])
    found = json.loads((out / "result.json").read_text())["evaluations"]
    assert [entry["epoch"] for entry in found] == [0, 1, 2, 3]
