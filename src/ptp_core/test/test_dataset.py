# SPDX-License-Identifier: Apache-2.0
"""Demonstrations on disk: robomimic's layout, resuming, damage, old files; collection."""

import dataclasses
import json

import h5py
import numpy as np
import pytest

from ptp_core.config import DataConfig
from ptp_core.data.collect_demonstrations import collect
from ptp_core.data.dataset import Dataset, DatasetWriter
from ptp_core.data.trajectory import CAMERA, Channel, Metadata, Segment, Target, Trajectory
from ptp_core.errors import DatasetError

TOY = DataConfig(env="ptp_core.toy_env:make_env", trajectories=6, steps=12, num_envs=1)


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
        assert demo["obs/camera_image"].shape == (12, 48, 48, 3)
        assert demo["obs/camera_image"].dtype == np.uint8
        assert demo["obs/proprioception"].shape == (12, 2)
        assert demo["obs/proprioception"].dtype == np.float32
        assert demo["actions"].shape == (12, 5)
        assert demo["actions"].dtype == np.float32
        assert demo["dones"][()].tolist() == [0] * 11 + [1]
        assert demo["rewards"].shape == (12,)


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
    mine = tmp_path / "notes" / "film.mp4.partial"  # a download of somebody
    mine.parent.mkdir()
    for path in (mine, tmp_path / "film.mp4.partial"):
        path.write_text("mine")
    assert run(TOY, tmp_path)["total"] == 6
    assert not list((tmp_path / "pending").iterdir())
    assert mine.exists() and (tmp_path / "film.mp4.partial").exists()
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
    images = {CAMERA: np.zeros((3, 48, 48, 3), dtype=np.uint8)}
    rewards = np.zeros(3, dtype=np.float32)
    with pytest.raises(DatasetError, match=r"outside \[-1, 1\]"):
        writer.add(Trajectory(0, images, np.full((3, 5), np.nan, dtype=np.float32), rewards))
    with pytest.raises(DatasetError, match=r"trajectory 0: 2 actions, but 3 images"):
        writer.add(Trajectory(0, images, np.zeros((2, 5), dtype=np.float32), rewards))
    actions = np.zeros((3, 5), dtype=np.float32)
    with pytest.raises(DatasetError, match="3 actions, but 2 proprioception"):
        writer.add(Trajectory(0, images, actions, rewards, proprioception=np.zeros((2, 4))))
    with pytest.raises(DatasetError, match="5 numbers, but 1 names"):
        writer.add(Trajectory(0, images, actions, rewards, action_channels=(Channel("dx"),)))
    with pytest.raises(DatasetError, match="uint8"):
        writer.add(Trajectory(0, {"wrist": np.zeros((3, 8, 8, 3))}, actions, rewards))
    assert writer.indices() == set()


def test_splitting_leaves_a_trajectory_on_either_side(tmp_path):
    run(TOY, tmp_path)
    arrays = Dataset(tmp_path).load()
    for fraction, sizes in ((0.5, (3, 3)), (1.0, (5, 1)), (0.0, (1, 5))):
        first, rest = arrays.split(fraction)
        assert (len(first.lengths), len(rest.lengths)) == sizes
        assert np.array_equal(np.concatenate([first.camera(), rest.camera()]), arrays.camera())
        assert [*first.metadata, *rest.metadata] == arrays.metadata
        assert first.fingerprint != rest.fingerprint
    with pytest.raises(DatasetError, match="too few"):
        rest.split(0.5)[0].split(0.5)[0].split(0.5)


def two_cameras(index=0, steps=4, height=32):
    """A trajectory with a second camera of another size and actions of seven numbers."""
    rng = np.random.default_rng(index)
    target = Target("drawer_opening", (0.1,), "m", "open")
    return Trajectory(
        index=index,
        images={
            CAMERA: rng.integers(0, 256, (steps, 48, 48, 3)).astype(np.uint8),
            "wrist": rng.integers(0, 256, (steps, height, 64, 3)).astype(np.uint8),
        },
        actions=rng.uniform(-1, 1, (steps, 7)).astype(np.float32),
        rewards=np.zeros(steps, dtype=np.float32),
        metadata=Metadata(
            instruction="open the drawer",
            primitive="open",
            target=target,
            success=True,
            source="teleoperation",
            env="my:env",
            protocol="varied",
            segments=(Segment(0, steps, "open", target, "open the drawer", True, 2),),
            extra={"seed": 7, "label": "success"},
        ),
        proprioception=rng.uniform(-1, 1, (steps, 3)).astype(np.float32),
        action_channels=tuple(Channel(f"joint_{i}", "rad", 0.1) for i in range(7)),
        proprioception_channels=tuple(Channel(name, "m") for name in "xyz"),
        observations={"force": rng.uniform(-1, 1, (steps, 6))},
    )


