# SPDX-License-Identifier: Apache-2.0
"""Fine-tuned policies: the goal picks the file, and what does not fit is refused."""

import dataclasses

import pytest
import torch
from safetensors.torch import save_file

from ptp_core.errors import CheckpointError, InputError
from ptp_core.planners.plan_library import PlanLibrary
from ptp_core.practice.policy_library import FineTunedPolicies
from ptp_core.practice.practice_runner import InProcessPractice
from ptp_core.practice.practice_settings import PracticeConfig, preset
from ptp_core.rollout.evaluation import EvaluationConfig, evaluate
from ptp_core.tiny_networks import tiny_checkpoint, tiny_config, tiny_finetuned
from ptp_core.training.checkpoint import load_checkpoint

RUN = {"env": "ptp_core.toy_env:make_env", "env_kwargs": {"max_steps": 8}, "max_steps": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "tiny"
    tiny_checkpoint(path, config=tiny_config(batch_size=8))
    return path


@pytest.fixture
def checkpoint(folder):
    return load_checkpoint(folder)


def goal(seed):
    return torch.randn(720, generator=torch.Generator().manual_seed(seed)) * 2.0


def same(iql, weights):
    return all(torch.allclose(value, weights[name]) for name, value in iql.state_dict().items())


def test_the_goal_picks_the_policy_that_practised_it(checkpoint, tmp_path):
    offline = {name: value.clone() for name, value in checkpoint.iql.state_dict().items()}
    changed = {
        seed: tiny_finetuned(tmp_path / f"{seed}.safetensors", checkpoint, goal(seed), seed)
        for seed in (1, 2)
    }
    policies = FineTunedPolicies(checkpoint, tmp_path)
    assert [member.figures for member in policies.members] == [{"added": 1}, {"added": 2}]
    for seed in (2, 1):
        assert policies.use_for(goal(seed) + 0.01).name == str(seed)
        assert same(checkpoint.iql, changed[seed])
    assert policies.use_for(goal(3)) is None
    assert same(checkpoint.iql, offline)


@pytest.mark.parametrize("method", ["ptp", "model_free"])
def test_what_practice_leaves_acts_as_its_last_evaluation_did(folder, tmp_path, method):
    config = PracticeConfig(
        **{**RUN, **dataclasses.asdict(preset("paper", reuse_plans=method == "ptp"))},
        checkpoint=folder,
        epochs=2,
        episodes=2,
        evaluation_episodes=1,
        method=method,
    )
    practice = InProcessPractice(config, tmp_path)
    try:
        practice.run(progress=False)
    finally:
        practice.close()
    found = EvaluationConfig(
        **RUN, checkpoint=folder, tasks=("A",), episodes=1, seed=1_000_000, method=method
    )
    left = tmp_path / "finetuned"
    offline = evaluate(found, num_envs=0, progress=False)
    tuned = evaluate(dataclasses.replace(found, finetuned=left), num_envs=0, progress=False)
    again = dataclasses.replace(found, checkpoint=tmp_path / "checkpoint")
    wanted = evaluate(again, num_envs=0, progress=False)
    distance = [one["tasks"]["A"]["final_distance"] for one in (offline, tuned, wanted)]
    if method == "model_free":  # else plans are reused, too
        assert distance[1] == distance[2]
    assert distance[0] != distance[1]
    assert tuned["finetuned_sha256"].keys() == {"A"}


def test_what_does_not_fit_is_refused_by_name(checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="no fine-tuned policy"):
        FineTunedPolicies(checkpoint, tmp_path)
    path = tmp_path / "A.safetensors"
    tiny_finetuned(path, checkpoint, goal(1), 0.5)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(CheckpointError, match=r"A\.safetensors: damaged"):
        FineTunedPolicies(checkpoint, tmp_path)
    path.write_bytes(whole.replace(checkpoint.encoder_id.encode(), b"0" * 64))
    with pytest.raises(CheckpointError, match="practised with another encoder"):
        FineTunedPolicies(checkpoint, tmp_path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not a fine-tuned policy"):
        FineTunedPolicies(checkpoint, tmp_path)
    tiny_finetuned(path, checkpoint, goal(1), float("nan"))
    with pytest.raises(CheckpointError, match="not finite"):
        FineTunedPolicies(checkpoint, tmp_path)


def test_one_source_of_knowledge_at_a_time(folder, tmp_path):
    plans = tmp_path / "plans.safetensors"
    PlanLibrary("x", plans).save(plans)
    config = EvaluationConfig(**RUN, checkpoint=folder, reuse_plans=plans, finetuned=tmp_path)
    with pytest.raises(InputError, match="not several"):
        evaluate(config, num_envs=0, progress=False)
