# SPDX-License-Identifier: Apache-2.0
"""Demonstrations on disk: robomimic's layout, resuming, damage; collection."""

import dataclasses
import json

import h5py
import numpy as np
import pytest

from ptp_core.config import DataConfig
from ptp_core.data.collect import collect
from ptp_core.data.dataset import Dataset, DatasetWriter
from ptp_core.data.trajectory import Trajectory
from ptp_core.errors import ConfigError, DatasetError, InputError

TOY = DataConfig(env="ptp_core.toy_env:make_env", trajectories=6, steps=12, workers=1)


def run(config, out, **options):
    return collect(config, out, progress=False, **options)


def test_files_have_the_layout_that_robomimic_reads(tmp_path):
    run(TOY, tmp_path)
    (shard,) = tmp_path.glob("shard_*.hdf5")
    with h5py.File(shard) as file:
        data = file["data"]
        assert data.attrs["total"] == 72
        assert json.loads(data.attrs["env_args"])["env_name"] == TOY.env
        assert sorted(data) == [f"demo_{i}" for i in range(6)]
        demo = data["demo_3"]
        assert demo.attrs["num_samples"] == 12
        assert demo.attrs["primitive"] in ("reach", "carry")
        assert demo["obs/image"].shape == (12, 48, 48, 3)
        assert demo["obs/image"].dtype == np.uint8
        assert demo["actions"].shape == (12, 5)
        assert demo["actions"].dtype == np.float32
        assert demo["dones"][()].tolist() == [0] * 11 + [1]
        assert demo["rewards"].shape == (12,)


def test_the_recorded_action_is_the_noisy_clipped_one_that_was_executed(tmp_path):
    run(dataclasses.replace(TOY, noise_std=0.5, steps=40), tmp_path)
    arrays = Dataset(tmp_path).load()
    assert np.abs(arrays.actions).max() == 1.0
    assert len(np.unique(arrays.actions)) > 500
    assert arrays.lengths.tolist() == [40] * 6


def test_trajectories_depend_on_the_seed_alone_not_on_workers_or_interruptions(tmp_path):
    run(TOY, tmp_path / "one")
    run(dataclasses.replace(TOY, workers=2), tmp_path / "two")
    first = run(TOY, tmp_path / "three", limit=4)
    second = run(TOY, tmp_path / "three")
    assert (first["new"], second["new"], second["total"]) == (4, 2, 6)
    run(dataclasses.replace(TOY, seed=1), tmp_path / "other")
    one, two, three, other = (
        Dataset(tmp_path / name).load() for name in ("one", "two", "three", "other")
    )
    for arrays in (two, three):
        assert np.array_equal(one.images, arrays.images)
        assert np.array_equal(one.actions, arrays.actions)
        assert one.attributes == arrays.attributes
    assert not np.array_equal(one.actions, other.actions)


def test_resuming_with_other_settings_is_refused(tmp_path):
    run(TOY, tmp_path, limit=1)
    with pytest.raises(DatasetError, match=r"noise_std = 0\.05, asked for is 0\.2"):
        run(dataclasses.replace(TOY, noise_std=0.2), tmp_path)


def test_a_kill_while_writing_or_packing_loses_only_the_current_trajectory(tmp_path):
    run(TOY, tmp_path)
    writer = DatasetWriter(
        tmp_path, json.loads((tmp_path / "dataset.json").read_text())["description"]
    )
    again = next(iter(Dataset(tmp_path)))
    writer.add(again)  # as if the kill came after the shard's rename, before the removal
    (tmp_path / "pending" / "demo_9.hdf5.1.partial").write_bytes(b"half")
    assert run(TOY, tmp_path)["total"] == 6
    assert not list((tmp_path / "pending").iterdir())
    assert Dataset(tmp_path).indices == list(range(6))


def test_two_collections_into_one_folder_do_not_mix(tmp_path):
    run(TOY, tmp_path, limit=1)
    description = json.loads((tmp_path / "dataset.json").read_text())["description"]
    with (
        DatasetWriter(tmp_path, description).locked(),
        pytest.raises(DatasetError, match="another collection is writing here"),
    ):
        run(TOY, tmp_path)
    assert run(TOY, tmp_path)["total"] == 6


def test_damaged_and_foreign_files_give_one_clear_error(tmp_path):
    run(TOY, tmp_path)
    (shard,) = tmp_path.glob("shard_*.hdf5")
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match="truncated or not HDF5"):
        Dataset(tmp_path)
    with h5py.File(shard, "w") as file:
        file.attrs["format"], file.attrs["format_version"] = "ptp-demonstrations", 99
    with pytest.raises(DatasetError, match="version 99"):
        Dataset(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        Dataset(tmp_path / "none")
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(DatasetError, match="not a data set description"):
        Dataset(tmp_path)


def test_a_trajectory_of_wrong_contents_is_not_stored(tmp_path):
    writer = DatasetWriter(tmp_path, {})
    images = np.zeros((3, 48, 48, 3), dtype=np.uint8)
    rewards = np.zeros(3, dtype=np.float32)
    with pytest.raises(DatasetError, match=r"outside \[-1, 1\]"):
        writer.add(Trajectory(0, images, np.full((3, 5), np.nan, dtype=np.float32), rewards))
    with pytest.raises(DatasetError, match="3 images"):
        writer.add(Trajectory(0, images, np.zeros((2, 5), dtype=np.float32), rewards))
    assert writer.indices() == set()


def test_an_environment_that_cannot_teach_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be imported"):
        run(dataclasses.replace(TOY, env="ptp_core.none:make_env"), tmp_path)
    with pytest.raises(ConfigError, match=r"data\.env is not given"):
        run(dataclasses.replace(TOY, env=""), tmp_path)
    with pytest.raises(DatasetError, match="ended trajectory 0 after 5 steps"):
        run(dataclasses.replace(TOY, env_kwargs={"max_steps": 5}), tmp_path)


def test_splitting_leaves_a_trajectory_on_either_side(tmp_path):
    run(TOY, tmp_path)
    arrays = Dataset(tmp_path).load()
    for fraction, sizes in ((0.5, (3, 3)), (1.0, (5, 1)), (0.0, (1, 5))):
        first, rest = arrays.split(fraction)
        assert (len(first.lengths), len(rest.lengths)) == sizes
        assert np.array_equal(np.concatenate([first.images, rest.images]), arrays.images)
    with pytest.raises(DatasetError, match="too few"):
        rest.split(0.5)[0].split(0.5)[0].split(0.5)
