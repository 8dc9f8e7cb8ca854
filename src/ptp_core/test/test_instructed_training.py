# SPDX-License-Identifier: Apache-2.0
"""Training of LBP and its baselines: from data to checkpoints, resumed, refused early."""

import copy
import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from ptp_core.agents.agent import AgentSeeds, LanguageGoal, Observation
from ptp_core.agents.registry import build_agent
from ptp_core.config import DataConfig, InstructedPolicyConfig, InstructionTrainConfig, load_config
from ptp_core.data.collect_demonstrations import collect
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.trajectory import CAMERA, Metadata, Segment
from ptp_core.encoders.text import SentenceTable, minilm_installed
from ptp_core.errors import CheckpointError, ConfigError, DatasetError, InputError
from ptp_core.rollout.episode_results import EpisodeSeeds
from ptp_core.rollout.run_episode import run_episode
from ptp_core.tiny_networks import (
    LATENT,
    SENTENCES,
    tiny_checkpoint,
    tiny_config,
    tiny_instructed,
    tiny_instructed_config,
    tiny_networks,
    tiny_vqvae,
)
from ptp_core.toy_env import ToyEnv
from ptp_core.training.checkpoint import load_checkpoint, save_checkpoint
from ptp_core.training.instructed_stage import (
    InstructedFrames,
    PolicyContexts,
    train_instructed_planner,
)
from ptp_core.training.instructed_training import pretrain_instructed

