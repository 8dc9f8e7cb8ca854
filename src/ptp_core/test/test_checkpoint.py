# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: round trip, half precision, and every kind of damage."""

import json
import shutil

import pytest
import torch

from ptp_core.config import IQLConfig, SubgoalGeneratorConfig, TrainConfig, VQVAEConfig
from ptp_core.errors import CheckpointError
from ptp_core.learning.iql import IQL
from ptp_core.models.subgoal_generator import GeneratorHierarchy
from ptp_core.models.vqvae import VQVAE
from ptp_core.testing import ACTIONS, LATENT
from ptp_core.training.checkpoint import load_checkpoint, save_checkpoint

CONFIG = TrainConfig(
    vqvae=VQVAEConfig(hidden_channels=8, stem_channels=8, residual_channels=4, residual_blocks=1),
    generators=SubgoalGeneratorConfig(hidden_channels=4, hidden_units=16),
    iql=IQLConfig(policy_hidden=(8,), q_hidden=(8,), value_hidden=(8,), projection_dim=4),
)


def networks(seed: int = 0) -> dict[str, torch.nn.Module]:
    torch.manual_seed(seed)
    return {
        "vqvae": VQVAE(CONFIG.vqvae),
        "generators": GeneratorHierarchy(CONFIG.generators, LATENT),
        "iql": IQL(CONFIG.iql, LATENT, ACTIONS),
    }


@pytest.fixture
def folder(tmp_path):
    save_checkpoint(tmp_path / "checkpoint", networks(), CONFIG, {"iql": {"loss": 1.0}})
    return tmp_path / "checkpoint"


def test_loading_gives_back_weights_configuration_and_metrics(folder):
    loaded, saved = load_checkpoint(folder), networks()
    for name in ("vqvae", "generators", "iql"):
        expected = saved[name].state_dict()
        state = getattr(loaded, name).state_dict()
        assert all(torch.equal(state[key], expected[key]) for key in expected)
        assert not getattr(loaded, name).training
    assert loaded.config == CONFIG
    assert loaded.manifest["metrics"] == {"iql": {"loss": 1.0}}
    assert len(loaded.encoder_id) == 64


def test_half_precision_halves_the_file_and_stays_consistent(folder, tmp_path):
    encoder_id = save_checkpoint(tmp_path / "half", networks(), CONFIG, {}, precision="float16")
    full, half = (path / "iql.safetensors" for path in (folder, tmp_path / "half"))
    assert half.stat().st_size < 0.6 * full.stat().st_size
    loaded = load_checkpoint(tmp_path / "half")
    assert loaded.encoder_id == encoder_id != load_checkpoint(folder).encoder_id
    assert loaded.vqvae.codebook.dtype == torch.float32
    assert torch.allclose(
        loaded.iql.v.body[0].weight, networks()["iql"].v.body[0].weight, atol=1e-3
    )


def test_saving_again_replaces_the_checkpoint(folder):
    save_checkpoint(folder, networks(seed=1), CONFIG, {"round": 2})
    assert load_checkpoint(folder).manifest["metrics"] == {"round": 2}
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]


def test_a_kill_between_the_renames_leaves_the_old_checkpoint(folder):
    folder.rename(folder.with_name("checkpoint.previous"))
    assert load_checkpoint(folder).config == CONFIG


def truncate(folder):
    path = folder / "iql.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def alter(folder):
    path = folder / "generators.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def remove_part(folder):
    (folder / "vqvae.safetensors").unlink()


def remove_manifest(folder):
    (folder / "manifest.json").unlink()


def break_manifest(folder):
    (folder / "manifest.json").write_text("{")


def edit(folder, **values):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def actions_without_names(folder):
    edit(folder, actions=5)


def more_actions(folder):
    edit(folder, actions=[f"joint_{number}" for number in range(7)])


def other_version(folder):
    edit(folder, format_version=2)


def other_format(folder):
    edit(folder, format="something")


def other_config(folder):
    config = json.loads((folder / "manifest.json").read_text())["config"]
    config["iql"]["q_hidden"] = [16]
    edit(folder, config=config)


def unknown_setting(folder):
    edit(folder, config={"iql": {"expectil": 0.9}})


def part_of_another_encoder(folder):
    other = folder.with_name("other")
    save_checkpoint(other, networks(seed=5), CONFIG, {})
    shutil.copy(other / "iql.safetensors", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    files = json.loads((other / "manifest.json").read_text())["files"]
    edit(folder, files=manifest["files"] | {"iql.safetensors": files["iql.safetensors"]})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "iql.safetensors: truncated, .* copy the checkpoint again"),
        (alter, "generators.safetensors: contents altered"),
        (remove_part, "vqvae.safetensors: cannot be read"),
        (remove_manifest, "manifest.json is missing"),
        (break_manifest, "manifest.json: unreadable"),
        (other_version, "format version 2, this program reads 1"),
        (other_format, "not a checkpoint of this project"),
        (other_config, "iql.safetensors: does not fit its configuration"),
        (unknown_setting, 'unknown key "iql.expectil"'),
        (actions_without_names, "manifest.json: actions must be a list of names"),
        (more_actions, "iql.safetensors: does not fit its configuration"),
        (part_of_another_encoder, "trained on another encoder"),
    ],
)
def test_damage_gives_one_line_with_cause_and_cure(folder, damage, message):
    damage(folder)
    with pytest.raises(CheckpointError, match=message) as raised:
        load_checkpoint(folder)
    assert "\n" not in str(raised.value)
