# SPDX-License-Identifier: Apache-2.0
"""With the latent signal nothing that is learned or reused depends on the simulator's truth."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ptp_core.errors import ConfigError
from ptp_core.planners.plan_library import PlanLibrary
from ptp_core.practice.policy_library import load_finetuned
from ptp_core.practice.practice_runner import InProcessPractice
from ptp_core.practice.practice_settings import LEARNING_USE, LIBRARY_USE, PracticeConfig, preset
from ptp_core.practice.run_folder import read_run
from ptp_core.practice.success_signal import (
    check_signal,
    counts_as_success,
    own_judgement,
)
from ptp_core.rollout.evaluation import LIBRARY_SIGNAL, EvaluationConfig, evaluate
from ptp_core.tiny_networks import tiny_checkpoint, tiny_config, tiny_networks
from ptp_core.training.checkpoint import load_checkpoint

STEPS, EPISODES = 6, 3
USES = [LIBRARY_USE, LEARNING_USE]
EPSILON = 0.048  # the tiny encoder's last latents lie 0.039 to 0.053 from the goal's

LIAR = """
from ptp_core.toy_env import ToyEnv

class LiarEnv(ToyEnv):
    '''Whether it tells of success is said beforehand, whatever happens.'''

    told = False

    def _info(self):
        return {**super()._info(), "success": self.told}

def make_env(told, max_steps=400):
    env = LiarEnv(max_steps=max_steps)
    env.told = told
    return env
