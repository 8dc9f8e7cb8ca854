# SPDX-License-Identifier: Apache-2.0
"""robomimic's files: theirs read through a mapping, ours as their scripts read them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptp_core.config.loading import from_dict
from ptp_core.data.dataset import Dataset
from ptp_core.data.demo_file import write_file
from ptp_core.episodes.bag_mapping import BagMapping
from ptp_core.episodes.import_filter import Selection
from ptp_core.errors import DatasetError, InputError
from ptp_core.exchange.exchange_testing import (
    DESCRIPTION,
    demonstration,
    same_trajectories,
    write_robomimic,
)
from ptp_core.exchange.export_sources import ExportSources
from ptp_core.exchange.import_columns import import_episodes
from ptp_core.exchange.robomimic_file import RobomimicFile, export_robomimic

MAPPING = {
    "image": {"topic": "obs/agentview_image", "size": 84},
    "columns": {"action": "actions", "motion": [0, 1, 2, 5], "scale": 0.02, "turn_scale": 0.05},
    "gripper": {"topic": "actions", "value": "6", "open": -1.0, "closed": 1.0},
    "states": [{"name": "eef", "topic": "obs/robot0_eef_pos", "value": "all"}],
    "rate": 0.0,
    "translation": 0.05,
    "rotation": 0.1,
}
SMALL = Selection(min_steps=3, idle=0.0, idle_margin=0)


def bring_in(path, tmp_path, mask=""):
    return import_episodes(
        RobomimicFile(path, mask).episodes(),
        tmp_path / "out.h5",
        source=path.name,
        mapping=from_dict(BagMapping, MAPPING),
        picture=np.ascontiguousarray,
        selection=SMALL,
    )


def test_their_arrays_become_ours(tmp_path):
    written = write_robomimic(tmp_path / "theirs.hdf5")
    summary = bring_in(tmp_path / "theirs.hdf5", tmp_path)
    assert (summary.trajectories, summary.episodes) == (3, 3)
    for trajectory, theirs in zip(Dataset(tmp_path / "out.h5"), written, strict=True):
        told = theirs["actions"]
        assert trajectory.actions[:, :3] == pytest.approx(told[:, :3] * 0.02 / 0.05, abs=1e-6)
        assert trajectory.actions[:, 3] == pytest.approx(told[:, 5] * 0.05 / 0.1, abs=1e-6)
        assert trajectory.actions[:, 4] == pytest.approx(told[:, 6], abs=1e-6)
        assert np.array_equal(trajectory.images["camera"], theirs["obs/agentview_image"])
        assert np.array_equal(trajectory.observations["eef"], theirs["obs/robot0_eef_pos"])
    found = [trajectory.metadata.success for trajectory in Dataset(tmp_path / "out.h5")]
    assert found == [True, None, True]  # no reward says nothing


def test_a_mask_chooses_episodes_and_an_unknown_one_is_named(tmp_path):
    write_robomimic(tmp_path / "theirs.hdf5")
    assert bring_in(tmp_path / "theirs.hdf5", tmp_path, "train").episodes == 2
    with pytest.raises(InputError, match='no mask "test"; it has train'):
        len(RobomimicFile(tmp_path / "theirs.hdf5", "test"))


def test_the_rate_is_the_control_frequency(tmp_path):
    write_robomimic(tmp_path / "theirs.hdf5")
    assert {episode.fps for episode in RobomimicFile(tmp_path / "theirs.hdf5").episodes()} == {
        20.0
    }


def test_what_is_no_file_of_robomimic_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        len(RobomimicFile(tmp_path / "missing"))
    (tmp_path / "text").write_text("no HDF5")
    with pytest.raises(DatasetError, match="not HDF5"):
        len(RobomimicFile(tmp_path / "text"))
    with h5py.File(tmp_path / "empty", "w"):
        pass
    with pytest.raises(DatasetError, match="no group data"):
        len(RobomimicFile(tmp_path / "empty"))
    write_file(tmp_path / "ours", DESCRIPTION, [demonstration(0)])
    with pytest.raises(InputError, match="a data set of ours"):
        len(RobomimicFile(tmp_path / "ours"))


def test_links_out_of_the_file_are_refused(tmp_path):
    write_robomimic(tmp_path / "theirs.hdf5")
    with h5py.File(tmp_path / "theirs.hdf5", "a") as file:
        file["data/demo_9"] = h5py.ExternalLink("other.hdf5", "/data")
    with pytest.raises(DatasetError, match="leads to another file"):
        list(RobomimicFile(tmp_path / "theirs.hdf5").episodes())


@pytest.fixture
def exported(tmp_path):
    demos = [demonstration(n) for n in range(10)]
    write_file(tmp_path / "ours.h5", {**DESCRIPTION, "env_id": "ptp/Table-v0"}, demos)
    counts = export_robomimic(ExportSources([tmp_path / "ours.h5"]), tmp_path / "out.hdf5", 0.2)
    assert counts == (10, 120, 2)
    return tmp_path / "out.hdf5"


def test_an_export_has_masks_and_what_their_scripts_ask_for(exported):
    with h5py.File(exported) as file:
        settings = json.loads(file["data"].attrs["env_args"])
        assert (settings["env_name"], settings["type"]) == ("ptp/Table-v0", 2)
        assert file["data"].attrs["total"] == 120
        masks = {key: [name.decode() for name in file[f"mask/{key}"][()]] for key in file["mask"]}
        assert masks["valid"] == ["demo_8", "demo_9"]
        assert masks["train"] == [f"demo_{n}" for n in range(8)]


def test_an_export_is_a_data_set_of_ours_too(exported):
    demos = [demonstration(n) for n in range(10)]
    assert all(map(same_trajectories, Dataset(exported), demos))


@pytest.mark.skipif(
    "PTP_TEST_ROBOMIMIC" not in os.environ,
    reason="PTP_TEST_ROBOMIMIC names no checkout of robomimic",
)
def test_their_own_script_reads_an_export(exported):
    """get_dataset_info.py needs h5py and numpy alone."""
    script = Path(os.environ["PTP_TEST_ROBOMIMIC"]) / "robomimic/scripts/get_dataset_info.py"
    done = subprocess.run(
        [sys.executable, script, "--dataset", exported, "--verbose"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "total transitions: 120" in done.stdout
    assert "filter key valid with 2 demos" in done.stdout
    assert '"type": 2' in done.stdout
