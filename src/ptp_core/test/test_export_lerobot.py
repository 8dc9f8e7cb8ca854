# SPDX-License-Identifier: Apache-2.0
"""LeRobotDataset v3.0: what is in the folder, what is refused, and the way back."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from ptp_core.data.dataset import Dataset, DatasetWriter
from ptp_core.data.demo_file import write_file
from ptp_core.errors import DatasetError, InputError
from ptp_core.exchange import lerobot_layout as layout
from ptp_core.exchange.exchange_testing import (
    DESCRIPTION,
    demonstration,
    read_table,
    same_trajectories,
)
from ptp_core.exchange.export_lerobot import export_lerobot
from ptp_core.exchange.export_sources import ExportSources
from ptp_core.exchange.import_columns import import_own
from ptp_core.exchange.lerobot_reader import LerobotFolder
from ptp_core.exchange.lerobot_statistics import RunningStatistics
from ptp_core.exchange.lerobot_writer import LerobotOptions, lerobot_folder

pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("av")

DEMOS = [demonstration(0), demonstration(1, steps=9, success=False), demonstration(4, steps=15)]
FRAMES = sum(len(demo.actions) for demo in DEMOS)


@pytest.fixture
def dataset(tmp_path):
    path = tmp_path / "data.h5"
    write_file(path, DESCRIPTION, DEMOS)
    return path


def export(paths, out, **options):
    return export_lerobot(ExportSources(paths), out, LerobotOptions(fps=1, **options))


def read(folder, name):
    return json.loads((folder / name).read_text())


def test_the_info_counts_what_there_is_and_names_every_dimension(dataset, tmp_path):
    done = export([dataset], tmp_path / "out")
    info = read(tmp_path / "out", layout.INFO_FILE)
    assert (done.episodes, done.frames, done.fps) == (3, FRAMES, 10)
    assert done.labels == {"success": 2, "failure": 1}
    assert info["codebase_version"] == "v3.0" and info["fps"] == 10
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, FRAMES, 2)
    assert info["splits"] == {"train": "0:3"} and info["video_path"] is None
    action = info["features"]["action"]
    assert action == {
        "dtype": "float32",
        "shape": [5],
        "names": ["dx", "dy", "dz", "dyaw", "gripper"],
    }
    assert info["features"]["observation.images.camera"]["dtype"] == "image"
    assert info["features"]["observation.state"]["names"] == ["x", "y", "z"]


def test_every_frame_has_its_columns_and_a_lossless_image(dataset, tmp_path):
    export([dataset], tmp_path / "out")
    file = pq.ParquetFile(tmp_path / "out/data/chunk-000/file-000.parquet")
    assert file.num_row_groups == 3  # one for each episode
    info = read(tmp_path / "out", layout.INFO_FILE)
    assert set(file.schema_arrow.names) == set(info["features"])
    hub = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]
    assert hub["observation.images.camera"] == {"_type": "Image"}
    table = file.read()
    assert table["index"].to_pylist() == list(range(FRAMES))
    lengths = [len(demo.actions) for demo in DEMOS]
    steps = np.concatenate([np.arange(length) for length in lengths])
    assert table["episode_index"].to_pylist() == list(np.repeat([0, 1, 2], lengths))
    assert np.array_equal(table["timestamp"].to_numpy(), (steps / 10).astype(np.float32))
    assert np.array_equal(
        np.array(table["action"].to_pylist(), np.float32),
        np.concatenate([demo.actions for demo in DEMOS]),
    )
    stored = table["observation.images.camera"][lengths[0] + 2].as_py()["bytes"]
    picture = np.asarray(Image.open(io.BytesIO(stored)))
    assert np.array_equal(picture, DEMOS[1].images["camera"][2])


def test_failures_interventions_and_ends_are_columns(dataset, tmp_path):
    export([dataset], tmp_path / "out")
    table = read_table(tmp_path / "out/data/chunk-000/file-000.parquet")
    ends = np.cumsum([len(demo.actions) for demo in DEMOS]) - 1
    assert np.flatnonzero(table["next.done"].to_numpy()).tolist() == ends.tolist()
    assert np.flatnonzero(table["next.success"].to_numpy()).tolist() == [ends[0], ends[2]]
    wanted = np.concatenate([demo.observations["intervention"] for demo in DEMOS])
    assert np.array_equal(table["intervention"].to_numpy(), wanted)
    episodes = read_table(tmp_path / "out/meta/episodes/chunk-000/file-000.parquet")
    assert episodes["label"].to_pylist() == ["success", "failure", "success"]


def test_tasks_are_the_index_of_a_pandas_table(dataset, tmp_path):
    """lerobot reads them so; without the metadata it would take the number for the sentence."""
    export([dataset], tmp_path / "out")
    table = read_table(tmp_path / "out" / layout.TASKS_FILE)
    assert json.loads(table.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    sentences = ["put the can on the tray, 0", "put the can on the tray, 1"]
    assert table["task"].to_pylist() == sentences
    assert table["task_index"].to_pylist() == [0, 1]
    episodes = read_table(tmp_path / "out/meta/episodes/chunk-000/file-000.parquet")
    assert episodes["tasks"].to_pylist() == [[sentences[0]], [sentences[1]], [sentences[0]]]


def test_statistics_are_those_of_all_frames(dataset, tmp_path):
    export([dataset], tmp_path / "out")
    found = read(tmp_path / "out", layout.STATS_FILE)
    actions = np.concatenate([demo.actions for demo in DEMOS]).astype(np.float64)
    assert found["action"]["mean"] == pytest.approx(actions.mean(0))
    assert found["action"]["std"] == pytest.approx(actions.std(0))
    assert found["action"]["q90"] == pytest.approx(np.quantile(actions, 0.9, axis=0))
    assert found["action"]["count"] == [FRAMES]
    pixels = np.concatenate([demo.images["camera"] for demo in DEMOS]) / 255
    camera = found["observation.images.camera"]
    assert np.shape(camera["mean"]) == (3, 1, 1)
    for name, values in (
        ("mean", pixels.mean((0, 1, 2))),
        ("std", pixels.std((0, 1, 2))),
        ("min", pixels.min((0, 1, 2))),
        ("max", pixels.max((0, 1, 2))),
    ):
        assert np.ravel(camera[name]) == pytest.approx(values), name
    median = np.median(pixels.reshape(-1, 3), axis=0)
    assert np.ravel(camera["q50"]) == pytest.approx(median, abs=1 / 255)
    features = read(tmp_path / "out", layout.INFO_FILE)["features"]
    assert set(found) == set(features)


def test_statistics_of_parts_are_those_of_the_whole():
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)
    apart, together = RunningStatistics(), RunningStatistics()
    for part in (images[:2], images[2:]):
        apart.add_images("camera", part)
    together.add_images("camera", images)
    assert apart.totals() == together.totals()


def test_the_card_has_the_hubs_header_and_the_counts(dataset, tmp_path):
    export([dataset], tmp_path / "out", repo_id="user/cans", license="cc-by-4.0")
    text = (tmp_path / "out" / "README.md").read_text()
    assert text.startswith('---\nlicense: "cc-by-4.0"\n') and "- LeRobot" in text
    assert "data_files: data/*/*.parquet" in text and "# user/cans" in text
    assert "3 episodes (1 failure, 2 success)" in text


def test_what_was_exported_comes_back_as_it_was(dataset, tmp_path):
    export([dataset], tmp_path / "out")
    summary = import_own(LerobotFolder(tmp_path / "out"), tmp_path / "back.h5")
    assert (summary.trajectories, summary.steps) == (3, FRAMES)
    back = Dataset(tmp_path / "back.h5")
    assert back.description == DESCRIPTION
    assert all(map(same_trajectories, back, Dataset(dataset)))
    assert back.fingerprint() == Dataset(dataset).fingerprint()


def test_a_collected_folder_is_exported_like_a_file(dataset, tmp_path):
    writer = DatasetWriter(tmp_path / "collected", DESCRIPTION)
    for demo in DEMOS:
        writer.add(demo)
    export([tmp_path / "collected"], tmp_path / "one")
    export([dataset], tmp_path / "two")
    for name in (layout.INFO_FILE, layout.STATS_FILE, layout.OWN_FILE):
        assert read(tmp_path / "one", name) == read(tmp_path / "two", name)


def test_several_sources_become_one_data_set_with_new_numbers(dataset, tmp_path):
    done = export([dataset, dataset], tmp_path / "out")
    assert done.episodes == 6
    import_own(LerobotFolder(tmp_path / "out"), tmp_path / "back.h5")
    assert Dataset(tmp_path / "back.h5").indices == list(range(6))


@pytest.mark.parametrize("codec", ["h264", "av1"])
def test_larger_images_are_video_and_come_back_close(tmp_path, codec):
    sizes = {"camera": (48, 48), "wide": (128, 160)}
    demos = [demonstration(n, steps=7 + n, cameras=sizes) for n in range(3)]
    write_file(tmp_path / "data.h5", DESCRIPTION, demos)
    export([tmp_path / "data.h5"], tmp_path / "out", codec=codec)
    info = read(tmp_path / "out", layout.INFO_FILE)
    assert info["features"]["observation.images.camera"]["dtype"] == "image"
    wide = info["features"]["observation.images.wide"]
    assert wide["dtype"] == "video" and wide["shape"] == [128, 160, 3]
    assert wide["info"]["video.codec"] == codec and wide["info"]["video.fps"] == 10
    assert info["video_path"] == layout.VIDEO_PATH
    episodes = read_table(tmp_path / "out/meta/episodes/chunk-000/file-000.parquet")
    starts = episodes["videos/observation.images.wide/from_timestamp"].to_pylist()
    assert starts == pytest.approx([0.0, 0.7, 1.5])
    import_own(LerobotFolder(tmp_path / "out"), tmp_path / "back.h5")
    for back, demo in zip(Dataset(tmp_path / "back.h5"), demos, strict=True):
        assert np.array_equal(back.images["camera"], demo.images["camera"])
        error = np.abs(back.images["wide"].astype(int) - demo.images["wide"])
        assert error.mean() < 3
        # Frames differ by 2 levels: each must be nearer to its own than to its neighbours.
        means = back.images["wide"].mean((1, 2, 3)) - demo.images["wide"].mean((1, 2, 3))
        assert np.abs(means - means.mean()).max() < 1


def test_images_of_odd_sides_cannot_be_video(tmp_path):
    write_file(tmp_path / "data.h5", DESCRIPTION, [demonstration(0, cameras={"c": (47, 48)})])
    with pytest.raises(InputError, match=r"even sides.*--images png"):
        export([tmp_path / "data.h5"], tmp_path / "out", images="video")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_not_touched(dataset, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        export([dataset], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_an_empty_folder_is_filled(dataset, tmp_path):
    (tmp_path / "out").mkdir()
    export([dataset], tmp_path / "out")
    assert len(LerobotFolder(tmp_path / "out")) == 3


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, DatasetError])
def test_an_interrupted_export_leaves_nothing(tmp_path, interruption):
    def interrupted():
        with lerobot_folder(tmp_path / "out", LerobotOptions(fps=10), {}) as writer:
            writer.add(demonstration(0))
            assert list(tmp_path.iterdir()) == [writer.folder]
            raise interruption

    with pytest.raises(interruption):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_other_columns_than_the_first_episodes_are_refused(tmp_path):
    other = demonstration(1)
    other.proprioception, other.proprioception_channels = None, ()
    write_file(tmp_path / "one.h5", DESCRIPTION, [demonstration(0)])
    write_file(tmp_path / "two.h5", DESCRIPTION, [other])
    with pytest.raises(DatasetError, match=r"episode 1 has other columns.*observation\.state"):
        export([tmp_path / "one.h5", tmp_path / "two.h5"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_data_of_an_unknown_rate_need_fps(tmp_path):
    demo = demonstration(0)
    demo.observations = {}
    write_file(tmp_path / "data.h5", {}, [demo])
    with pytest.raises(InputError, match="--fps"):
        export([tmp_path / "data.h5"], tmp_path / "out")
    sources = ExportSources([tmp_path / "data.h5"])
    assert export_lerobot(sources, tmp_path / "out", fps=5).fps == 5


def test_stamps_of_another_rate_are_refused_unless_fps_is_given(dataset, tmp_path):
    slow = demonstration(7)
    slow.observations["stamp_ns"] = slow.observations["stamp_ns"] * 2
    write_file(tmp_path / "slow.h5", DESCRIPTION, [slow])
    paths = [dataset, tmp_path / "slow.h5"]
    with pytest.raises(DatasetError, match="5 images a second, not 10"):
        export(paths, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert export_lerobot(ExportSources(paths), tmp_path / "out", fps=10).episodes == 4
