# SPDX-License-Identifier: Apache-2.0
"""What programs without our types find in a bag."""

import numpy as np
import pytest
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from ptp_core.episodes import message_definitions as kinds
from ptp_core.episodes.bag_reader import read_episode
from ptp_core.episodes.bag_testing import OBSERVATION, STATE, STEP_RECORD, TOPICS, Senders
from ptp_core.episodes.bag_writer import BAG_FILE
from ptp_core.episodes.episode import EpisodeInfo, nanoseconds
from ptp_core.episodes.recording import EpisodeRecording
from ptp_core.episodes.standard_messages import ARM_PARTS, StandardMessages

START = 10**18  # ns
STANDARD = get_typestore(Stores.ROS2_JAZZY)  # without our types


def record(senders, folder, messages, close=True):
    info = EpisodeInfo(episode_id="e")
    recording = EpisodeRecording(folder, info, senders.definitions, TOPICS, STEP_RECORD)
    for time, (topic, data) in enumerate(messages):
        recording.add(topic, data, START + time * 10**7)
    return recording.finish("judged", {}) if close else recording.leave()


def read(folder, topic):
    """(time of receipt, message) of a topic, decoded with the standard types alone."""
    with AnyReader([folder]) as reader:
        found = [c for c in reader.connections if c.topic == topic]
        return [
            (time, STANDARD.deserialize_cdr(data, c.msgtype))
            for c, time, data in reader.messages(found)
        ]


@pytest.fixture(scope="module")
def two_cameras(senders, tmp_path_factory):
    """A bag of an arm with two cameras, the second with a name that no topic can have."""
    senders = Senders(senders.definitions, cameras=("front", "2nd camera"))
    folder = tmp_path_factory.mktemp("standard") / "bag"
    record(senders, folder, senders.episode(12))
    return senders, folder


@pytest.mark.parametrize(("number", "topic"), [(0, "front"), (1, "camera_1")])
def test_each_cameras_image_is_a_topic_of_images(two_cameras, number, topic):
    senders, folder = two_cameras
    images = read(folder, f"/observation/{topic}")
    assert len(images) == 13
    for seq, (_, image) in enumerate(images):
        assert (image.encoding, image.height, image.width) == ("rgb8", 48, 48)
        assert np.array_equal(image.data.reshape(48, 48, 3), senders.picture(seq, number))
        assert nanoseconds(image.header.stamp) == seq * 10**8
    received = [time for time, _ in read(folder, "/observation/front")]
    with AnyReader([folder]) as reader:
        found = [c for c in reader.connections if c.topic == "/observation"]
        assert received == [time for _, time, _ in reader.messages(found)]


def test_pose_and_accepted_command_have_units_and_stamps(two_cameras):
    _, folder = two_cameras
    poses = read(folder, "/arm/state/pose")
    assert [nanoseconds(pose.header.stamp) for _, pose in poses] == [k * 10**8 for k in range(13)]
    assert poses[3][1].pose.position.x == 0.6
    twists = [twist for _, twist in read(folder, "/arm/state/command")]
    # 0.001 m a step and number, in steps of 0.1 s; nothing led to the first state.
    assert [twist.twist.linear.x for twist in twists] == pytest.approx(
        [0.01 * k for k in range(13)]
    )
    # A command is stamped when it was made: here with the observation that it answers.
    assert nanoseconds(twists[5].header.stamp) == 4 * 10**8
    assert len(read(folder, "/arm/state/gripper")) == 13
    assert len(read(folder, "/arm/state/gripper_command")) == 12


def state(senders, seq, **options):
    return senders.definitions.decode(kinds.ARM_STATE, senders.state(seq, **options))


def test_a_missing_state_does_not_make_a_command_slower(senders):
    messages = StandardMessages(senders.definitions)

    def velocity(seq):
        made = {t.name: d for t, d in messages.of(STATE, state(senders, seq, dx=0.02))}
        data = made.get("/arm/state/command")
        return data and STANDARD.deserialize_cdr(data, ARM_PARTS["command"]).twist.linear.x

    assert velocity(4) is None  # no state before it: in what time is not known
    assert velocity(5) == pytest.approx(0.2)
    assert velocity(8) == pytest.approx(0.2)
    assert velocity(8) is None  # its stamp did not increase
    assert velocity(3) is None  # the sender began anew


def test_a_repair_makes_them_once(senders, tmp_path):
    """What was salvaged has them already."""
    messages = StandardMessages(senders.definitions)
    (image,) = messages.of(
        OBSERVATION, senders.definitions.decode(kinds.OBSERVATION, senders.observation(0))
    )
    assert messages.repeats(image[0]) and not messages.repeats(OBSERVATION)
    again = [(OBSERVATION, senders.observation(0)), image, (STATE, senders.state(0))]
    record(senders, tmp_path / "bag", again)
    assert len(read(tmp_path / "bag", image[0].name)) == 1


def test_the_episode_is_the_same_as_without_them(senders, tmp_path, monkeypatch):
    record(senders, tmp_path / "with", senders.episode(8))
    monkeypatch.setattr(StandardMessages, "of", lambda *_: ())
    record(senders, tmp_path / "without", senders.episode(8))
    both = [read_episode(tmp_path / name, senders.definitions) for name in ("with", "without")]
    assert str(both[0]) == str(both[1])
    sizes = [(tmp_path / name / BAG_FILE).stat().st_size for name in ("with", "without")]
    # A repeated image stands in the chunk of its Observation, where it costs next to nothing.
    assert sizes[1] < sizes[0] < 1.2 * sizes[1]


def test_their_schemas_are_self_contained(two_cameras):
    """What mcap tools parse: the type and its dependencies as ros2msg."""
    with open(two_cameras[1] / BAG_FILE, "rb") as file:
        summary = make_reader(file).get_summary()
    schemas = {c.topic: summary.schemas[c.schema_id] for c in summary.channels.values()}
    for topic, kind in ARM_PARTS.items():
        schema = schemas[f"/arm/state/{topic}"]
        assert (schema.name, schema.encoding) == (kind, "ros2msg")
        assert "ptp_interfaces" not in schema.data.decode()