"""


@pytest.fixture
def practise(tmp_path, monkeypatch):
    """Practise where the environment says of every episode that it succeeded, or that none did."""
    (tmp_path / "liar_env.py").write_text(LIAR)
    monkeypatch.syspath_prepend(tmp_path)
    config = tiny_config(batch_size=8)
    iql = dataclasses.replace(config.iql, reward_epsilon=EPSILON)
    tiny_checkpoint(tmp_path / "tiny", config=dataclasses.replace(config, iql=iql))

    def run(name, told, **given):
        out = tmp_path / name
        settings = preset("ours", utd_ratio=0.5, actions="sample", **given)
        config = PracticeConfig(
            **dataclasses.asdict(settings),
            env="liar_env:make_env",
            env_kwargs={"told": told, "max_steps": STEPS},
            checkpoint=tmp_path / "tiny",
            protocol="varied",
            epochs=3,
            episodes=EPISODES,
            max_steps=STEPS,
            evaluate_every=2,
            evaluation_episodes=1,
        )
        practice = InProcessPractice(config, out)
        try:
            practice.run(progress=False)
        finally:
            practice.close()
        return out

    return run


def learned(out):
    """Networks, records of plans, and which episodes were learned from."""
    state = out / "epochs" / "000002" / "state"
    plans = load_file(state / "plans.safetensors")
    epochs = json.loads((out / "result.json").read_text())["epochs"]
    networks = load_file(out / "checkpoint" / "iql.safetensors")
    return networks, plans, [flag for epoch in epochs for flag in epoch["learned_from"]]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_the_latent_signal_never_sees_what_the_environment_says(practise):
    outs = {told: practise(str(told), told, success_signal="latent") for told in (True, False)}
    (networks, plans, flags), (others, other_plans, other_flags) = map(learned, outs.values())
    assert 0 < sum(flags) < len(flags)  # else this says little
    assert flags == other_flags
    assert same(networks, others) and same(plans, other_plans)
    records = [plan for name, plan in plans.items() if name.endswith("record")]
    assert sum(int(record[2]) for record in records) == sum(flags)
    for told, out in outs.items():
        result = json.loads((out / "result.json").read_text())
        assert (result["success_signal"], result["privileged"]) == ("latent", [])
        # What is reported stays the environment's verdict.
        assert {found["successes"] for found in result["evaluations"]} == {int(told)}
        assert {epoch["practice_success_rate"] for epoch in result["epochs"]} == {float(told)}


def test_the_simulators_signal_decides_and_is_called_privileged(practise):
    outs = [practise(str(told), told, success_signal="simulator") for told in (True, False)]
    (networks, _, flags), (others, _, none) = map(learned, outs)
    assert all(flags) and not any(none)
    assert not same(networks, others)
    for out in outs:
        result = json.loads((out / "result.json").read_text())
        assert (result["success_signal"], result["privileged"]) == ("simulator", USES)
        assert read_run(out).settings["privileged"] == USES


def test_without_reused_plans_the_policy_alone_is_left(practise, tmp_path):
    out = practise("run", True, reuse_plans=False)
    left = load_finetuned(out / "finetuned" / "A.safetensors", load_checkpoint(tmp_path / "tiny"))
    assert left.library.plans == [] and len(left.goals)
    assert left.figures["privileged"] == [LEARNING_USE]


def test_the_latent_signal_is_the_rewards_threshold(tmp_path):
    config = tiny_config()
    tiny_checkpoint(tmp_path / "tiny")
    vqvae = load_checkpoint(tmp_path / "tiny").vqvae
    last, goal = np.random.default_rng(0).integers(0, 32, (2, 144)).astype(np.uint16)
    latents = vqvae.lookup(torch.from_numpy(np.stack([last, goal]).astype(np.int64)))
    apart = float(torch.linalg.vector_norm(latents[0] - latents[1]))
    for factor, near in ((1.01, True), (0.99, False)):
        iql = dataclasses.replace(config.iql, reward_epsilon=factor * apart)
        tiny_checkpoint(tmp_path / f"{near}", config=dataclasses.replace(config, iql=iql))
        checkpoint = load_checkpoint(tmp_path / f"{near}")
        for judged in (True, False):
            assert counts_as_success("latent", judged, last, goal, checkpoint) is near
            assert counts_as_success("simulator", judged, last, goal, checkpoint) is judged


def test_the_classifier_judges_where_a_checkpoint_has_one(tmp_path):
    checkpoint = tiny_networks(diffusion=True)
    last, goal = np.random.default_rng(0).integers(0, 32, (2, 144)).astype(np.uint16)
    answer = checkpoint.part("classifier").body[-1]
    for bias, done in ((9.0, True), (-9.0, False)):
        answer.bias.fill_(bias)
        for judged in (True, False):
            assert counts_as_success("classifier", judged, last, goal, checkpoint) is done
    check_signal("classifier", checkpoint)
    tiny_checkpoint(tmp_path / "tiny")
    plain = load_checkpoint(tmp_path / "tiny")
    for signal in ("simulator", "latent"):
        check_signal(signal, plain)
    with pytest.raises(ConfigError, match=r'"classifier" asks a goal classifier, which .*tiny'):
        check_signal("classifier", plain)


@pytest.mark.parametrize("signal", ["simulator", "latent"])
def test_an_evaluation_with_plans_that_the_latents_judged_is_not_privileged(tmp_path, signal):
    tiny_checkpoint(tmp_path / "tiny")
    path = tmp_path / "plans.safetensors"
    PlanLibrary(load_checkpoint(tmp_path / "tiny").encoder_id, signal=signal).save(path)
    config = EvaluationConfig(
        checkpoint=tmp_path / "tiny",
        env="ptp_core.toy_env:make_env",
        tasks=("A",),
        episodes=1,
        max_steps=2,
        reuse_plans=path,
    )
    result = evaluate(config, num_envs=0, progress=False)
    assert result["privileged"] == [LIBRARY_SIGNAL] * (signal == "simulator")


def test_codes_are_compared_as_latents(tmp_path):
    config = tiny_config()
    iql = dataclasses.replace(config.iql, reward_epsilon=1e-3)
    tiny_checkpoint(tmp_path / "tiny", config=dataclasses.replace(config, iql=iql))
    checkpoint = load_checkpoint(tmp_path / "tiny")
    goal = np.random.default_rng(0).integers(0, 32, 144).astype(np.uint16)
    assert own_judgement("latent", goal, goal, checkpoint)
    assert not own_judgement("latent", (goal + 7) % 32, goal, checkpoint)
