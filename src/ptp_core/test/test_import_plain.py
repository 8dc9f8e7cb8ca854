# SPDX-License-Identifier: Apache-2.0
"""Bags of others through a mapping: causal, checked, refused with a reason."""

import shutil

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin

from ptp_core.config.loading import from_dict
from ptp_core.data.dataset import Dataset
from ptp_core.data.trajectory import CAMERA
from ptp_core.episodes.bag_mapping import BagMapping, load_mapping
from ptp_core.episodes.bag_testing import START, script, write_bag
from ptp_core.episodes.import_bags import find_sources, import_bags
from ptp_core.episodes.import_filter import Selection
from ptp_core.errors import ConfigError, EpisodeError

MAPPING = """
image: {topic: /camera/image_raw, max_age: 0.1}
twist: {topic: /servo/delta_twist_cmds}
gripper: {topic: /gripper, value: "position[0]", open: 0.04, closed: 0.0}
states:
  - {name: joint_positions, topic: /joint_states, value: position}
rate: 10.0
translation: 0.05
rotation: 0.1
"""
SMALL = Selection(min_steps=3, idle_margin=0)


@pytest.fixture
def mapping(tmp_path):
    path = tmp_path / "mapping.yaml"
    path.write_text(MAPPING)
    return load_mapping(path)


def convert(message):
    return message.data.reshape(48, 48, 3)


def bring_in(paths, tmp_path, mapping, **options):
    options.setdefault("selection", SMALL)
    return import_bags(
        find_sources(paths), tmp_path / "data.h5", mapping=mapping, picture=convert, **options
    )


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_demonstration_of_others_becomes_steps_on_the_clock_of_the_actions(
    tmp_path, mapping, plugin
):
    bag = write_bag(tmp_path / "bag", script(turn=0.5), plugin)
    summary = bring_in([bag], tmp_path, mapping)
    (trajectory,) = Dataset(tmp_path / "data.h5")
    assert len(trajectory.actions) == 19
    # 0.2 m/s for 0.1 s are 0.02 m; an action of 1 is 0.05 m. 0.05 rad of 0.1.
    assert trajectory.actions[:, 0] == pytest.approx(0.4)
    assert trajectory.actions[:, 3] == pytest.approx(0.5)
    assert trajectory.actions[:9, 4] == pytest.approx(-1.0)
    assert trajectory.actions[10:, 4] == pytest.approx(1.0)
    shown = trajectory.images[CAMERA][:, 0, 0, 0]
    decisions = START + 0.05 + 0.1 * np.arange(19)
    ages = decisions - (START + shown / 30)
    assert (ages > -1e-6).all() and (ages < 1 / 30 + 1e-6).all()
    (report,) = summary.reports
    assert report["image_rate_hz"] == pytest.approx(30.0, abs=0.1)
    assert report["rate_hz"] == pytest.approx(10.0)
    assert 0.0 <= report["image_age_s"]["max"] < 0.034


def test_states_stand_beside_the_pictures(tmp_path, mapping):
    import h5py

    bring_in([write_bag(tmp_path / "bag", script())], tmp_path, mapping)
    with h5py.File(tmp_path / "data.h5") as file:
        positions = file["data/demo_0/obs/joint_positions"][()]
    expected = 0.05 + 0.1 * np.arange(19)
    assert positions[:, 0] == pytest.approx(expected, abs=0.0101)
    assert (positions[:, 0] <= expected + 1e-9).all()  # never a later one


def test_a_decision_with_an_old_picture_is_refused(tmp_path, mapping):
    messages = [
        m for m in script() if m[0] != "/camera/image_raw" or not START + 0.8 < m[1] < START + 1.25
    ]
    summary = bring_in([write_bag(tmp_path / "bag", messages)], tmp_path, mapping)
    (report,) = summary.reports
    assert report["refused"] == {"the picture is older than 0.1 s": 4}
    assert report["pieces"] == 2
    assert report["longest_image_gap_s"] == pytest.approx(0.4667, abs=1e-3)


def test_a_decision_before_the_first_picture_is_refused(tmp_path, mapping):
    messages = [m for m in script() if m[0] != "/camera/image_raw" or m[1] > START + 0.3]
    (report,) = bring_in([write_bag(tmp_path / "bag", messages)], tmp_path, mapping).reports
    assert report["refused"] == {"there is no picture yet": 3}


