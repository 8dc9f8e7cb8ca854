# SPDX-License-Identifier: Apache-2.0
"""Mutations of data sets of LeRobot and robomimic: each reader reads them or refuses them."""

import os
import shutil
from pathlib import Path

import pytest

from ptp_core.data.demo_file import write_file
from ptp_core.exchange.exchange_testing import DESCRIPTION, demonstration, write_robomimic
from ptp_core.exchange.export_lerobot import export_lerobot
from ptp_core.exchange.export_sources import ExportSources
from ptp_core.exchange.lerobot_reader import LerobotFolder
from ptp_core.exchange.lerobot_writer import LerobotOptions
from ptp_core.exchange.robomimic_file import RobomimicFile
from ptp_core.fuzzing import SECONDS, fuzz

FINDS = Path(__file__).parent / "fuzz_finds"

pytestmark = pytest.mark.timeout(60 + 4 * float(os.environ.get(SECONDS, 0)))


def read_all(episodes):
    for episode in episodes:
        for frames in episode.frames.values():
            for _ in frames():
                pass


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    pytest.importorskip("pyarrow")
    pytest.importorskip("av")
    folder = tmp_path_factory.mktemp("exported")
    sizes = {"camera": (16, 16), "wide": (100, 100)}
    demos = [demonstration(n, steps=4, cameras=sizes) for n in range(2)]
    write_file(folder / "data.h5", DESCRIPTION, demos)
    export_lerobot(ExportSources([folder / "data.h5"]), folder / "out", LerobotOptions(fps=1))
    return folder / "out"


@pytest.mark.parametrize(
    "part",
    [
        "meta/info.json",
        "meta/episodes/chunk-000/file-000.parquet",
        "data/chunk-000/file-000.parquet",
        "videos/observation.images.wide/chunk-000/file-000.mp4",
    ],
)
def test_lerobot_data_sets(exported, tmp_path, part):
    folder = shutil.copytree(exported, tmp_path / "out")

    def read(content):
        (folder / part).write_bytes(content)
        read_all(LerobotFolder(folder).episodes())

    name = "lerobot_" + Path(part).parts[1].partition(".")[0]
    fuzz(read, [(exported / part).read_bytes()], FINDS, name)


def test_robomimic_files(tmp_path, monkeypatch):
    monkeypatch.setenv("PTP_HDF5_SECONDS", "1")  # one of the finds never ends
    write_robomimic(tmp_path / "real", steps=3, episodes=2)

    def read(content):
        (tmp_path / "theirs.hdf5").write_bytes(content)
        read_all(RobomimicFile(tmp_path / "theirs.hdf5").episodes())

    fuzz(read, [(tmp_path / "real").read_bytes()], FINDS, "robomimic")
