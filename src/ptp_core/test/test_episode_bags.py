# SPDX-License-Identifier: Apache-2.0
"""Bags as others read them, truncated ones, and definitions that differ."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability
from rosbags.rosbag2 import Reader

from ptp_core.episodes import message_definitions as kinds
from ptp_core.episodes.bag_reader import Salvage, open_bag, read_episode
from ptp_core.episodes.bag_testing import IMAGE, LATENT, STEP_RECORD, TOPICS, Senders
from ptp_core.episodes.bag_writer import BAG_FILE, METADATA_FILE, BagWriter
from ptp_core.episodes.episode import EpisodeInfo
from ptp_core.episodes.message_definitions import Definitions, installed_prefixes
from ptp_core.episodes.recording import EpisodeRecording
from ptp_core.errors import EpisodeError

INFO = EpisodeInfo(episode_id="e", task="A", rotation=0.2)


def record(senders, folder, steps=30, extra=()):
    """A finished recording, and the episode as it was known while it was recorded."""
    recording = EpisodeRecording(folder, INFO, senders.definitions, TOPICS, STEP_RECORD)
    for time, (topic, data) in enumerate([*senders.episode(steps), *extra]):
        recording.add(topic, data, 10**18 + time * 10**7)
    return recording.finish("judged", {})


@pytest.fixture(scope="module")
def bag(senders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bags") / "bag"
    extra = [(IMAGE, senders.image(3))]
    return record(senders, folder, extra=extra)


def test_rosbags_reads_every_message_with_the_definitions_in_the_bag(bag, senders):
    with AnyReader([bag.folder]) as reader:
        counts = {name: info.msgcount for name, info in reader.topics.items()}
        assert counts == {
            "/observation": 31,
            "/latent": 31,
            "/arm/state": 31,
            "/step": 30,
            "/image_raw": 1,
            "/recorder/step": 30,
            "/observation/camera": 31,
            "/arm/state/pose": 31,
            "/arm/state/command": 31,
            "/arm/state/gripper": 31,
            "/arm/state/gripper_command": 30,
        }
        latents = [c for c in reader.connections if c.topic == "/latent"]
        for number, (connection, _, data) in enumerate(reader.messages(latents)):
            latent = reader.deserialize(data, connection.msgtype)
            assert latent.seq == number
            assert np.array_equal(latent.latent.indices, senders.codes(number))


def test_transitions_stand_in_the_bag(bag):
    with AnyReader([bag.folder]) as reader:
        found = [c for c in reader.connections if c.topic == "/recorder/step"]
        steps = [reader.deserialize(d, c.msgtype) for c, _, d in reader.messages(found)]
    assert [step.step for step in steps] == list(range(30))
    assert [step.observation_seq for step in steps] == list(range(30))
    assert {step.episode_id for step in steps} == {"e"}
    assert [step.end_reason for step in steps[-2:]] == ["", "judged"]
    assert steps[3].command.dx == pytest.approx(0.004)
    assert steps[3].has_target and not steps[3].intervention


def test_mcap_tools_find_index_statistics_and_profile(bag):
    with open(bag.folder / BAG_FILE, "rb") as file:
        reader = make_reader(file)
        summary = reader.get_summary()
        assert reader.get_header().profile == "ros2"
        assert summary.statistics.message_count == 308
        assert summary.statistics.chunk_count == len(summary.chunk_indexes) > 1
        (state,) = [c for c in summary.channels.values() if c.topic == "/arm/state"]
        assert summary.schemas[state.schema_id].encoding == "ros2msg"
        assert (
            "MSG: ptp_interfaces/CartesianDelta" in summary.schemas[state.schema_id].data.decode()
        )
        names = {m.name: m.metadata for m in reader.iter_metadata()}
        assert names["ptp_episode"]["episode_id"] == "e"
        assert names["ptp_episode_end"] == {"end_reason": "judged"}


def test_metadata_is_what_rosbag2_of_jazzy_writes(bag):
    text = (bag.folder / METADATA_FILE).read_text()
    information = yaml.safe_load(text)["rosbag2_bagfile_information"]
    assert "&id" not in text
    assert (information["version"], information["storage_identifier"]) == (9, "mcap")
    assert (information["message_count"], information["ros_distro"]) == (308, "jazzy")
    assert information["relative_file_paths"] == [BAG_FILE]
    assert information["files"][0]["message_count"] == 308
    assert information["duration"]["nanoseconds"] == 123 * 10**7
    assert information["custom_data"]["task"] == "A"
    topics = {
        entry["topic_metadata"]["name"]: entry["topic_metadata"]
        for entry in information["topics_with_message_count"]
    }
    assert topics["/latent"]["offered_qos_profiles"][0]["durability"] == "transient_local"
    with Reader(bag.folder) as reader:
        (latent,) = [c for c in reader.connections if c.topic == "/latent"]
        assert latent.ext.offered_qos_profiles[0].durability == QosDurability.TRANSIENT_LOCAL
        assert latent.digest == topics["/latent"]["type_description_hash"]


def test_hashes_are_those_that_ros_itself_generated(senders):
    compared = 0
    for prefix in installed_prefixes():
        for path in (prefix / "share" / kinds.PACKAGE / "msg").glob("*.json"):
            name = f"{kinds.PACKAGE}/msg/{path.stem}"
            hashes = json.loads(path.read_text())["type_hashes"]
            (expected,) = [h["hash_string"] for h in hashes if h["type_name"] == name]
            assert senders.definitions.hash(name) == expected, name
            compared += 1
    assert compared > 8


def test_an_episode_read_from_its_bag_is_the_one_that_was_recorded(bag, senders):
    read = read_episode(bag.folder, senders.definitions)
    for name, value in vars(bag.episode).items():
        other = getattr(read, name)
        if isinstance(value, np.ndarray):
            assert (value.dtype, value.shape) == (other.dtype, other.shape), name
            assert value.tobytes() == other.tobytes(), name
        else:
            assert value == other, name
    assert read.info.rotation == 0.2


def test_the_audit_counts(bag):
    audit = bag.audit
    assert (audit["steps"], audit["breaks"], audit["silent"]) == (30, 0, [])
    assert audit["weights_versions"] == ["w1"]
    assert audit["bytes"] == (bag.folder / BAG_FILE).stat().st_size
    latents = audit["topics"]["/latent"]
    assert (latents["count"], latents["lost"], latents["duplicates"]) == (31, 0, 0)
    assert latents["rate_hz"] == pytest.approx(25.0, rel=0.02)  # every fourth 10 ms
    assert latents["longest_gap_s"] == pytest.approx(0.04)
    json.dumps(audit, allow_nan=False)


def test_the_audit_names_gaps_repeats_and_silence(senders, tmp_path):
    recording = EpisodeRecording(tmp_path / "bag", INFO, senders.definitions, TOPICS, STEP_RECORD)
    for time, seq in enumerate([0, 1, 1, 5, 4]):
        recording.add(LATENT, senders.latent(seq), time * 10**9)
    audit = recording.finish("fault", {"/image_raw": 3}).audit
    latents = audit["topics"]["/latent"]
    assert (latents["lost"], latents["duplicates"], latents["out_of_order"]) == (3, 1, 1)
    assert audit["silent"] == ["/observation", "/arm/state"]
    assert audit["dropped_messages"] == {"/image_raw": 3}


def test_the_age_of_pictures_is_told_unless_the_clocks_differ(senders, tmp_path):
    recording = EpisodeRecording(tmp_path / "bag", INFO, senders.definitions, TOPICS, STEP_RECORD)
    for seq, late in ((0, 0.02), (1, 0.03), (2, 0.5)):
        topic = TOPICS[2]
        recording.add(topic, senders.observation(seq), int((0.1 * seq + late) * 1e9))
    age = recording.finish("", {}).audit["topics"]["/observation"]["age_s"]
    assert age == {"median": 0.03, "max": 0.5}
    far = EpisodeRecording(tmp_path / "far", INFO, senders.definitions, TOPICS, STEP_RECORD)
    far.add(TOPICS[2], senders.observation(0), 10**18)
    assert far.finish("", {}).audit["topics"]["/observation"]["age_s"] is None


def test_an_encoder_is_missed_unless_the_policy_has_none(senders, tmp_path):
    for encoded, silent in ((True, ["/latent"]), (False, [])):
        folder = tmp_path / f"bag_{encoded}"
        recording = EpisodeRecording(folder, INFO, senders.definitions, TOPICS, STEP_RECORD)
        for time, (topic, data) in enumerate(senders.episode(4, encoded=encoded)):
            if topic != LATENT:
                recording.add(topic, data, 10**18 + time * 10**7)
        done = recording.finish("judged", {})
        assert done.audit["silent"] == silent
        assert done.audit["steps"] == (0 if encoded else 4)


def cut(bag, tmp_path, part):
    """A folder with the first ``part`` of the bag's file and nothing else."""
    folder = tmp_path / "cut"
    folder.mkdir()
    content = (bag.folder / BAG_FILE).read_bytes()
    (folder / BAG_FILE).write_bytes(content[: int(part * len(content))])
    return folder


