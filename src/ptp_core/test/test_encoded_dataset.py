# SPDX-License-Identifier: Apache-2.0
"""A data set as latents: its columns on disk, its parts, its views, and when a cache counts."""

import dataclasses

import numpy as np
import pytest
from safetensors.numpy import save_file

from ptp_core.config import DataConfig, GoalRolesConfig, RelabellingConfig
from ptp_core.data.collect_demonstrations import collect
from ptp_core.data.dataset import Dataset
from ptp_core.data.encoded_dataset import (
    EXPERT_ACTIONS,
    DatasetView,
    EncodedDataset,
    cache_key,
    encode_dataset,
)
from ptp_core.data.trajectory import Channel, Metadata, Segment
from ptp_core.errors import DatasetError, InputError
from ptp_core.tiny_networks import ENCODER, tiny_networks

LENGTHS = np.array([10, 4, 6])
VIEW_LENGTHS = np.array([8, 1, 20, 3])


def encoded(**changes):
    rng = np.random.default_rng(0)
    frames = int(LENGTHS.sum())
    chain = (Segment(0, 3, "open", done=2), Segment(3, 10, "slide", done=8))
    values = {
        "codes": rng.integers(0, 512, (frames, 144)).astype(np.uint16),
        "actions": rng.uniform(-1, 1, (frames, 5)).astype(np.float32),
        "lengths": LENGTHS,
        "encoder_id": ENCODER,
        "proprioception": rng.uniform(-1, 1, (frames, 3)).astype(np.float32),
        "metadata": [
            Metadata(instruction="open, then slide", primitive="chain", segments=chain),
            Metadata(primitive="open"),
            Metadata(primitive="close", segments=(Segment(0, 6, "close", success=True),)),
        ],
        "columns": {
            "codes/wrist": rng.integers(0, 512, (frames, 144)).astype(np.uint16),
            "features": rng.normal(size=(frames, 8)).astype(np.float32),
        },
        "action_channels": (*(Channel(name, "m", 0.05) for name in "abcd"), Channel("gripper")),
        "proprioception_channels": tuple(Channel(name, "m") for name in "xyz"),
        "key": "k",
    }
    return EncodedDataset(**{**values, **changes})


