# SPDX-License-Identifier: Apache-2.0
"""The networks of LEAP and GCP on the disk: round trip, other encoders, every kind of damage."""

import json
import shutil

import pytest
import torch
from ptp_core.training.baselines import PARTS, load_baselines, save_baselines

from ptp_core.errors import CheckpointError
from ptp_core.testing import ENCODER, tiny_baselines, tiny_baselines_config

OTHER = "f" * 64


@pytest.fixture
def folder(tmp_path):
    tiny_baselines(tmp_path / "baselines", ENCODER)
    return tmp_path / "baselines"


def test_loading_gives_back_weights_configuration_and_metrics(folder):
    loaded = load_baselines(folder, ENCODER)
    assert loaded.config == tiny_baselines_config()
    assert loaded.manifest["metrics"] == {"vae": {"loss": 1.0}}
    assert set(loaded.sha256()) == {f"{part}.safetensors" for part in PARTS}
    assert set(loaded.sha256("vae")) == {"vae.safetensors"}
    other = load_baselines(folder, ENCODER)
    tiny_baselines(folder, ENCODER, seed=1)
    changed = load_baselines(folder, ENCODER)
    for name in PARTS:
        state = getattr(loaded, name).state_dict()
        assert all(value.dtype == torch.float32 for value in state.values())
        same, new = (getattr(each, name).state_dict() for each in (other, changed))
        assert all(torch.equal(value, same[key]) for key, value in state.items())
        assert not all(torch.equal(value, new[key]) for key, value in state.items())
        assert not getattr(loaded, name).training
        assert not any(p.requires_grad for p in getattr(loaded, name).parameters())
    assert changed.sha256() != loaded.sha256()
    assert [path.name for path in folder.parent.iterdir()] == ["baselines"]


def test_a_folder_may_lack_networks_and_says_which_command_makes_them(folder):
    whole = load_baselines(folder, ENCODER)
    modules = {"midpoints": whole.midpoints}
    save_baselines(folder, modules, whole.config, {}, ENCODER)
    partial = load_baselines(folder, ENCODER)
    assert list(partial.modules()) == ["midpoints"] and partial.cloned is None
    assert partial.sha256() == whole.sha256("midpoints")  # the same bytes
    partial.require("midpoints")
    with pytest.raises(CheckpointError, match=r"no gcbc\.safetensors there; .* --only gcbc"):
        partial.require("gcbc")
    with pytest.raises(CheckpointError, match=r"no vae\.safetensors there; .* --only leap"):
        partial.require("vae")


def edit(folder, **values):
    path = folder / "baselines.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def truncate(folder):
    path = folder / "vae.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def alter(folder):
    path = folder / "midpoints.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def remove_part(folder):
    (folder / "vae.safetensors").unlink()


def remove_manifest(folder):
    (folder / "baselines.json").unlink()


def other_version(folder):
    edit(folder, format_version=2)


def a_checkpoint(folder):
    edit(folder, format="ptp-checkpoint")


def unknown_setting(folder):
    edit(folder, config={"leap": {"sample": 3}})


def other_sizes(folder):
    edit(folder, config={"vae": {"z_dim": 5}})


def other_encoder(folder):
    tiny_baselines(folder, OTHER)


def part_of_another_encoder(folder):
    other = folder.with_name("other")
    tiny_baselines(other, OTHER)
    shutil.copy(other / "midpoints.safetensors", folder)
    edit(folder, files=json.loads((other / "baselines.json").read_text())["files"])
    vae = folder / "vae.safetensors"
    shutil.copy(other / "vae.safetensors", vae)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "vae.safetensors: truncated, .* copy the set of baselines again"),
        (alter, "midpoints.safetensors: contents altered"),
        (remove_part, "vae.safetensors: cannot be read"),
        (remove_manifest, r"\(baselines.json is missing\); train one with ptp pretrain-baselines"),
        (other_version, "format version 2, this program reads 1"),
        (a_checkpoint, "not a set of baselines of this project"),
        (unknown_setting, 'unknown key "leap.sample".*another version'),
        (other_sizes, "vae.safetensors: does not fit its configuration"),
        (other_encoder, r"another encoder \(ffffffff instead of eeeeeeee\); train baselines"),
        (part_of_another_encoder, "vae.safetensors: trained on another encoder"),
    ],
)
def test_damage_gives_one_line_with_cause_and_cure(folder, damage, message):
    damage(folder)
    with pytest.raises(CheckpointError, match=message) as raised:
        load_baselines(folder, ENCODER)
    assert "\n" not in str(raised.value)
