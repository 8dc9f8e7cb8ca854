# SPDX-License-Identifier: Apache-2.0
"""Every path that an import was given is a bag or has a reason; what mends it fits the file."""

import os
import shutil

import pytest
import yaml
from rosbags.rosbag2 import StoragePlugin

from ptp_core.episodes.bag_reader import open_bag
from ptp_core.episodes.bag_testing import START, clocked, script, write_bag
from ptp_core.episodes.episode import EpisodeInfo
from ptp_core.episodes.import_bags import find_sources
from ptp_core.errors import EpisodeError


def refusals(*paths):
    return {source.path.name: source.refusal for source in find_sources(paths)}


def file_of(bag):
    (file,) = [*bag.glob("*.mcap"), *bag.glob("*.db3")]
    return file


def change(bag, **values):
    path = bag / "metadata.yaml"
    content = yaml.safe_load(path.read_text())
    content["rosbag2_bagfile_information"].update(values)
    path.write_text(yaml.safe_dump(content))
    return bag


def test_everything_in_a_folder_that_is_or_should_be_a_bag_is_a_source(tmp_path):
    folder = tmp_path / "bags"
    (folder / "empty").mkdir(parents=True)
    (folder / "notes.txt").write_text("")
    (folder / "old.bag").write_text("#ROSBAG V2.0\n")
    (folder / ".hidden").mkdir()
    for name in ("whole", "bare", "day/inner"):
        (folder / name).parent.mkdir(exist_ok=True)
        write_bag(folder / name, script(0.2))
    (folder / "bare" / "metadata.yaml").unlink()
    os.symlink("/media/unplugged", folder / "gone")
    found = refusals(folder, tmp_path / "nowhere", folder / "notes.txt")
    assert {name for name, reason in found.items() if not reason} == {
        "whole",
        "bare.mcap",
        "inner",
    }
    assert found["empty"] == "no bag in it"
    assert found["gone"] == "a link to /media/unplugged, which is not there"
    assert found["nowhere"] == "it is not there"
    assert found["notes.txt"].startswith("no bag and no session")
    assert found["old.bag"].startswith("a bag of ROS 1: `rosbags-convert")


@pytest.mark.parametrize("again", ["same", "other words", "link", "its file", "copy of the link"])
def test_the_same_bag_twice_is_refused_by_whatever_path(tmp_path, again):
    bag = write_bag(tmp_path / "bag", script(0.2))
    link = tmp_path / "link"
    os.symlink(bag, link)
    other = {
        "same": bag,
        "other words": tmp_path / "x" / ".." / "bag",
        "link": link,
        "its file": file_of(bag),
        "copy of the link": tmp_path / "again",
    }[again]
    (tmp_path / "x").mkdir()
    os.symlink(link, tmp_path / "again")
    first, second = find_sources([bag, other])
    assert not first.refusal
    assert second.refusal == f"it is the same bag as {bag}, which was named before"


def test_a_copy_of_a_bag_is_another_bag(tmp_path):
    bag = write_bag(tmp_path / "bag", script(0.2))
    shutil.copytree(bag, tmp_path / "other")
    assert not any(source.refusal for source in find_sources([bag, tmp_path / "other"]))


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_parts_of_one_recording_are_not_episodes(tmp_path, plugin):
    messages = clocked(script())
    halves = [m for m in messages if m[1] < START + 1], [m for m in messages if m[1] >= START + 1]
    folder = tmp_path / "split"
    folder.mkdir()
    for number, half in enumerate(halves):
        file = file_of(write_bag(tmp_path / f"half{number}", half, plugin))
        shutil.copy(file, folder / f"split_{number}{file.suffix}")
    storage = "mcap" if plugin == StoragePlugin.MCAP else "sqlite3"
    for reason in refusals(folder).values():
        assert f"`ros2 bag reindex -s {storage} {folder}` puts them together" in reason
    # Two recordings with such names, one of them much later, are two.
    later = clocked(script(), *[lambda topic, time: time + 100.0] * 2)
    file = file_of(write_bag(tmp_path / "later", later, plugin))
    shutil.copy(file, folder / f"split_1{file.suffix}")
    assert not any(refusals(folder).values())


def test_a_file_of_a_split_bag_is_not_an_episode(tmp_path):
    bag = write_bag(tmp_path / "bag", script(0.2))
    shutil.copy(file_of(bag), bag / "bag_1.mcap")
    found = refusals(file_of_first(bag))
    assert list(found.values()) == [f"it is a part of the bag {bag}: name the folder"]


def file_of_first(bag):
    return sorted(bag.glob("*.mcap"))[0]


def test_a_recording_of_ours_that_was_not_finished_is_a_source_with_the_cure(
    make, senders, recording_session
):
    recorder = make()
    recorder.start(EpisodeInfo(episode_id="e"))
    (source,) = find_sources([recording_session.folder])
    assert f"`ptp episodes repair {recording_session.folder}`" in source.refusal
    recorder.leave("the test is over")


def killed(bag):
    file = file_of(bag)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 7 // 10])
    return file


def renamed(bag):
    file_of(bag).rename(bag / "cup.mcap")
    return bag


def replaced(content, name="bag.mcap"):
    def change_it(bag):
        file = file_of(bag)
        file.write_bytes(content)
        return bag if name == "bag" else file

    return change_it


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (killed, r"ends early.*`mcap recover .*bag.mcap -o .*bag_recovered.mcap`"),
        (lambda bag: killed(bag).parent, "`mcap recover "),
        (
            renamed,
            "metadata.yaml names bag.mcap, there is cup.mcap: give it its name back, or `ros",
        ),
        (lambda bag: change(bag, storage_identifier=""), "no storage; `ros2 bag reindex -s mcap"),
        (lambda bag: change(bag, storage_identifier="my_db"), "its storage my_db is not read"),
        (
            lambda bag: change(bag, version=10),
            r"version 10, of a newer ROS 2.*name the file .*mcap",
        ),
        (replaced(b""), "is empty: nothing was recorded"),
        (replaced(b"version https://git-lfs.github.com/spec/v1\noid"), "`git lfs pull` fetches"),
        (replaced(b"GIF89a and more", "bag"), "bag.mcap is no mcap file"),
    ],
)
def test_the_advice_fits_what_is_wrong(tmp_path, fault, advice):
    path = fault(write_bag(tmp_path / "bag", script(0.5)))
    with pytest.raises(EpisodeError, match=advice) as caught, open_bag(path):
        pass
    assert "episodes repair" not in str(caught.value)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"{path}: cannot be")


def test_a_file_of_a_newer_ros_can_be_read_as_it_says(tmp_path):
    bag = change(write_bag(tmp_path / "bag", script(0.5)), version=10)
    with open_bag(file_of(bag)) as reader:
        assert reader.message_count > 0


def test_a_folder_without_metadata_is_told_to_be_indexed(tmp_path):
    bag = write_bag(tmp_path / "bag", script(0.5), StoragePlugin.SQLITE3)
    (bag / "metadata.yaml").unlink()
    advice = "metadata.yaml is missing; `ros2 bag reindex -s sqlite3"
    with pytest.raises(EpisodeError, match=advice), open_bag(bag):
        pass


def test_our_own_recording_is_repaired_by_our_own_command(make, senders, recording_session):
    recorder = make()
    recorder.start(EpisodeInfo(episode_id="e"))
    for topic, data in senders.episode(5):
        recorder.put(topic, data)
    recorder.leave("the test is over")
    (folder,) = recording_session.unfinished()
    with (
        pytest.raises(EpisodeError, match=f"episodes repair {recording_session.folder}` gets"),
        open_bag(folder),
    ):
        pass
