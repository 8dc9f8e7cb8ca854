# SPDX-License-Identifier: Apache-2.0
"""Practice in process when something breaks: one clear error, and nothing finished is lost."""

import dataclasses
import json
import multiprocessing
import os
import resource
import signal
from contextlib import contextmanager, suppress

import pytest
import torch
from safetensors.torch import load_file

from ptp_core.config import DataConfig
from ptp_core.data.collect_demonstrations import collect
from ptp_core.data.encoded_dataset import EncodedDataset, encoded_demonstrations
from ptp_core.errors import CheckpointError, DatasetError, InputError, PtpError, StorageError
from ptp_core.practice.practice_runner import InProcessPractice
from ptp_core.practice.practice_settings import PracticeConfig, preset
from ptp_core.tiny_networks import tiny_checkpoint, tiny_config
from ptp_core.training.checkpoint import load_checkpoint, save_again

STEPS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "tiny"
    tiny_checkpoint(path, config=tiny_config(batch_size=8))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    config = DataConfig(env="ptp_core.toy_env:make_env", trajectories=4, steps=75, num_envs=1)
    collect(config, path, progress=False)
    return path


def practise(folder, out, *, num_envs=0, demonstrations=None, cancelled=None, epochs=2):
    config = PracticeConfig(
        checkpoint=folder,
        env="ptp_core.toy_env:make_env",
        env_kwargs={"max_steps": STEPS},
        epochs=epochs,
        episodes=2,
        max_steps=STEPS,
        evaluation_episodes=1,
        **dataclasses.asdict(preset("paper")),
    )
    practice = InProcessPractice(config, out, demonstrations, num_envs=num_envs)
    try:
        return practice.run(progress=False, cancelled=cancelled)
    finally:
        practice.close()


@contextmanager
def room(size):
    """No file may grow beyond ``size`` bytes: a real error of write()."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def weights(out):
    return load_file(out / "checkpoint" / "iql.safetensors")


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_full_disk_costs_the_running_epoch_alone(folder, tmp_path):
    practise(folder, tmp_path / "whole")
    out = tmp_path / "out"
    practise(folder, out, epochs=1)
    with room(2_000), pytest.raises(StorageError, match=r"000001: cannot be written .*make room"):
        practise(folder, out)
    assert [path.name for path in (out / "epochs").iterdir()] == ["000000"]
    practise(folder, out)
    assert same(weights(tmp_path / "whole"), weights(out))


def test_an_env_worker_that_is_killed_ends_the_run_with_one_line_and_it_goes_on(folder, tmp_path):
    practise(folder, tmp_path / "whole")
    out = tmp_path / "out"

    def kill():
        for worker in multiprocessing.active_children():
            with suppress(ProcessLookupError):  # it is dead already
                os.kill(worker.pid, signal.SIGKILL)
        return False

    with pytest.raises(PtpError, match=r"a working process died .*repeat the command to go on"):
        practise(folder, out, num_envs=1, cancelled=kill)
    practise(folder, out)
    assert same(weights(tmp_path / "whole"), weights(out))


@pytest.mark.parametrize("name", ["weights.safetensors", "plans.safetensors"])
def test_a_damaged_state_is_named(folder, tmp_path, name):
    practise(folder, tmp_path, epochs=1)
    path = tmp_path / "epochs" / "000000" / "state" / name
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CheckpointError, match=name):
        practise(folder, tmp_path)


def test_demonstrations_of_another_encoder_are_refused(folder, data, tmp_path):
    other = tmp_path / "other"
    tiny_checkpoint(other, config=tiny_config(batch_size=8), seed=5)
    kept = tmp_path / "codes.safetensors"
    foreign = encoded_demonstrations(data, load_checkpoint(other), kept)
    with pytest.raises(InputError, match=r"codes of encoder .{12}, the checkpoint has"):
        practise(folder, tmp_path / "out", demonstrations=foreign)
    again = encoded_demonstrations(data, load_checkpoint(folder), kept)
    assert again.encoder_id == load_checkpoint(folder).encoder_id
    assert EncodedDataset.load(kept).encoder_id == again.encoder_id


def test_codes_are_kept_for_the_same_data_alone(folder, data, tmp_path):
    kept = tmp_path / "codes.safetensors"
    checkpoint = load_checkpoint(folder)
    first = encoded_demonstrations(data, checkpoint, kept)
    stamp = kept.stat().st_mtime_ns
    assert encoded_demonstrations(data, checkpoint, kept).key == first.key
    assert kept.stat().st_mtime_ns == stamp
    # As many trajectories, as long, of another seed.
    config = DataConfig(
        env="ptp_core.toy_env:make_env", trajectories=4, steps=75, num_envs=1, seed=9
    )
    collect(config, tmp_path / "other", progress=False)
    other = encoded_demonstrations(tmp_path / "other", checkpoint, kept)
    assert other.key != first.key and other.content_hash() != first.content_hash()
    assert EncodedDataset.load(kept).key == other.key
    assert [known.primitive for known in other.metadata] != [""] * 4


def test_practice_does_not_go_on_with_other_demonstrations(folder, data, tmp_path):
    out, checkpoint = tmp_path / "out", load_checkpoint(folder)
    first = encoded_demonstrations(data, checkpoint, tmp_path / "a.safetensors")
    practise(folder, out, demonstrations=first, epochs=1)
    # The gripper the other way round: as many trajectories, the same images.
    other = dataclasses.replace(first, actions=first.actions * [1, 1, 1, 1, -1])
    with pytest.raises(
        InputError, match=r"demonstrations is [0-9a-f]{12}…, asked for is [0-9a-f]"
    ):
        practise(folder, out, demonstrations=other, epochs=2)
    with pytest.raises(InputError, match=r"demonstrations is [0-9a-f]{12}…, asked for is null"):
        practise(folder, out, epochs=2)
    assert practise(folder, out, demonstrations=first, epochs=2)["epochs"][1]["epoch"] == 2


def test_demonstrations_of_another_action_scale_are_refused(folder, data, tmp_path):
    checkpoint = load_checkpoint(folder)
    checkpoint.metrics["data"] = {"action_scale": {"translation": 0.05, "rotation": 0.1}}
    manifest = data / "dataset.json"
    content = json.loads(manifest.read_text())
    content["description"]["action_scale"] = {"translation": 0.02, "rotation": 0.1}
    source = tmp_path / "data"
    source.mkdir()
    for path in data.iterdir():
        if path != manifest:
            (source / path.name).symlink_to(path)
    (source / manifest.name).write_text(json.dumps(content))
    with pytest.raises(
        DatasetError, match=r"an action of 1 is 0\.02 m and 0\.1 rad, in .* 0\.05 m"
    ):
        encoded_demonstrations(source, checkpoint, tmp_path / "codes.safetensors")


def test_losses_that_are_not_finite_keep_the_last_good_weights(folder, tmp_path):
    checkpoint = load_checkpoint(folder)
    state = checkpoint.iql.state_dict()
    name = next(name for name in state if name.startswith("q."))
    state[name].fill_(1e30)  # finite as it stands; its square is not
    broken = tmp_path / "broken"
    save_again(broken, checkpoint, {})
    result = practise(broken, tmp_path / "out", epochs=1)
    assert result["updates"] > 0
    left = weights(tmp_path / "out").values()
    assert all(torch.isfinite(value).all() for value in left)
