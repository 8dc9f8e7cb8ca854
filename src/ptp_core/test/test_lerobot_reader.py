# SPDX-License-Identifier: Apache-2.0
"""LeRobot's data sets from others: versions, damage and hostile sizes give one clear error."""

import json
import shutil

import numpy as np
import pytest

from ptp_core.data.demo_file import write_file
from ptp_core.data.file_limits import OverBudget
from ptp_core.errors import DatasetError
from ptp_core.exchange import lerobot_layout as layout
from ptp_core.exchange.exchange_testing import DESCRIPTION, demonstration, read_table
from ptp_core.exchange.export_lerobot import export_lerobot
from ptp_core.exchange.export_sources import ExportSources
from ptp_core.exchange.import_columns import import_own
from ptp_core.exchange.lerobot_reader import LerobotFolder, decode_picture
from ptp_core.exchange.lerobot_writer import LerobotOptions

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("av")

DATA, EPISODES = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.wide/chunk-000/file-000.mp4"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    sizes = {"camera": (48, 48), "wide": (100, 120)}
    demos = [demonstration(n, cameras=sizes) for n in range(2)]
    write_file(folder / "data.h5", DESCRIPTION, demos)
    export_lerobot(ExportSources([folder / "data.h5"]), folder / "out", LerobotOptions(fps=1))
    return folder / "out"


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "out")


def change(path, **values):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **values}))


def rewrite(path, edit):
    table = edit(read_table(path))
    pq.write_table(table, path)


def read_all(folder):
    for episode in LerobotFolder(folder).episodes():
        for frames in episode.frames.values():
            list(frames())


def test_the_episodes_have_their_columns_names_and_tasks(folder):
    first, second = LerobotFolder(folder).episodes()
    demo = demonstration(1, cameras={"camera": (48, 48), "wide": (100, 120)})
    assert (first.task, second.task) == (
        "put the can on the tray, 0",
        "put the can on the tray, 1",
    )
    assert np.array_equal(second.columns["action"], demo.actions)
    assert second.columns["next.reward"].shape == (12,) and second.success is True
    assert second.names["observation.state"] == ("x", "y", "z")
    (*_, last) = second.frames["observation.images.camera"]()
    assert np.array_equal(last, demo.images["camera"][-1])
    assert len(list(second.frames["observation.images.wide"]())) == 12


@pytest.mark.parametrize(
    ("version", "said"),
    [("v2.1", "convert_dataset_v21_to_v30"), ("v2.0", "convert"), ("v4.0", "reads v3.0")],
)
def test_other_versions_are_refused_old_ones_with_the_converter(folder, version, said):
    change(folder / layout.INFO_FILE, codebase_version=version)
    with pytest.raises(DatasetError, match=said):
        LerobotFolder(folder)


def test_a_folder_without_info_is_no_data_set(tmp_path):
    with pytest.raises(DatasetError, match="no LeRobot data set"):
        LerobotFolder(tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {"fps": 0},
        {"fps": "fast"},
        {"features": []},
        {"features": {"../action": {"dtype": "float32", "shape": [1]}}},
        {"features": {"action": {"shape": [5]}}},
        {"data_path": "../../{chunk_index}.parquet"},
        {"video_path": "{video_key.__class__}"},
    ],
    ids=str,
)
def test_a_wrong_info_is_refused(folder, values):
    change(folder / layout.INFO_FILE, **values)
    with pytest.raises(DatasetError, match=r"info\.json"):
        LerobotFolder(folder)


@pytest.mark.parametrize("name", [DATA, EPISODES, VIDEO])
@pytest.mark.parametrize("cut", [0, 0.5])
def test_truncated_files_are_refused_by_name(folder, name, cut):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * cut)])
    with pytest.raises(DatasetError, match="cannot be read"):
        read_all(folder)


@pytest.mark.parametrize("name", [DATA, VIDEO])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DatasetError, match=name):
        read_all(folder)


def test_a_missing_column_is_named(folder):
    rewrite(folder / DATA, lambda table: table.drop_columns(["action"]))
    with pytest.raises(DatasetError, match="no column action"):
        read_all(folder)


def test_rows_that_are_missing_or_of_another_episode_are_seen(folder):
    rewrite(folder / DATA, lambda table: table.slice(0, table.num_rows - 1))
    with pytest.raises(DatasetError, match="ends 1 rows before the episode"):
        read_all(folder)
    rewrite(folder / DATA, lambda table: table.slice(1))
    with pytest.raises(DatasetError, match="not in their order"):
        read_all(folder)


def test_images_in_other_files_are_not_followed(folder):
    def edit(table):
        path = pa.array([{"bytes": None, "path": "secret.png"}] * table.num_rows)
        at = table.schema.get_field_index("observation.images.camera")
        return table.set_column(at, "observation.images.camera", path)

    rewrite(folder / DATA, edit)
    with pytest.raises(DatasetError, match="embed it"):
        read_all(folder)


def test_a_picture_that_claims_to_be_huge_is_not_decoded():
    head = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (60000).to_bytes(4, "big") * 2
    with pytest.raises(OverBudget, match="60000"):
        decode_picture({"bytes": head + bytes(16), "path": None})
    with pytest.raises(ValueError, match="no PNG"):
        decode_picture({"bytes": b"GIF89a", "path": None})


def test_a_table_that_unpacks_to_far_more_than_it_stores_is_refused(folder):
    batch = pa.table({"index": np.zeros(5_000_000, np.int64)})  # 40 MB in memory, 200 bytes here
    with pq.ParquetWriter(folder / DATA, batch.schema) as writer:
        for _ in range(4):
            writer.write_table(batch, row_group_size=len(batch))
    with pytest.raises(DatasetError, match="declares"):
        read_all(folder)


def test_an_export_that_was_changed_afterwards_needs_a_mapping(folder, tmp_path):
    own = json.loads((folder / layout.OWN_FILE).read_text())
    change(folder / layout.OWN_FILE, episodes=own["episodes"][:1])
    with pytest.raises(DatasetError, match="changed after its export"):
        import_own(LerobotFolder(folder), tmp_path / "back.h5")
    (folder / layout.OWN_FILE).write_text("{")
    with pytest.raises(DatasetError, match="--mapping"):
        import_own(LerobotFolder(folder), tmp_path / "back.h5")
    assert not (tmp_path / "back.h5").exists()