def test_a_trajectory_comes_back_with_all_that_it_had(tmp_path):
    written = two_cameras()
    DatasetWriter(tmp_path, {}).add(written)
    (read,) = Dataset(tmp_path)
    for camera, images in written.images.items():
        assert np.array_equal(read.images[camera], images)
    for name in ("actions", "rewards", "proprioception"):
        assert np.array_equal(getattr(read, name), getattr(written, name))
    assert np.array_equal(read.observations["force"], written.observations["force"])
    assert read.metadata == written.metadata
    assert read.action_channels == written.action_channels
    assert read.proprioception_channels == written.proprioception_channels


def test_cameras_of_any_size_load_together_or_by_name(tmp_path):
    writer = DatasetWriter(tmp_path, {})
    for index in range(3):
        writer.add(two_cameras(index, steps=4 + index))
    arrays = Dataset(tmp_path).load()
    assert arrays.lengths.tolist() == [4, 5, 6]
    assert arrays.camera().shape == (15, 48, 48, 3)
    assert arrays.camera("wrist").shape == (15, 32, 64, 3)
    assert arrays.actions.shape == (15, 7) and arrays.proprioception.shape == (15, 3)
    assert set(Dataset(tmp_path).load(cameras=["wrist"]).images) == {"wrist"}
    with pytest.raises(DatasetError, match='no camera "top"; it has camera, wrist'):
        Dataset(tmp_path).load(cameras=["top"])
    writer.add(two_cameras(3, height=16))
    with pytest.raises(DatasetError, match="the same columns throughout"):
        Dataset(tmp_path).load()


def version_1(path, index=0, **attributes):
    """A file as version 1 wrote it; returns its images and actions."""
    rng = np.random.default_rng(index)
    images = rng.integers(0, 256, (9, 48, 48, 3)).astype(np.uint8)
    actions = rng.uniform(-1, 1, (9, 5)).astype(np.float32)
    scale = {"translation": 0.05, "rotation": 0.1}
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["format_version"] = "ptp-demonstrations", 1
        file.attrs["description"] = json.dumps({"env": "x:y", "action_scale": scale})
        demo = file.create_group(f"data/demo_{index}")
        for name, value in {"num_samples": 9, "primitive": "open", **attributes}.items():
            demo.attrs[name] = value
        demo.create_dataset("obs/image", data=images, chunks=images.shape, compression="lzf")
        demo["actions"], demo["rewards"] = actions, np.zeros(9, np.float32)
    return images, actions


def test_files_of_version_1_are_read_as_before(tmp_path):
    images, actions = version_1(tmp_path / "old.h5", success=True, seed=3)
    arrays = Dataset(tmp_path / "old.h5").load()
    assert np.array_equal(arrays.camera(), images) and np.array_equal(arrays.actions, actions)
    assert arrays.proprioception is None
    assert arrays.metadata == [
        Metadata(primitive="open", success=True, source="scripted", extra={"seed": 3})
    ]
    assert arrays.action_channels[3] == Channel("dyaw", "rad", 0.1)
    version_1(tmp_path / "bag.h5", success=True, source="episode_000001")
    (imported,) = Dataset(tmp_path / "bag.h5").load().metadata
    assert (imported.source, imported.extra) == ("", {"recording": "episode_000001"})


def test_new_trajectories_are_not_added_to_a_folder_of_version_1(tmp_path):
    content = {"format": "ptp-demonstrations", "format_version": 1, "description": {}}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="format version 1, new data have version 2"):
        DatasetWriter(tmp_path, {})


def test_contents_that_changed_on_disk_are_noticed(tmp_path):
    run(TOY, tmp_path)
    before = Dataset(tmp_path).fingerprint()
    (shard,) = tmp_path.glob("shard_*.hdf5")
    with h5py.File(shard, "r+") as file:
        file["data/demo_2/actions"][3] = 0.5
    with pytest.raises(DatasetError, match="trajectory 2 is not what was stored"):
        Dataset(tmp_path).load()
    with h5py.File(shard, "r+") as file:
        del file["data/demo_2"].attrs["content_sha256"]
    assert Dataset(tmp_path).load().fingerprint != before


def test_the_fingerprint_is_of_contents_metadata_and_numbers(tmp_path):
    changes = {
        "same": lambda t: t,
        "words": lambda t: dataclasses.replace(t, metadata=Metadata(instruction="close it")),
        "image": lambda t: dataclasses.replace(
            t, images={**t.images, CAMERA: t.images[CAMERA] ^ 1}
        ),
        "number": lambda t: dataclasses.replace(t, index=5),
    }
    found = {}
    for name, change in {"first": lambda t: t, **changes}.items():
        DatasetWriter(tmp_path / name, {}).add(change(two_cameras()))
        found[name] = Dataset(tmp_path / name).fingerprint()
    assert found.pop("same") == found["first"]
    assert len(set(found.values())) == len(found)
