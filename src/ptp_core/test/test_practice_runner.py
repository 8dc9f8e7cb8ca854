# SPDX-License-Identifier: Apache-2.0
"""Practice without ROS: interruptions change nothing, methods differ, the ratio is kept."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ptp_core.errors import CheckpointError, ConfigError, InputError, PlanCancelled
from ptp_core.practice.practice_runner import InProcessPractice
from ptp_core.practice.practice_settings import PracticeConfig, preset
from ptp_core.tiny_networks import tiny_baseline_folders, tiny_checkpoint, tiny_config
from ptp_core.training.checkpoint import load_checkpoint

EPISODES, STEPS = 2, 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    config = tiny_config(batch_size=8)
    planner = dataclasses.replace(config.planner, buffer_minimum=1)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny"
    tiny_checkpoint(path, config=dataclasses.replace(config, planner=planner))
    return path


def settings(folder, **changes):
    values = {"env": "ptp_core.toy_env:make_env", "env_kwargs": {"max_steps": STEPS}}
    values |= {"epochs": 3, "episodes": EPISODES, "max_steps": STEPS, "evaluation_episodes": 1}
    values |= {"protocol": "varied", "checkpoint": folder, "evaluate_every": 2}
    values |= {"method": "ptp", "follower": tiny_config().follower}
    return PracticeConfig(**{**dataclasses.asdict(preset("paper")), **values, **changes})


def practise(config, out, num_envs=0, threads=1, **options):
    practice = InProcessPractice(config, out, num_envs=num_envs, threads=threads)
    try:
        return practice.run(progress=False, **options)
    finally:
        practice.close()


def without_times(result):
    epochs = [
        {name: value for name, value in epoch.items() if not name.endswith("_seconds")}
        for epoch in result["epochs"]
    ]
    return {**result, "epochs": epochs}


def weights(out):
    return load_file(out / "checkpoint" / "iql.safetensors")


def after(calls):
    """Asks to stop at the call with this number."""
    left = [calls]

    def cancelled():
        left[0] -= 1
        return left[0] < 0

    return cancelled


def test_what_a_method_has_no_use_for_is_refused_before_work(folder):
    with pytest.raises(InputError, match="gcbc learns from demonstrations alone"):
        settings(folder, method="gcbc")
    with pytest.raises(InputError, match="model_free does not plan, so there are no plans"):
        settings(folder, method="model_free", reuse_plans=True)


@pytest.mark.parametrize("name", ["leap", "gcp", "ptp_no_buffer", "ptp_single_subgoal"])
def test_a_plan_library_is_kept_for_every_method_that_plans(folder, tmp_path, name):
    own = tiny_baseline_folders(folder)
    config = settings(own.get(name, folder), method=name, reuse_plans=True, epochs=1)
    practise(config, tmp_path / "run")
    plans = load_file(tmp_path / "run" / "epochs" / "000000" / "state" / "plans.safetensors")
    assert sum(int(plans[key][1]) for key in plans if key.endswith("record")) == EPISODES


@pytest.mark.parametrize("changes", [{}, {"reuse_plans": True, "learn_from": "successes"}])
def test_an_interrupted_run_ends_as_one_that_was_not(folder, tmp_path, changes):
    config = settings(folder, **changes)
    whole = practise(config, tmp_path / "whole")
    out = tmp_path / "parts"
    for calls in (5, 40, 60):  # in the first epoch, and in later ones
        with pytest.raises(PlanCancelled):
            practise(config, out, cancelled=after(calls))
    (out / "epochs" / "000002.1.partial").mkdir()  # a kill leaves such a folder
    parts = practise(config, out)
    assert without_times(parts) == without_times(whole)
    one, other = weights(tmp_path / "whole"), weights(out)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert without_times(practise(config, out)) == without_times(whole)  # nothing is left to do


@pytest.mark.parametrize("changes", [{}, {"reuse_plans": True}])
def test_env_workers_and_threads_beside_the_learner_change_nothing(folder, tmp_path, changes):
    config = settings(folder, **changes)
    alone = practise(config, tmp_path / "alone")
    before = torch.get_num_threads()
    beside = practise(config, tmp_path / "beside", num_envs=2, threads=2)
    assert torch.get_num_threads() == before
    assert without_times(beside) == without_times(alone)
    one, other = weights(tmp_path / "alone"), weights(tmp_path / "beside")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_gpu_that_is_not_there_is_named_and_one_that_is_there_learns(folder, tmp_path):
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="finds no GPU: install a driver"):
            InProcessPractice(settings(folder), tmp_path / "run", device="cuda")
        return
    practice = InProcessPractice(settings(folder), tmp_path / "run", device="cuda")
    try:
        result = practice.run(progress=False)
    finally:
        practice.close()
    assert result["updates"] == 3 * EPISODES * STEPS
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "run").values())


def test_a_longer_run_goes_on_from_a_shorter_one(folder, tmp_path):
    practise(settings(folder, epochs=1), tmp_path / "one")
    longer = practise(settings(folder), tmp_path / "one")
    whole = practise(settings(folder), tmp_path / "whole")
    first = [epoch["losses"] for epoch in longer["epochs"]]
    assert first == [epoch["losses"] for epoch in whole["epochs"]]


def test_every_step_calls_for_its_updates_and_every_epoch_is_measured_as_asked(folder, tmp_path):
    result = practise(settings(folder, utd_ratio=0.5), tmp_path / "out")
    steps = [epoch["steps"] for epoch in result["epochs"]]
    assert steps == [EPISODES * STEPS * number for number in (1, 2, 3)]
    due = [count // 2 for count in steps]
    assert [epoch["updates"] for epoch in result["epochs"]] == [0, *due[:-1]]  # one epoch behind
    assert result["updates"] == due[-1]
    assert [found["epoch"] for found in result["evaluations"]] == [0, 2, 3]
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == result
    before, learned = load_checkpoint(folder), load_checkpoint(tmp_path / "out" / "checkpoint")
    assert learned.encoder_id == before.encoder_id
    pairs = zip(before.iql.parameters(), learned.iql.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


def test_recorded_targets_are_the_subgoals_that_were_pursued(folder, tmp_path):
    practise(settings(folder, epochs=1), tmp_path / "ptp")
    practise(settings(folder, epochs=1, method="model_free"), tmp_path / "direct")
    with np.load(tmp_path / "ptp" / "epochs" / "000000" / "episodes.npz") as planned:
        assert planned["0000/codes"].shape == (STEPS + 1, 144)
        assert len(np.unique(planned["0000/targets"], axis=0)) > 1
    with np.load(tmp_path / "direct" / "epochs" / "000000" / "episodes.npz") as direct:
        assert len(np.unique(direct["0000/targets"], axis=0)) == 1


def test_methods_remember_plans_and_divide_them_as_they_say(folder, tmp_path):
    for method, levels, remembered in (
        ("ptp", 3, True),
        ("ptp_no_buffer", 3, False),
        ("ptp_no_hierarchy", 1, True),
        ("ptp_no_buffer_no_hierarchy", 1, False),
    ):
        out = tmp_path / method
        practise(settings(folder, epochs=1, method=method), out)
        buffers = load_file(out / "epochs" / "000000" / "state" / "buffers.safetensors")
        cursors = [value for name, value in buffers.items() if name.endswith("cursor")]
        assert len(cursors) == levels
        assert all(bool(cursor[1] > 0) == remembered for cursor in cursors)


@pytest.mark.parametrize("method", ["leap", "gcp"])
def test_baselines_practise_the_same_policy_and_go_on(folder, tmp_path, method):
    models = shutil.copytree(folder, tmp_path / "models" / "table").parent
    config = settings(tiny_baseline_folders(models / "table")[method], method="")
    whole = practise(config, tmp_path / "whole")
    out = tmp_path / "parts"
    with pytest.raises(PlanCancelled):
        practise(config, out, cancelled=after(80))  # in the second epoch
    own = models.rename(tmp_path / "elsewhere") / method
    parts = practise(dataclasses.replace(config, checkpoint=own), out)
    assert without_times(parts) == without_times(whole)
    state = out / "epochs" / "000002" / "state"
    assert not (state / "buffers.safetensors").exists()
    learned = load_checkpoint(tmp_path / "whole" / "checkpoint")
    assert learned.agent == method and learned.encoder_id == load_checkpoint(own).encoder_id
    tiny_baseline_folders(own.parent / "table", seed=1)
    with pytest.raises(InputError, match="practised with other settings"):
        practise(dataclasses.replace(config, checkpoint=own), out)


def test_what_does_not_fit_is_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match='no method "dreams"'):
        settings(folder, method="dreams")
    with pytest.raises(InputError, match="epochs is 0"):
        settings(folder, epochs=0)
    with pytest.raises(InputError, match=r"cannot be made.*colour"):
        practise(settings(folder, env_kwargs={"colour": "blue"}), tmp_path / "blue", num_envs=1)
    out = tmp_path / "out"
    practise(settings(folder, epochs=1), out)
    with pytest.raises(InputError, match="practised with other settings"):
        practise(settings(folder, seed=1), out)
    episodes = out / "epochs" / "000000" / "episodes.npz"
    episodes.write_bytes(episodes.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="damaged"):
        practise(settings(folder), out)