def test_motion_stops_when_commands_stop_and_idle_ends_go(tmp_path, mapping):
    messages = [
        m for m in script() if m[0] != "/servo/delta_twist_cmds" or not 0.5 < m[1] - START < 1.6
    ]
    bring_in([write_bag(tmp_path / "bag", messages)], tmp_path, mapping)
    (trajectory,) = Dataset(tmp_path / "data.h5")
    moving = trajectory.actions[:, 0]
    # Commands until 0.5 s, and 0.3 s of time-out after the last one.
    assert moving[:7] == pytest.approx(0.4) and moving[8:15] == pytest.approx(0.0)
    assert moving[17:] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"x": float("nan")}, "the action is not finite"), ({"x": 0.9}, "outside [-1, 1]")],
)
def test_commands_that_make_no_sense_are_refused(tmp_path, mapping, changes, reason):
    with pytest.raises(EpisodeError, match="nothing usable") as error:
        bring_in([write_bag(tmp_path / "bag", script(**changes))], tmp_path, mapping)
    assert reason in str(error.value)


def test_stamps_of_two_clocks_are_refused_and_received_times_taken_when_asked(tmp_path, mapping):
    bag = write_bag(tmp_path / "bag", script(delay=30.0))
    with pytest.raises(EpisodeError, match=r"clocks 30.0 s apart: set clock: receive"):
        bring_in([bag], tmp_path, mapping)
    late = [(t, time + 30.0 if "image" not in t else time, m) for t, time, m in script(delay=30.0)]
    by_receipt = from_dict(BagMapping, {**_values(mapping), "clock": "receive"})
    assert bring_in([write_bag(tmp_path / "late", late)], tmp_path, by_receipt).steps == 19


def _values(mapping):
    from ptp_core.config.loading import to_dict

    return to_dict(mapping)


def test_a_twist_without_stamp_counts_from_when_it_was_received(tmp_path, mapping):
    messages = script(kind="Twist")
    assert bring_in([write_bag(tmp_path / "bag", messages)], tmp_path, mapping).steps == 19


def test_one_decision_for_each_command_when_the_rate_is_zero(tmp_path, mapping):
    own = from_dict(BagMapping, {**_values(mapping), "rate": 0.0, "translation": 0.01})
    bring_in([write_bag(tmp_path / "bag", script())], tmp_path, own)
    (trajectory,) = Dataset(tmp_path / "data.h5")
    assert len(trajectory.actions) == 100
    assert trajectory.actions[:, 0] == pytest.approx(0.4, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": {"topic": "/no"}}, r"no message on /no \(image\); the bag has /camera"),
        ({"image": {"topic": "/joint_states"}}, "is sensor_msgs/msg/JointState, not sensor_msgs"),
        ({"gripper": {"topic": "/gripper", "value": "width"}}, 'no value "width"; its fields are'),
        (
            {"gripper": {"topic": "/gripper", "value": "position"}},
            r"name one of it, position\[0\]",
        ),
    ],
)
def test_a_mapping_that_does_not_fit_the_bag_is_named(tmp_path, mapping, change, message):
    other = from_dict(BagMapping, {**_values(mapping), **change})
    with pytest.raises(EpisodeError, match=message):
        bring_in([write_bag(tmp_path / "bag", script())], tmp_path, other)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image: {topc: /a}", 'unknown key "image.topc"; did you mean "image.topic"'),
        ("gripper: {open: 1.0, closed: 1.0}", "are equal"),
        ("rate: -1", "at least 0"),
        ("image: [", "not valid YAML"),
    ],
)
def test_a_broken_mapping_is_named(tmp_path, text, message):
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_mapping(path)


def test_a_plain_bag_without_mapping_says_what_is_needed(tmp_path):
    bag = write_bag(tmp_path / "bag", script())
    with pytest.raises(EpisodeError, match="give --mapping FILE"):
        import_bags(find_sources([bag]), tmp_path / "d.h5")


def test_a_folder_of_bags_and_a_bare_mcap_file_are_found(tmp_path, mapping):
    folder = tmp_path / "bags"
    folder.mkdir()
    for name in ("one", "two"):
        write_bag(folder / name, script())
    (whole,) = (folder / "one").glob("*.mcap")
    bare = shutil.copy(whole, tmp_path / "bare.mcap")
    sources = find_sources([folder, bare])
    assert [source.path.name for source in sources] == ["one", "two", bare.name]
    assert bring_in([folder, bare], tmp_path, mapping).trajectories == 3
