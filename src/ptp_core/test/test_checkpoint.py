# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: round trip, half precision, and every kind of damage."""

import json
import shutil

import pytest
import torch

from ptp_core.agents.subgoal_agent import subgoal_spec
from ptp_core.config import IQLConfig, SubgoalGeneratorConfig, TrainConfig, VQVAEConfig
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.errors import CheckpointError
from ptp_core.learning.iql import IQL
from ptp_core.planners.subgoal_generator import GeneratorHierarchy
from ptp_core.tiny_networks import ACTIONS, LATENT, tiny_baseline_folders, tiny_checkpoint
from ptp_core.training.checkpoint import (
    Part,
    load_checkpoint,
    save_again,
    save_checkpoint,
)
from ptp_core.training.manifest import read_contents

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


def save(folder, metrics, seed=0, precision="float32"):
    made = {
        name: Part(name, module, getattr(CONFIG, name), precision)
        for name, module in networks(seed).items()
    }
    encoder = made.pop("vqvae")
    spec = subgoal_spec("ptp", encoder.module)
    return save_checkpoint(folder, made, CONFIG, metrics, spec=spec, encoder=encoder)


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "checkpoint", {"iql": {"loss": 1.0}})
    return tmp_path / "checkpoint"


def test_loading_gives_back_weights_configuration_and_metrics(folder):
    loaded, saved = load_checkpoint(folder), networks()
    for name in ("vqvae", "generators", "iql"):
        expected = saved[name].state_dict()
        state = getattr(loaded, name).state_dict()
        assert all(torch.equal(state[key], expected[key]) for key in expected)
        assert not getattr(loaded, name).training
    assert loaded.config == CONFIG
    assert loaded.metrics == {"iql": {"loss": 1.0}}
    assert len(loaded.encoder_id) == 64
    assert loaded.spec == subgoal_spec("ptp", loaded.vqvae, encoder_id=loaded.encoder_id)
    assert loaded.spec.agent == loaded.agent == "ptp"


def test_half_precision_halves_the_file_and_stays_consistent(folder, tmp_path):
    encoder_id = save(tmp_path / "half", {}, precision="float16")
    full, half = (path / "iql.safetensors" for path in (folder, tmp_path / "half"))
    assert half.stat().st_size < 0.6 * full.stat().st_size
    loaded = load_checkpoint(tmp_path / "half")
    assert loaded.encoder_id == encoder_id != load_checkpoint(folder).encoder_id
    assert loaded.vqvae.codebook.dtype == torch.float32
    assert torch.allclose(
        loaded.iql.v.body[0].weight, networks()["iql"].v.body[0].weight, atol=1e-3
    )


def test_saving_again_replaces_the_checkpoint(folder):
    save(folder, {"round": 2}, seed=1)
    assert load_checkpoint(folder).metrics == {"round": 2}
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize(
    "content",
    ['{"name": "a web page", "short_name": "page"}', '{"format": "ptp-encoder"}', "[]", "{"],
    ids=["another program's", "another kind", "no mapping", "damaged"],
)
def test_a_folder_of_something_else_with_a_manifest_is_not_replaced(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="exists and holds no checkpoint: name another"):
        save(tmp_path, {}, seed=1)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "manifest.json").read_text() == content


def test_a_damaged_checkpoint_is_replaced(folder):
    (folder / "manifest.json").write_text("{")
    save(folder, {"round": 2}, seed=1)
    assert load_checkpoint(folder).metrics == {"round": 2}


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
    (folder / "encoder" / "vqvae.safetensors").unlink()


def remove_manifest(folder):
    (folder / "manifest.json").unlink()


def break_manifest(folder):
    (folder / "manifest.json").write_text("{")


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def edit(folder, **values):
    (folder / "manifest.json").write_text(json.dumps(manifest_of(folder) | values))


def edit_part(folder, name, **values):
    parts = manifest_of(folder)["parts"]
    parts[name] |= values
    edit(folder, parts=parts)


def actions_without_names(folder):
    edit(folder, spec=manifest_of(folder)["spec"] | {"actions": 5})


def more_actions(folder):
    names = [f"joint_{number}" for number in range(7)]
    edit(folder, spec=manifest_of(folder)["spec"] | {"actions": names})


def other_version(folder):
    edit(folder, version=3)


def other_format(folder):
    edit(folder, format="something")


def other_config(folder):
    config = manifest_of(folder)["parts"]["iql"]["config"]
    edit_part(folder, "iql", config=config | {"q_hidden": [16]})


def unknown_setting(folder):
    edit_part(folder, "iql", config={"expectil": 0.9})


def unknown_section(folder):
    edit(folder, config={"planer": {}})


