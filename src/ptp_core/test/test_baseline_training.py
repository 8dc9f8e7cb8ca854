# SPDX-License-Identifier: Apache-2.0
"""Training of the baselines' networks: it learns, resumes, and takes codes of one encoder."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch

from ptp_core.config import (
    BaselinesConfig,
    DataConfig,
    GeneratedGoalsConfig,
    LatentVAEConfig,
    load_config,
)
from ptp_core.data.collect_demonstrations import collect
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.errors import CheckpointError, ConfigError, DatasetError
from ptp_core.tiny_networks import (
    tiny_baselines_config,
    tiny_checkpoint,
    tiny_config,
    tiny_networks,
)
from ptp_core.training.baseline_stage import train_gcbc, train_latent_vae
from ptp_core.training.baseline_training import OWN_PART, pretrain_baselines
from ptp_core.training.checkpoint import load_checkpoint

CONFIG = tiny_baselines_config()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    return made_in(folder, 10)


def made_in(folder, steps):
    """A checkpoint whose policy was trained with so many batches in each of two stages."""
    imagined = GeneratedGoalsConfig(steps=steps, learning_rate=1e-3)
    config = dataclasses.replace(tiny_config(steps=steps, batch_size=8), imagined=imagined)
    tiny_checkpoint(folder, config=config)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    env = "ptp_core.toy_env:make_env"
    collect(DataConfig(env=env, trajectories=6, steps=20, num_envs=1), folder, progress=False)
    return folder


def train(checkpoint, data, out, config=CONFIG, **options):
    return pretrain_baselines(config, checkpoint, data, out, progress=False, **options)


def steps(config, count):
    """The same training with another budget."""
    parts = {
        name: dataclasses.replace(getattr(config, name), steps=count)
        for name in ("vae", "midpoints")
    }
    return dataclasses.replace(config, **parts)


def weights(folders):
    loaded = {name: load_checkpoint(each) for name, each in folders.items()}
    return {
        f"{part}.{key}": value
        for name, part in OWN_PART.items()
        for key, value in loaded[name].part(part).state_dict().items()
    }


def test_training_ends_with_networks_for_the_checkpoints_encoder(checkpoint, data, tmp_path):
    folders = train(checkpoint, data, tmp_path)
    assert folders == {name: tmp_path / name for name in OWN_PART}
    loaded = {name: load_checkpoint(folder) for name, folder in folders.items()}
    base = load_checkpoint(checkpoint)
    assert {(each.agent, each.encoder_id) for each in loaded.values()} == {
        (name, base.encoder_id) for name in OWN_PART
    }
    assert load_config(tmp_path / "config.yaml", cls=BaselinesConfig) == CONFIG
    assert (loaded["leap"].config.leap, loaded["gcp"].config.gcp) == (CONFIG.leap, CONFIG.gcp)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["trajectories"] == 6
    for name, part in OWN_PART.items():
        assert loaded[name].metrics[part] == metrics[part] and metrics[part]["steps"] == 10
    assert metrics["policy"]["imagined/steps"] == 10
    assert metrics["policy"]["imagined/validation/action_mse"] > 0
    assert loaded["gcbc"].parts["policy"].config == base.config.iql
    for name, loss in (("latent_vae", "reconstruction_mse"), ("midpoints", "smooth_l1")):
        with (tmp_path / name / "scalars.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["step"] for row in rows] == ["5", "10", "10"]
        assert float(rows[-1][f"validation/{loss}"]) > 0
        assert list((tmp_path / name).glob("events.out.tfevents.*"))


def test_a_resumed_training_equals_an_uninterrupted_one(checkpoint, data, tmp_path):
    parts = tmp_path / "parts"
    shorter = made_in(tmp_path / "shorter", 4)
    first = weights(train(shorter, data, parts, steps(CONFIG, 4)))
    resumed = weights(train(checkpoint, data, parts))
    whole = weights(train(checkpoint, data, tmp_path / "whole"))
    assert all(torch.equal(value, whole[key]) for key, value in resumed.items())
    assert not all(torch.equal(value, whole[key]) for key, value in first.items())


def files(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*.*")}


def test_one_method_is_trained_for_and_the_other_checkpoints_stay(checkpoint, data, tmp_path):
    before = train(checkpoint, data, tmp_path / "one", only=["leap", "gcp"])
    assert list(before) == ["leap", "gcp"]
    kept = {name: files(folder) for name, folder in before.items()}
    other = dataclasses.replace(CONFIG, vae=LatentVAEConfig(z_dim=3))
    after = train(checkpoint, data, tmp_path / "one", other, only=["gcbc"])
    assert list(after) == ["gcbc"]
    assert {name: files(folder) for name, folder in before.items()} == kept
    metrics = json.loads((tmp_path / "one" / "metrics.json").read_text())
    assert {"latent_vae", "midpoints", "policy"} <= metrics.keys()
    alone = train(checkpoint, data, tmp_path / "alone", only=["gcbc"])
    assert files(alone["gcbc"])["policy.safetensors"] == files(after["gcbc"])["policy.safetensors"]
    with pytest.raises(ConfigError, match='no baseline "ptp"; there are leap, gcp, gcbc'):
        train(checkpoint, data, tmp_path / "alone", only=["ptp"])


def test_cloning_learns_the_recorded_actions_whatever_they_are_worth(tmp_path):
    """Frames of two kinds, each with its action; no trajectory reaches its goal any sooner."""
    config = tiny_config(steps=800, batch_size=16, learning_rate=3e-3, reward_epsilon=0.0)
    networks = tiny_networks(config)
    kinds, actions = np.random.default_rng(0).integers(32, size=(2, 144)), np.eye(2, 5)
    picks, lengths = np.arange(40) % 2, np.full(4, 10)
    data = EncodedDataset(
        kinds[picks].astype(np.uint16), actions[picks].astype(np.float32), lengths, "id"
    )
    policy, scalars = train_gcbc(CONFIG, networks, data, tmp_path, validation=data, progress=False)
    assert scalars["validation/action_mse"] < 0.01
    latents = networks.vqvae.lookup(torch.from_numpy(kinds))
    learned = policy(latents, latents).detach()
    torch.testing.assert_close(learned, torch.eye(2, 5), atol=0.3, rtol=0.0)


def test_other_settings_of_a_planner_train_nothing_again(checkpoint, data, tmp_path):
    first = load_checkpoint(train(checkpoint, data, tmp_path)["leap"])
    leap = dataclasses.replace(CONFIG.leap, samples=99)
    folders = train(checkpoint, data, tmp_path, dataclasses.replace(CONFIG, leap=leap))
    second = load_checkpoint(folders["leap"])
    assert (first.config.leap.samples, second.config.leap.samples) == (CONFIG.leap.samples, 99)
    assert second.sha256 == first.sha256
    metrics = (each.metrics["latent_vae"] for each in (first, second))
    assert next(metrics) == pytest.approx(next(metrics), rel=1e-4)


def test_codes_are_made_once_and_those_of_another_encoder_refused(checkpoint, data, tmp_path):
    made = weights(train(checkpoint, data, tmp_path / "one"))
    codes = tmp_path / "one" / "codes.safetensors"
    encoded = EncodedDataset.load(codes)
    assert encoded.encoder_id == load_checkpoint(checkpoint).encoder_id
    time = codes.stat().st_mtime_ns
    train(checkpoint, data, tmp_path / "one")
    assert codes.stat().st_mtime_ns == time
    same = weights(train(checkpoint, codes, tmp_path / "two"))
    assert all(torch.equal(value, same[key]) for key, value in made.items())
    assert not (tmp_path / "two" / "codes.safetensors").exists()
    other = tmp_path / "other.safetensors"
    dataclasses.replace(encoded, encoder_id="f" * 64).save(other)
    with pytest.raises(DatasetError, match=r"codes of another encoder \(ffffffff instead"):
        train(checkpoint, other, tmp_path / "three")
    with pytest.raises(DatasetError, match="no such folder or file"):
        train(checkpoint, tmp_path / "none", tmp_path / "three")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        train(tmp_path / "none", data, tmp_path / "three")


def test_training_learns_what_the_data_hold(checkpoint, tmp_path):
    """Frames of two kinds: their mean has a reconstruction error of 1, two points none."""
    vqvae = load_checkpoint(checkpoint).vqvae
    kinds = np.random.default_rng(0).integers(32, size=(2, 144))
    lengths = np.full(4, 10)
    codes = kinds[np.arange(40) % 2].astype(np.uint16)
    data = EncodedDataset(codes, np.zeros((40, 5), np.float32), lengths, "id")
    vae = LatentVAEConfig(z_dim=2, hidden_units=16, batch_size=16, learning_rate=1e-2, steps=80)
    config = tiny_baselines_config(vae=vae)
    options = {"validation": data, "progress": False}
    network, scalars = train_latent_vae(config, vqvae, data, tmp_path, **options)
    assert scalars["validation/reconstruction_mse"] < 0.2
    latents = vqvae.lookup(torch.from_numpy(kinds))
    decoded = network.decode(network.encode(latents)[0])
    assert torch.cdist(decoded, latents).argmin(1).tolist() == [0, 1]
