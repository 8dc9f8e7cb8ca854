# SPDX-License-Identifier: Apache-2.0
"""Checkpoints and baselines of version 1 become those of today with the same weights."""

import hashlib
import json

import pytest

from ptp_core.config import to_dict
from ptp_core.errors import CheckpointError, ConfigError
from ptp_core.tiny_networks import (
    tiny_baselines,
    tiny_baselines_config,
    tiny_checkpoint,
    tiny_networks,
)
from ptp_core.training.checkpoint import load_checkpoint
from ptp_core.training.convert import OLD_NAMES, convert_checkpoint
from ptp_core.training.weights import serialise


def write_old(folder, modules, fields, encoder_id="", manifest="manifest.json"):
    """A folder as version 1 wrote it; the encoder's id."""
    folder.mkdir(parents=True)
    files = {}
    for name, module in modules.items():
        content = serialise(module, "float16", encoder_id)
        digest = hashlib.sha256(content).hexdigest()
        encoder_id = encoder_id or digest
        files[f"{name}.safetensors"] = {"sha256": digest, "bytes": len(content)}
        (folder / f"{name}.safetensors").write_bytes(content)
    about = {"format_version": 1, "encoder_id": encoder_id, "files": files, **fields}
    (folder / manifest).write_text(json.dumps({"precision": "float16", **about}))
    return encoder_id


@pytest.fixture
def old(tmp_path):
    made = tiny_networks()
    fields = {"format": "ptp-checkpoint", "config": to_dict(made.config), "metrics": {"iql": 1}}
    write_old(tmp_path / "old", made.modules(), fields)
    return tmp_path / "old"


@pytest.fixture
def old_baselines(old):
    encoder_id = json.loads((old / "manifest.json").read_text())["encoder_id"]
    made = tiny_baselines(tiny_networks())
    parts = ("leap", "latent_vae"), ("gcp", "midpoints"), ("gcbc", "policy")
    modules = {OLD_NAMES[part]: made[name].part(part) for name, part in parts}
    config = tiny_baselines_config()
    fields = {
        "format": "ptp-baselines",
        "config": to_dict(config),
        "metrics": {"vae": {"loss": 1}},
    }
    fields["cloned"] = to_dict(made["gcbc"].parts["policy"].config)
    folder = old.parent / "old_baselines"
    write_old(folder, modules, fields, encoder_id, "baselines.json")
    return folder


def test_a_checkpoint_keeps_every_byte_of_its_weights(old, tmp_path):
    with pytest.raises(CheckpointError, match=f"ptp convert-checkpoint {old} NEW"):
        load_checkpoint(old)
    for _ in range(2):  # again, as after an interruption
        assert convert_checkpoint(old, tmp_path / "new") == [tmp_path / "new"]
    found = load_checkpoint(tmp_path / "new")
    for name in ("generators", "iql", "encoder/vqvae"):
        was = (old / f"{name.split('/')[-1]}.safetensors").read_bytes()
        assert (tmp_path / "new" / f"{name}.safetensors").read_bytes() == was
    manifest = json.loads((old / "manifest.json").read_text())
    assert found.encoder_id == manifest["encoder_id"] and found.metrics == {"iql": 1}
    assert to_dict(found.config) == manifest["config"]
    assert found.agent == "ptp"  # three levels, eight subgoals


def test_an_encoder_goes_to_a_folder_that_others_share(old, tmp_path):
    new, encoder = tmp_path / "models" / "new", tmp_path / "models" / "encoders" / "mine"
    convert_checkpoint(old, new, encoder=encoder)
    assert not (new / "encoder").exists()
    assert load_checkpoint(new).encoder.stored.path == encoder / "vqvae.safetensors"
    tiny_checkpoint(tmp_path / "other", seed=3)
    with pytest.raises(CheckpointError, match="holds another encoder than"):
        convert_checkpoint(old, tmp_path / "new", encoder=tmp_path / "other" / "encoder")


def test_baselines_become_a_checkpoint_of_each_method(old, old_baselines, tmp_path):
    models = tmp_path / "models"
    with pytest.raises(ConfigError, match=r"name the converted checkpoint .* with --checkpoint"):
        convert_checkpoint(old_baselines, models)
    convert_checkpoint(old, models / "table")
    made = convert_checkpoint(old_baselines, models, base=models / "table")
    assert made == [models / name for name in ("leap", "gcp", "gcbc")]
    base = load_checkpoint(models / "table")
    config = tiny_baselines_config()
    for folder, part in zip(made, ("latent_vae", "midpoints", "policy"), strict=True):
        found = load_checkpoint(folder)
        was = (old_baselines / f"{OLD_NAMES[part]}.safetensors").read_bytes()
        assert found.sha256[f"{part}.safetensors"] == hashlib.sha256(was).hexdigest()
        assert (found.agent, found.encoder_id) == (folder.name, base.encoder_id)
        assert {path.name for path in folder.iterdir()} == {"manifest.json", f"{part}.safetensors"}
    leap = load_checkpoint(models / "leap")
    assert leap.config.leap == config.leap and leap.metrics == {"latent_vae": {"loss": 1}}
    tiny_checkpoint(models / "other", seed=3)
    with pytest.raises(CheckpointError, match="trained on another encoder"):
        convert_checkpoint(old_baselines, models, base=models / "other")


def damaged(old):
    content = bytearray((old / "iql.safetensors").read_bytes())
    content[-1] ^= 1
    (old / "iql.safetensors").write_bytes(content)


def of_today(old):
    tiny_checkpoint(old.with_name("today"))
    (old / "manifest.json").write_text((old.with_name("today") / "manifest.json").read_text())


def nothing(old):
    (old / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damaged, "iql.safetensors: contents altered"),
        (of_today, "not of version 1, so there is nothing to convert"),
        (nothing, "cannot be read"),
    ],
)
def test_what_cannot_be_converted_is_refused_and_nothing_is_made(old, tmp_path, change, message):
    change(old)
    with pytest.raises(CheckpointError, match=message):
        convert_checkpoint(old, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(ConfigError, match="name another folder"):
        convert_checkpoint(old, old)