def unknown_part(folder):
    edit_part(folder, "iql", type="sarsa")


def unknown_agent(folder):
    edit(folder, agent="dreams")


def part_of_another_encoder(folder):
    other = folder.with_name("other")
    save(other, {}, seed=5)
    shutil.copy(other / "iql.safetensors", folder)
    edit_part(folder, "iql", **manifest_of(other)["parts"]["iql"])


def another_encoder(folder):
    other = folder.with_name("other")
    save(other, {}, seed=5)
    shutil.rmtree(folder / "encoder")
    shutil.copytree(other / "encoder", folder / "encoder")


def no_encoder(folder):
    shutil.rmtree(folder / "encoder")


def absolute_file(folder):
    edit_part(folder, "iql", file=str(folder / "iql.safetensors"))


def file_far_away(folder):
    edit_part(folder, "iql", file="../../../elsewhere/iql.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "iql.safetensors: truncated, .* copy the checkpoint again"),
        (alter, "generators.safetensors: contents altered"),
        (remove_part, "vqvae.safetensors: cannot be read"),
        (remove_manifest, "manifest.json is missing"),
        (break_manifest, "manifest.json: unreadable"),
        (other_version, "version 3, this program reads 2"),
        (other_format, "not a checkpoint of this project"),
        (other_config, "iql.safetensors: does not fit its configuration"),
        (actions_without_names, "the agent's spec is damaged"),
        (more_actions, "iql.safetensors: does not fit its configuration"),
        (unknown_setting, r'parts\.iql: unknown key "expectil"'),
        (unknown_section, 'unknown key "planer"'),
        (unknown_part, 'a part of type "sarsa"; this program knows vqvae'),
        (unknown_agent, 'no method "dreams"'),
        (another_encoder, "made for encoder .* holds .* restore the folders from one source"),
        (no_encoder, "its encoder is neither in .*encoder nor in .*: copy it"),
        (absolute_file, "names /.*, which is not below"),
        (file_far_away, "names ../../../elsewhere/iql.safetensors, which is not below"),
        (part_of_another_encoder, "trained on another encoder"),
    ],
)
def test_damage_gives_one_line_with_cause_and_cure(folder, damage, message):
    damage(folder)
    with pytest.raises(CheckpointError, match=message) as raised:
        load_checkpoint(folder)
    assert "\n" not in str(raised.value)


def test_a_checkpoint_of_the_first_version_names_the_converter(folder):
    for values in ({"format_version": 1}, {"format_version": 1, "format": "ptp-checkpoint"}):
        edit(folder, **values)
        with pytest.raises(CheckpointError, match=f"ptp convert-checkpoint {folder} NEW"):
            load_checkpoint(folder)
    (folder / "manifest.json").rename(folder / "baselines.json")
    with pytest.raises(CheckpointError, match=f"ptp convert-checkpoint {folder} NEW"):
        load_checkpoint(folder)


@pytest.fixture
def shared(tmp_path):
    """A checkpoint and those of the baselines beside it, which share its files."""
    tiny_checkpoint(tmp_path / "models" / "table")
    return tmp_path / "models" / "table", tiny_baseline_folders(tmp_path / "models" / "table")


def test_checkpoints_share_encoder_and_policy_and_move_together(shared, tmp_path):
    table, folders = shared
    base = load_checkpoint(table)
    written = sorted(path.name for path in folders["leap"].iterdir())
    assert written == ["latent_vae.safetensors", "manifest.json"]
    leap = load_checkpoint(folders["leap"])
    assert leap.encoder_id == base.encoder_id and leap.agent == "leap"
    assert leap.sha256["iql.safetensors"] == base.sha256["iql.safetensors"]
    assert read_contents(folders["leap"]).sha256 == leap.sha256
    assert set(load_checkpoint(folders["gcbc"]).sha256) == {
        "policy.safetensors",
        "vqvae.safetensors",
    }
    moved = (tmp_path / "models").rename(tmp_path / "elsewhere")
    assert load_checkpoint(moved / "leap").sha256 == leap.sha256
    save(moved / "table", {}, seed=3)  # trained again: what was shared is gone
    with pytest.raises(CheckpointError, match="leap: made for encoder"):
        load_checkpoint(moved / "leap")


def test_what_cannot_be_shared_is_written_again(shared, tmp_path):
    _, folders = shared
    leap = load_checkpoint(folders["leap"])
    save_again(tmp_path / "far" / "off" / "leap", leap, {"round": 2})
    alone = load_checkpoint((tmp_path / "far").rename(tmp_path / "moved") / "off" / "leap")
    assert (alone.sha256, alone.agent, alone.metrics) == (leap.sha256, "leap", {"round": 2})
