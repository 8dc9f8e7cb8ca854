# SPDX-License-Identifier: Apache-2.0
"""ptp export and ptp import as a user calls them."""

import json
import sys

import numpy as np
import pytest

from ptp_bringup.share_folder import shared_root
from ptp_cli.main import main
from ptp_core.data.dataset import Dataset
from ptp_core.data.demo_file import write_file
from ptp_core.episodes.bag_mapping import load_mapping
from ptp_core.episodes.bag_testing import STEP_RECORD, TOPICS, Senders
from ptp_core.episodes.episode import EpisodeInfo
from ptp_core.episodes.episode_recorder import EpisodeRecorder, EpisodeVerdict, RecorderLimits
from ptp_core.episodes.message_definitions import Definitions
from ptp_core.episodes.session_store import Session
from ptp_core.exchange.exchange_testing import (
    DESCRIPTION,
    demonstration,
    read_table,
    same_trajectories,
    write_robomimic,
)

STEPS = 12
VERDICTS = (
    EpisodeVerdict.SAVE_SUCCESS,
    EpisodeVerdict.SAVE_FAILURE,
    EpisodeVerdict.SAVE_UNLABELLED,
)
ROBOMIMIC = """
image: {topic: obs/agentview_image, size: 48}
columns: {action: actions, motion: [0, 1, 2, 5], scale: 0.05, turn_scale: 0.0872665}
gripper: {topic: actions, value: "6", open: -1, closed: 1}
rate: 0
"""


def ptp(*arguments):
    """Run a command line; return its exit status."""
    return main([str(argument) for argument in arguments])


@pytest.fixture
def libraries():
    pytest.importorskip("pyarrow")
    pytest.importorskip("av")


@pytest.fixture
def session(tmp_path):
    """A success, a failure and an episode without a label, of a policy with proprioception."""
    senders = Senders(Definitions(), proprioception=("x", "y"))
    session = Session(tmp_path / "session", create={"ptp": "0.1"})
    recorder = EpisodeRecorder(
        session, senders.definitions, TOPICS, STEP_RECORD, limits=RecorderLimits(min_free=0)
    )
    for number, verdict in enumerate(VERDICTS):
        first = number * 100
        recorder.start(
            EpisodeInfo(
                episode_id=f"e{number}",
                task="A",
                instruction="open the drawer",
                first_observation_seq=first,
            )
        )
        for topic, data in senders.episode(STEPS, first=first):
            recorder.put(topic, data)
        recorder.finish(verdict, "operator", last_observation_seq=first + STEPS)
    recorder.close()
    return session.folder, senders