@pytest.fixture(scope="module")
def long_bag(senders, tmp_path_factory):
    return record(senders, tmp_path_factory.mktemp("bags") / "long", steps=90)


@pytest.mark.parametrize(
    ("part", "least"), [(1.0, 363), (0.9, 200), (0.5, 100), (0.1, 0), (0.0001, 0), (0.0, 0)]
)
def test_whole_chunks_of_a_truncated_bag_are_got_back(long_bag, senders, tmp_path, part, least):
    salvage = Salvage(cut(long_bag, tmp_path, part), senders.definitions)
    sent = {topic.name for topic in TOPICS}
    records = [record for record in salvage if record.topic.name in sent]
    assert least <= len(records) <= 363
    assert bool(salvage.problem) == (part < 1.0)
    whole = [data for _, data in senders.episode(90)]
    assert [record.data for record in records] == whole[: len(records)]


def test_a_truncated_bag_is_named_by_who_reads_it(bag, senders, tmp_path):
    folder = cut(bag, tmp_path, 0.7)
    (folder / METADATA_FILE).write_text((bag.folder / METADATA_FILE).read_text())
    with pytest.raises(
        EpisodeError,
        match=r"cannot be read as a bag \(its file was damaged after it was confirmed",
    ):
        read_episode(folder, senders.definitions)
    with pytest.raises(EpisodeError, match="cannot be read as a bag"), open_bag(tmp_path / "no"):
        pass