CONFIG = tiny_instructed_config()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    env = "ptp_core.toy_env:make_env"
    collect(DataConfig(env=env, trajectories=10, steps=60, num_envs=1), folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A checkpoint whose encoder is taken; its latents have a scale, as those of PTP have."""
    folder = tmp_path_factory.mktemp("base") / "tiny"
    config = tiny_config()
    vqvae = dataclasses.replace(config.vqvae, distance_scale=2.0)
    tiny_checkpoint(folder, config=dataclasses.replace(config, vqvae=vqvae))
    return folder


def train(data, out, config=CONFIG, **options):
    return pretrain_instructed(config, data, out, progress=False, **options)


@pytest.fixture(scope="module")
def run(data, base, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    return out, train(data, out, methods=("lbp", "glcbc"), encoder=base)


def test_checkpoints_act_on_the_sentences_of_the_data(run):
    out, made = run
    assert made == {name: out / name for name in ("lbp", "glcbc")}
    known = load_checkpoint(made["lbp"]).part("sentences").config.sentences
    assert all(text.startswith("move the ") for text in known)

    class Told(ToyEnv):
        """The toy with an instruction for its tasks."""

        goals = ("language",)

        def _info(self):
            return {**super()._info(), "instruction": known[0]}

    for name, folder in made.items():
        agent = build_agent(name, load_checkpoint(folder))
        result = run_episode(
            Told(max_steps=3), agent, options={"task": "A"}, seeds=EpisodeSeeds(1, 2, 3)
        )
        assert result.steps == 3
        assert (result.plan_seconds is not None) == (name == "lbp")
    metrics = json.loads((out / "metrics.json").read_text())
    assert {"backward", "lbp_policy", "glcbc_policy"} <= metrics.keys()
    assert (out / "curves.png").is_file() and (out / "lbp_policy" / "scalars.csv").is_file()


def test_methods_share_encoder_and_text_encoder(run, base):
    _, made = run
    lbp, glcbc = (load_checkpoint(folder) for folder in made.values())
    assert lbp.encoder_id == glcbc.encoder_id == load_checkpoint(base).encoder_id
    one, other = (each.part("sentences").vectors for each in (lbp, glcbc))
    assert torch.equal(one, other)


def test_glcbcs_goal_is_the_end_of_a_demonstration_of_the_sentence(run):
    out, made = run
    checkpoint = load_checkpoint(made["glcbc"])
    encoded = EncodedDataset.load(out / "codes.safetensors")
    ends = encoded.codes[encoded.starts + encoded.lengths - 1]
    table, goals = checkpoint.part("sentences"), checkpoint.part("sentence_goals").codes.numpy()
    for row, text in enumerate(table.config.sentences):
        shown = [table.row(known.instruction) == row for known in encoded.metadata]
        assert (ends[shown] == goals[row]).all(1).any(), text


def test_the_encoders_goal_classifier_comes_along_where_the_arm_is_to_rest(data, tmp_path):
    made = tiny_networks(diffusion=True)
    judge = made.parts["classifier"]
    strict = dataclasses.replace(judge, module=copy.deepcopy(judge.module))
    strict.module.body[-1].bias.fill_(30.0)  # everything is done
    made.parts["strict_classifier"] = strict
    for part in (made.encoder, *made.parts.values()):
        part.precision = "float32"
    base = tmp_path / "varied"
    save_checkpoint(
        base, made.parts, made.config, metrics={}, spec=made.spec, encoder=made.encoder
    )
    config = dataclasses.replace(CONFIG, rest_hold=2)
    (folder,) = train(data, tmp_path / "run", config, methods=("lbp",), encoder=base).values()
    checkpoint = load_checkpoint(folder)
    assert float(checkpoint.part("classifier").body[-1].bias) == 30.0
    agent, spec = build_agent("lbp", checkpoint), checkpoint.spec
    image = np.zeros((spec.cameras[0].height, spec.cameras[0].width, 3), np.uint8)
    seen = Observation({CAMERA: image}, np.zeros(len(agent.spec.proprioception), np.float32))
    agent.reset(
        seen, LanguageGoal(checkpoint.part("sentences").config.sentences[0]), AgentSeeds(1, 2)
    )
    moves = [agent.act(seen).action[:4] for _ in range(3)]
    assert moves[0].any() and not moves[1].any() and not moves[2].any()


def test_a_run_that_was_interrupted_ends_like_one_that_was_not(data, base, run, tmp_path):
    def budgets(backward, policy):
        return dataclasses.replace(
            CONFIG,
            backward=dataclasses.replace(
                CONFIG.backward, steps=backward, learning_rate_decay="none"
            ),
            policy=dataclasses.replace(CONFIG.policy, steps=policy, learning_rate_decay="none"),
        )

    whole = train(data, tmp_path / "whole", budgets(6, 6), encoder=base)
    train(data, tmp_path / "parts", budgets(6, 2), encoder=base)
    parts = train(data, tmp_path / "parts", budgets(6, 6), encoder=base)
    one, other = (load_checkpoint(made["lbp"]) for made in (whole, parts))
    for name, part in one.parts.items():
        for key, value in part.module.state_dict().items():
            assert torch.equal(value, other.parts[name].module.state_dict()[key]), (name, key)


def test_other_data_settings_or_methods_are_refused_before_any_work(data, base, run, tmp_path):
    out, _ = run
    with pytest.raises(InputError, match="seed"):
        train(data, out, dataclasses.replace(CONFIG, seed=1), encoder=base)
    with pytest.raises(
        ConfigError, match='no method "ptp" that takes instructions; there are lbp'
    ):
        train(data, tmp_path / "new", methods=("ptp",))
    policy = dataclasses.replace(
        CONFIG.policy, fusion=dataclasses.replace(CONFIG.policy.fusion, heads=7)
    )
    with pytest.raises(ConfigError, match=r"fusion\.heads is 7"):
        train(data, tmp_path / "new", dataclasses.replace(CONFIG, policy=policy), encoder=base)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        train(data, tmp_path / "new", encoder=tmp_path / "none")
    scaled = dataclasses.replace(CONFIG.vqvae, distance_scale=2.0)
    with pytest.raises(ConfigError, match=r"vqvae\.distance_scale has no effect here"):
        train(data, tmp_path / "new", dataclasses.replace(CONFIG, vqvae=scaled))
    if not minilm_installed():
        text = dataclasses.replace(CONFIG.text, kind="minilm")
        with pytest.raises(ConfigError, match=r"text\.kind is minilm, which is not installed"):
            train(data, tmp_path / "new", dataclasses.replace(CONFIG, text=text), encoder=base)
    assert not (tmp_path / "new").exists()


def test_data_without_instructions_are_refused(data, base, tmp_path):
    silent = tmp_path / "silent"
    silent.mkdir()
    for path in Path(data).rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            (silent / path.name).write_bytes(path.read_bytes())
    for path in silent.glob("*.hdf5"):
        with h5py.File(path, "r+") as file:
            shown = [demo for demo in file["data"].values() if demo.attrs["success"]]
            for demo in shown[:2]:
                del demo.attrs["instruction"]
    with pytest.raises(DatasetError, match=r"2 of \d+ trajectories that did not fail have no i"):
        train(silent, tmp_path / "new", encoder=base)
    assert not (tmp_path / "new").exists()


def test_only_sentences_that_were_trained_on_are_known(data, base, tmp_path):
    """The last trajectory validates; a learned vector of its sentence would mean nothing."""
    other = tmp_path / "other"
    other.mkdir()
    for path in Path(data).rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            (other / path.name).write_bytes(path.read_bytes())
    for path in other.glob("*.hdf5"):
        with h5py.File(path, "r+") as file:
            if "demo_9" in file["data"]:
                file["data/demo_9"].attrs["instruction"] = "sing"
    with pytest.raises(DatasetError, match="no trajectory that validates has an instruction of"):
        train(other, tmp_path / "new", encoder=base)


def frames():
    """Two trajectories of 20 frames; the number of a frame stands in its first code."""
    codes = np.zeros((40, LATENT.codes), np.uint16)
    codes[:, 0] = np.arange(40) % 32
    metadata = [
        Metadata(instruction=text, success=True, segments=(Segment(0, 20, "push", success=True),))
        for text in SENTENCES[:2]
    ]
    lengths = np.array([20, 20])
    encoded = EncodedDataset(
        codes, np.zeros((40, 5), np.float32), lengths, "id", metadata=metadata
    )
    return InstructedFrames(encoded, SentenceTable.of("learned", SENTENCES, 4), tiny_vqvae())


def test_frames_know_their_instruction_and_their_end():
    source = frames()
    drawn = np.array([0, 19, 20, 39])
    assert source.last(drawn).tolist() == [19, 19, 39, 39]
    expected = source.table(torch.tensor([0, 0, 1, 1]))
    assert torch.equal(source.language(drawn), expected)
    found = set(source.view().draw(1000, np.random.default_rng(0)).tolist())
    assert found == set(range(40)) - {19, 39}  # nothing follows a last frame
    with pytest.raises(DatasetError, match='does not know the instruction "close the drawer"'):
        InstructedFrames(source.data, SentenceTable.of("learned", ["go"], 4), source.vqvae)


def test_the_frozen_encoder_is_not_changed_by_training(tmp_path):
    source = frames()
    vqvae = source.vqvae.eval()
    values = {**dict(vqvae.named_parameters()), **dict(vqvae.named_buffers())}
    before = {name: value.clone() for name, value in values.items()}
    planner = tiny_instructed("lbp").part("lbp_planner").requires_grad_(True)
    weights = planner.goal_predictor[0].weight.clone()
    train_instructed_planner(
        "planner",
        planner,
        CONFIG.backward,
        CONFIG,
        source,
        tmp_path / "planner",
        validation=source,
        progress=False,
    )
    assert not torch.equal(planner.goal_predictor[0].weight, weights)
    assert not vqvae.training
    assert all(torch.equal(values[name], value) for name, value in before.items())


def test_a_policy_is_trained_with_what_its_method_will_give_it():
    source, rng = frames(), np.random.default_rng(0)
    drawn, goals = np.array([0, 5, 25]), np.array([19, 8, 39])
    told, shown = np.zeros(3, bool), np.array([False, True, False])
    planner = tiny_instructed("lbp").part("lbp_planner")
    contexts = PolicyContexts(source, planner)
    with torch.no_grad():
        plans = planner.subgoals(source.latents(drawn), source.language(drawn))
    torch.testing.assert_close(contexts.of(drawn, goals, told, rng), plans, rtol=1e-3, atol=1e-3)
    mixed = contexts.of(drawn, goals, shown, rng)
    assert torch.equal(mixed[1, -1], source.latents(goals)[1])
    torch.testing.assert_close(mixed[[0, 2]], plans[[0, 2]], rtol=1e-3, atol=1e-3)
    assert contexts.takes_images and contexts.levels == 3
    nothing = PolicyContexts(source, None)
    assert nothing.of(drawn, goals, told, rng) is None and not nothing.takes_images
    goal = PolicyContexts(source, None, goals=True)
    assert torch.equal(goal.of(drawn, goals, shown, rng)[:, 0], source.latents(goals))
    proposer = tiny_instructed("susie_style").part("susie_style_planner")
    true = PolicyContexts(source, proposer, true_frames=True)
    near = true.of(drawn, goals, told, rng)[0, 0]
    assert any(torch.equal(near, source.latents(np.array(frame))) for frame in (11, 12, 13))


def test_the_shipped_settings_are_read_and_name_every_setting():
    path = Path(__file__).resolve().parents[3] / "config" / "train" / "lbp.yaml"
    config = load_config(path, InstructionTrainConfig)
    assert (config.backward.subgoals, config.backward.ratio) == (2, 0.5)
    assert config.policy.horizon == 6 and config.policy.head.steps == 25
    paper = InstructedPolicyConfig()
    assert (paper.head.sampling_steps, paper.ensemble_decay, paper.fusion.blocks) == (25, 0.25, 2)