def test_a_session_becomes_a_lerobot_data_set_with_its_failures(
    session, tmp_path, capsys, libraries
):
    folder, senders = session
    assert ptp("export", "lerobot", folder, "-o", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "3 episodes (1 failure, 1 success, 1 unlabelled), 36 frames at 10 a second" in said
    table = read_table(tmp_path / "out/data/chunk-000/file-000.parquet")
    assert table["next.success"].to_pylist() == [k == STEPS - 1 for k in range(3 * STEPS)]
    states = np.array(table["observation.state"].to_pylist(), np.float32)
    wanted = [senders.numbers(100 * n + k) for n in range(3) for k in range(STEPS)]
    assert np.array_equal(states, wanted)
    assert table["intervention"].to_pylist() == [False] * 3 * STEPS
    assert np.diff(table["stamp_ns"].to_pylist())[0] == 10**8
    tasks = read_table(tmp_path / "out/meta/tasks.parquet")
    assert tasks["task"].to_pylist() == ["open the drawer"]
    assert ptp("import", "lerobot", tmp_path / "out", "-o", tmp_path / "back.h5") == 0
    back = list(Dataset(tmp_path / "back.h5"))
    assert [trajectory.metadata.success for trajectory in back] == [True, False, False]
    assert np.array_equal(back[1].images["camera"][3], senders.picture(103))


def test_labels_choose_episodes_and_what_is_left_out_is_said(session, tmp_path, capsys, libraries):
    folder, _ = session
    out = tmp_path / "out"
    assert ptp("export", "lerobot", folder, "-o", out, "--labels", "success") == 0
    said = capsys.readouterr().out
    assert "1 episodes (1 success)" in said
    assert said.count("left out: it is labelled") == 2


def test_exports_and_imports_are_inverse(tmp_path, capsys, libraries):
    demos = [demonstration(n) for n in range(3)]
    write_file(tmp_path / "data.h5", DESCRIPTION, demos)
    assert ptp("export", "lerobot", tmp_path / "data.h5", "-o", tmp_path / "out") == 0
    assert ptp("import", "lerobot", tmp_path / "out", "-o", tmp_path / "back.h5") == 0
    assert "3 trajectories, 36 steps, of 3 of 3 episodes" in capsys.readouterr().out
    assert all(map(same_trajectories, Dataset(tmp_path / "back.h5"), demos))


def test_a_mapping_brings_a_lerobot_data_set_in(tmp_path, capsys, libraries):
    demos = [demonstration(n, steps=20) for n in range(2)]
    write_file(tmp_path / "data.h5", DESCRIPTION, demos)
    assert ptp("export", "lerobot", tmp_path / "data.h5", "-o", tmp_path / "out") == 0
    (tmp_path / "out/meta/ptp.json").unlink()  # now it is anybody's
    command = ("import", "lerobot", tmp_path / "out", "-o", tmp_path / "back.h5")
    assert ptp(*command) == 2
    error = capsys.readouterr().err
    assert "give --mapping" in error and "action (dx, dy, dz, dyaw, gripper)" in error
    (tmp_path / "map.yaml").write_text(
        "image: {topic: observation.images.camera}\n"
        "columns: {scale: 0.05, turn_scale: 0.1, proprioception: observation.state}\n"
        "gripper: {topic: action, value: gripper, open: -1, closed: 1}\n"
        "translation: 0.05\nrotation: 0.1\n"
    )
    report = tmp_path / "report.json"
    assert ptp(*command, "--mapping", tmp_path / "map.yaml", "--report", report) == 0
    assert "2 trajectories, 40 steps, of 2 of 2 episodes" in capsys.readouterr().out
    assert json.loads(report.read_text())["steps"] == 40
    for back, demo in zip(Dataset(tmp_path / "back.h5"), demos, strict=True):
        assert back.actions == pytest.approx(demo.actions, abs=1e-6)
        assert np.array_equal(back.images["camera"], demo.images["camera"])
        assert np.array_equal(back.proprioception, demo.proprioception)
        assert back.metadata.instruction == demo.metadata.instruction


def test_robomimic_goes_both_ways(tmp_path, capsys):
    write_robomimic(tmp_path / "theirs.hdf5", steps=15)
    (tmp_path / "map.yaml").write_text(ROBOMIMIC)
    command = ("import", "robomimic", tmp_path / "theirs.hdf5", "-o", tmp_path / "ours.h5")
    assert ptp(*command) == 2
    assert "obs/agentview_image (image)" in capsys.readouterr().err
    assert ptp(*command, "--mapping", tmp_path / "map.yaml") == 0
    assert "3 trajectories, 45 steps, of 3 of 3 episodes" in capsys.readouterr().out
    export = ("export", "robomimic", tmp_path / "ours.h5", "-o", tmp_path / "out.hdf5")
    assert ptp(*export, "--valid", "0.34") == 0
    assert "3 episodes, 45 steps; mask valid has 1" in capsys.readouterr().out
    assert all(
        map(same_trajectories, Dataset(tmp_path / "out.hdf5"), Dataset(tmp_path / "ours.h5"))
    )


def test_a_wrong_dimension_names_the_mapping_and_what_there_is(tmp_path, capsys):
    write_robomimic(tmp_path / "theirs.hdf5")
    (tmp_path / "map.yaml").write_text(ROBOMIMIC.replace("0, 1, 2, 5", "0, 1, 2, 7"))
    command = ("import", "robomimic", tmp_path / "theirs.hdf5", "-o", tmp_path / "ours.h5")
    assert ptp(*command, "--mapping", tmp_path / "map.yaml") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "map.yaml" in last and 'no dimension "7"; it has 7' in last


def test_without_the_libraries_one_line_says_how_to_get_them(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    for command in ("export", "import"):
        assert ptp(command, "lerobot", tmp_path, "-o", tmp_path / "out") == 2
        error = capsys.readouterr().err
        assert "make lerobot" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("source", "said"), [("missing", "it is not there"), ("empty", "no bag and no session")]
)
def test_sources_without_data_are_refused_before_anything_is_made(
    tmp_path, capsys, source, said, libraries
):
    (tmp_path / "empty").mkdir()
    assert ptp("export", "lerobot", tmp_path / source, "-o", tmp_path / "out") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_example_is_a_mapping_of_columns():
    mapping = load_mapping(shared_root() / "config" / "import" / "columns.yaml")
    assert mapping.check_for_columns("").motion == ("x", "y", "z", "yaw")