def other_definitions(tmp_path, change):
    """Installed definitions of which one file is changed."""
    source = next(
        p / "share" / kinds.PACKAGE / "msg"
        for p in installed_prefixes()
        if (p / "share" / kinds.PACKAGE / "msg").is_dir()
    )
    target = tmp_path / "share" / kinds.PACKAGE / "msg"
    target.mkdir(parents=True)
    for path in source.glob("*.msg"):
        (target / path.name).write_text(change(path.name, path.read_text()))
    return Definitions([tmp_path])


def test_a_bag_of_another_definition_is_refused_not_misread(bag, tmp_path):
    def older(name, text):
        return re.sub(r"float64 latency.*", "float32 latency", text)

    definitions = other_definitions(tmp_path, older)
    with pytest.raises(EpisodeError, match=r"ArmState was recorded with another definition"):
        read_episode(bag.folder, definitions)
    with pytest.raises(EpisodeError, match=r"ArmState was recorded with another definition"):
        list(Salvage(bag.folder, definitions))


def test_definitions_that_are_missing_or_broken_are_named(tmp_path):
    with pytest.raises(EpisodeError, match=r"ptp_interfaces are not found on AMENT_PREFIX_PATH"):
        Definitions([tmp_path / "nothing"])
    with pytest.raises(EpisodeError, match="definitions cannot be read"):
        other_definitions(tmp_path, lambda name, text: "float64 =")


def test_bytes_that_are_no_message_are_refused_and_nothing_is_written(senders, tmp_path):
    recording = EpisodeRecording(tmp_path / "bag", INFO, senders.definitions, TOPICS, STEP_RECORD)
    with pytest.raises(EpisodeError, match=r"Latent: 9 bytes cannot be decoded"):
        recording.add(LATENT, b"\x00\x01\x00\x00short", 0)
    assert recording.finish("", {}).audit["topics"] == {}


def test_what_was_flushed_survives_kill_9(tmp_path):
    program = f"""
import time
from pathlib import Path
from ptp_core.episodes.bag_writer import BagWriter
from ptp_core.episodes.bag_testing import LATENT, Senders
senders = Senders()
writer = BagWriter(Path({str(tmp_path / "bag")!r}), senders.definitions, {{"episode_id": "e"}})
for seq in range(10):
    writer.add(LATENT, senders.latent(seq), seq)
writer.flush()
for seq in range(10, 20):
    writer.add(LATENT, senders.latent(seq), seq)
print("ready", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    salvage = Salvage(tmp_path / "bag", Senders().definitions)
    assert [record.time for record in salvage] == list(range(10))
    assert salvage.header == {"episode_id": "e"}


def test_a_full_disk_is_an_error_of_the_writer(senders, tmp_path):
    def full(path: Path) -> int:
        return os.open("/dev/full", os.O_WRONLY)

    with pytest.raises(OSError, match="No space left"):
        BagWriter(tmp_path / "bag", senders.definitions, {}, opener=full)