def same(first, second):
    for name in ("codes", "actions", "lengths", "proprioception"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
    assert first.columns.keys() == second.columns.keys()
    for name, values in first.columns.items():
        assert np.array_equal(values, second.columns[name])
    assert list(first.metadata) == list(second.metadata)
    for name in ("encoder_id", "camera", "action_channels", "proprioception_channels", "key"):
        assert getattr(first, name) == getattr(second, name), name


def test_saving_keeps_every_column_and_all_metadata(tmp_path):
    data = encoded()
    data.save(tmp_path / "codes.safetensors")
    same(EncodedDataset.load(tmp_path / "codes.safetensors"), data)


def test_a_file_of_version_1_is_read(tmp_path):
    data = encoded()
    tensors = {"codes": data.codes, "actions": data.actions, "lengths": data.lengths}
    save_file(tensors, tmp_path / "old", metadata={"encoder_id": ENCODER})
    old = EncodedDataset.load(tmp_path / "old")
    assert np.array_equal(old.codes, data.codes) and old.encoder_id == ENCODER
    assert old.proprioception is None and old.key == ""
    assert list(old.metadata) == [Metadata()] * 3


def test_damaged_files_and_other_versions_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "codes"
    monkeypatch.setattr("ptp_core.data.encoded_dataset.ENCODED_VERSION", 9)
    encoded().save(path)
    monkeypatch.undo()
    with pytest.raises(DatasetError, match="version 9; this program reads 1 and 2"):
        EncodedDataset.load(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DatasetError, match="no encoded data set"):
        EncodedDataset.load(path)


def test_columns_of_another_length_are_refused():
    with pytest.raises(DatasetError, match="do not go with"):
        encoded(columns={"features": np.zeros((3, 2))})
    with pytest.raises(DatasetError, match="2 descriptions"):
        encoded(metadata=[Metadata()] * 2)


def test_a_split_takes_all_columns_along():
    data = encoded()
    first, rest = data.split(0.66)
    assert (first.lengths.tolist(), rest.lengths.tolist()) == ([10, 4], [6])
    assert np.array_equal(rest.columns["features"], data.columns["features"][14:])
    assert np.array_equal(first.proprioception, data.proprioception[:14])
    assert rest.metadata[0].primitive == "close"
    assert first.key == rest.key == ""  # it is of the whole


def test_segments_become_trajectories():
    data = encoded()
    single = data.by_segment()
    assert single.lengths.tolist() == [3, 7, 4, 6]
    assert np.array_equal(single.codes, data.codes)
    assert [known.primitive for known in single.metadata] == ["open", "slide", "open", "close"]
    assert single.metadata[1].segments == (Segment(0, 7, "slide", done=5),)
    gap = encoded(metadata=[Metadata(segments=(Segment(2, 5, "open"),)), Metadata(), Metadata()])
    assert gap.by_segment().lengths.tolist() == [3, 4, 6]
    assert np.array_equal(gap.by_segment().actions[:3], gap.actions[2:5])


def test_working_frames_are_those_before_the_work_is_done():
    working = encoded().working()
    assert np.flatnonzero(~working).tolist() == [2, 8, 9]


def test_the_content_hash_is_of_every_column():
    data = encoded()
    changed = [
        encoded(actions=data.actions * 0.5),
        encoded(proprioception=None),
        encoded(lengths=np.array([4, 10, 6]), metadata=()),
        encoded(encoder_id="other"),
        encoded(columns={}),
    ]
    hashes = {other.content_hash() for other in changed}
    assert len(hashes) == len(changed) and data.content_hash() not in hashes
    assert encoded().content_hash() == data.content_hash()


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    toy = DataConfig(env="ptp_core.toy_env:make_env", trajectories=2, steps=5, num_envs=1)
    collect(toy, folder, progress=False)
    return Dataset(folder).load()


def test_encoding_keeps_proprioception_and_metadata_and_the_cameras_asked_for(arrays):
    networks = tiny_networks()
    two = dataclasses.replace(
        arrays, images={"camera": arrays.camera(), "wrist": arrays.camera()[::-1].copy()}
    )
    data = encode_dataset(networks.vqvae, two, ENCODER, cameras=["wrist", "camera"])
    assert data.camera == "wrist"
    assert np.array_equal(data.columns["codes/camera"], data.codes[::-1])
    assert data.metadata == arrays.metadata
    assert np.array_equal(data.proprioception, arrays.proprioception)
    only = encode_dataset(networks.vqvae, two, ENCODER)
    assert only.camera == "camera" and only.columns.keys() == {EXPERT_ACTIONS}
    assert np.array_equal(only.columns[EXPERT_ACTIONS], arrays.expert_actions)
    assert len({only.key, data.key, cache_key(arrays.fingerprint, "other", ["camera"])}) == 3


def test_images_that_the_encoder_cannot_take_are_named(arrays):
    networks = tiny_networks()
    large = dataclasses.replace(arrays, images={"top": np.zeros((10, 64, 64, 3), np.uint8)})
    with pytest.raises(DatasetError, match="images of top are 64 x 64; the encoder needs 48 x 48"):
        encode_dataset(networks.vqvae, large, ENCODER)
    with pytest.raises(DatasetError, match='no camera "wrist" in the data; they have camera'):
        encode_dataset(networks.vqvae, arrays, ENCODER, cameras=["wrist"])


@pytest.fixture
def data():
    frames = int(VIEW_LENGTHS.sum())
    actions = np.repeat(np.arange(frames, dtype=np.float32)[:, None], 5, axis=1)
    return EncodedDataset(np.zeros((frames, 144), np.uint16), actions, VIEW_LENGTHS, "id")


def only(**kind):
    none = {"future": 0.0, "next": 0.0, "original": 0.0}
    return RelabellingConfig(**{**none, **kind})


def rng():
    return np.random.default_rng(0)


def test_frames_have_the_room_that_was_asked_for(data):
    for room, expected in (
        (0, range(32)),
        (1, [*range(7), *range(9, 28), 29, 30]),
        (5, [*range(3), *range(9, 24)]),
    ):
        view = DatasetView(data, room=room)
        assert len(view) == len(expected)
        assert set(view.draw(3000, rng())) == set(expected)
    with pytest.raises(DatasetError, match="no frame has 20 frames after it"):
        DatasetView(data, room=20)


def test_weights_say_how_often_a_frame_is_drawn(data):
    weights = np.ones(32)
    weights[:8], weights[29:] = 3.0, 0.0
    drawn = DatasetView(data, weights=weights).draw(20_000, rng())
    assert not (drawn >= 29).any()
    # 7 frames of weight 3 and 19 of weight 1 can be drawn.
    assert (drawn < 8).mean() == pytest.approx(21 / 40, abs=0.02)
    with pytest.raises(DatasetError, match="a weight above 0"):
        DatasetView(data, weights=np.zeros(32))


def test_each_kind_of_goal_lies_where_it_says(data):
    view = DatasetView(data, room=0)
    frames = view.draw(5000, rng())
    last = view.last(frames)

    def goals(**kind):
        return view.goals(frames, only(**kind), rng())

    assert np.array_equal(goals(current=1.0), frames)
    assert np.array_equal(goals(next=1.0), np.minimum(frames + 1, last))
    assert np.array_equal(goals(final=1.0), last)
    assert np.array_equal(goals(original=1.0), last)
    future = goals(future=1.0)
    inside = frames < last
    assert (future[inside] > frames[inside]).all() and (future <= last).all()
    assert np.array_equal(future[~inside], frames[~inside])
    other = goals(random=1.0)
    assert (view.trajectory(other) != view.trajectory(frames)).all()
    assert set(other) == set(range(32))


def test_geometric_futures_are_near_and_end_with_the_trajectory(data):
    view = DatasetView(data)
    config = only(future=1.0, future_distribution="geometric", discount=0.5)
    frames = np.full(20_000, 9)
    ahead = view.goals(frames, config, rng()) - frames
    assert ahead.min() == 1 and ahead.max() <= 19
    for steps in (1, 2, 3):
        assert (ahead == steps).mean() == pytest.approx(0.5**steps, abs=0.015)
    assert (view.goals(np.full(100, 27), config, rng()) == 28).all()


def test_roles_have_probabilities_of_their_own(data):
    view = DatasetView(data)
    frames = view.draw(20_000, rng())
    roles = GoalRolesConfig.hiql()
    value = view.goals(frames, roles.value, rng())
    own = view.trajectory(value) == view.trajectory(frames)
    assert (~own).mean() == pytest.approx(0.3, abs=0.015)
    assert (value == frames).mean() == pytest.approx(0.2, abs=0.015)
    actor = view.goals(frames, roles.actor, rng())
    assert (actor > frames).all() and (actor <= view.last(frames)).all()


def test_a_single_trajectory_has_no_other_one_for_random_goals():
    alone = EncodedDataset(
        np.zeros((6, 144), np.uint16), np.zeros((6, 5), np.float32), np.array([6]), "id"
    )
    view = DatasetView(alone)
    assert set(view.goals(np.zeros(500, int), only(random=1.0), rng())) == set(range(6))


def test_chunks_repeat_the_last_action_and_say_which_are_real(data):
    view = DatasetView(data)
    actions, real = view.chunks(np.array([0, 5, 8, 29]), 6)
    assert actions.shape == (4, 6, 5) and actions.dtype == np.float32
    assert actions[..., 0].tolist() == [
        [0, 1, 2, 3, 4, 5],
        [5, 6, 7, 7, 7, 7],
        [8] * 6,
        [29, 30, 31, 31, 31, 31],
    ]
    assert real.sum(1).tolist() == [6, 3, 1, 3]
    with pytest.raises(InputError, match="a chunk of 0 actions"):
        view.chunks(np.array([0]), 0)


def test_steps_ahead_end_with_the_trajectory(data):
    view = DatasetView(data)
    assert view.ahead(np.array([0, 5, 9]), 4).tolist() == [4, 7, 13]
    assert view.ahead(np.array([0, 5]), np.array([1, 9])).tolist() == [1, 7]


def test_trajectories_can_be_chosen_with_all_that_belongs_to_them():
    whole = encoded()
    part = whole.only(np.array([False, True, True]))
    assert part.lengths.tolist() == LENGTHS[1:].tolist()
    assert [known.primitive for known in part.metadata] == ["open", "close"]
    np.testing.assert_array_equal(part.codes, whole.codes[LENGTHS[0] :])
    np.testing.assert_array_equal(part.columns["features"], whole.columns["features"][10:])
