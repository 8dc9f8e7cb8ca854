# SPDX-License-Identifier: Apache-2.0
"""Recordings of format 1 are listed, read, imported and repaired.

``data/recordings_v1`` is a session that the recorder of that format wrote, with constant images:
an episode of twelve steps, and one whose recorder was killed.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from ptp_core.data.dataset import Dataset
from ptp_core.data.trajectory import CAMERA
from ptp_core.episodes import message_definitions as kinds
from ptp_core.episodes.bag_reader import (
    Salvage,
    custom_data,
    messages,
    open_bag,
    read_confirmed,
)
from ptp_core.episodes.episode import FORMAT, EpisodeInfo
from ptp_core.episodes.episode_recorder import EpisodeVerdict
from ptp_core.episodes.import_bags import find_sources, import_bags
from ptp_core.episodes.import_filter import Selection
from ptp_core.episodes.message_definitions import FORMAT_1_HASHES
from ptp_core.episodes.recording import repair
from ptp_core.episodes.session_store import Session
from ptp_core.errors import EpisodeError

STEPS = 12


@pytest.fixture
def session(tmp_path):
    shutil.copytree(Path(__file__).parent / "data" / "recordings_v1", tmp_path / "old")
    return Session(tmp_path / "old")


def check_episode(episode, senders):
    """That it is the one of twelve steps which the helpers of that format sent."""
    assert episode.observation_seqs.tolist() == list(range(STEPS + 1))
    assert np.array_equal(episode.latents, [senders.codes(k) for k in range(STEPS + 1)])
    pursued = [senders.codes(1000 + k // 5 % 3) for k in range(STEPS)]
    assert np.array_equal(episode.targets, pursued)
    assert np.array_equal(episode.goal, senders.codes(1002))
    moved = np.arange(1, STEPS + 1) * 0.001 / 0.05
    assert episode.actions[:, 0] == pytest.approx(moved)
    assert episode.action_names == ("dx", "dy", "dz", "dyaw", "gripper")
    assert episode.encoder_id == "encoder"
    assert (episode.proprioception_names, episode.proprioception.size) == ((), 0)
    assert not episode.breaks.any()
    assert (episode.info.format, episode.info.instruction) == (1, "")


def test_a_confirmed_episode_is_listed_and_read(session, senders):
    (entry,) = session.entries()
    assert (entry.episode_id, entry.label, entry.steps) == ("whole", "success", STEPS)
    check_episode(read_confirmed(session, entry, senders.definitions), senders)


def test_it_is_imported_with_the_images_that_were_seen(session, tmp_path):
    out = tmp_path / "data.h5"
    import_bags(find_sources([session.folder]), out, selection=Selection(idle_margin=99))
    (trajectory,) = Dataset(out)
    first = trajectory.metadata.extra["first_step"]
    shown = trajectory.images[CAMERA][:, 0, 0, 0].tolist()
    assert shown == list(range(first, first + len(shown))) and len(shown) >= 10
    assert trajectory.metadata.success and trajectory.proprioception is None


def test_what_a_killed_recorder_left_is_repaired_into_todays_format(session, senders):
    (unfinished,) = session.unfinished()
    before = [r for r in Salvage(unfinished, senders.definitions) if "step" not in r.topic.name]
    (done,) = repair(session, senders.definitions)
    assert (done.name, done.left, done.entry.number) == (unfinished.name, False, 1)
    episode = read_confirmed(session, done.entry, senders.definitions)
    assert episode.info.format == FORMAT
    check_episode(
        type(episode)(**{**vars(episode), "info": EpisodeInfo(format=1)}),
        senders,
    )
    with AnyReader([session.path(done.entry)]) as reader:
        for connection in reader.connections:
            kind = connection.msgtype
            assert reader.typestore.hash_rihs01(kind) == senders.definitions.hash(kind)
        assert reader.topics["/observation"].msgcount == sum(
            record.topic.name == "/observation" for record in before
        )
        seen = list(messages(reader, [kinds.OBSERVATION], senders.definitions))
    assert [int(message.images[0].data[0]) for _, message in seen] == list(range(STEPS + 1))
    assert (session.folder / "repaired" / unfinished.name / "episode_0.mcap").is_file()


def test_a_session_of_that_format_goes_on_with_todays(session, senders):
    from ptp_core.episodes.bag_testing import STEP_RECORD, TOPICS
    from ptp_core.episodes.episode_recorder import EpisodeRecorder, RecorderLimits

    recorder = EpisodeRecorder(
        session, senders.definitions, TOPICS, STEP_RECORD, limits=RecorderLimits(min_free=0)
    )
    recorder.start(EpisodeInfo(episode_id="new", instruction="open the drawer"))
    for topic, data in senders.episode(STEPS):
        recorder.put(topic, data)
    recorder.finish(EpisodeVerdict.SAVE_SUCCESS, "judged", last_observation_seq=STEPS)
    old, new = (recorder.episode(number)[0] for number in (0, 1))
    recorder.close()
    assert np.array_equal(old.latents, new.latents)
    assert (old.info.format, new.info.format) == (1, FORMAT)
    read = read_confirmed(session, session.entry(1), senders.definitions)
    assert read.info.instruction == "open the drawer"
    assert custom_data(session.path(session.entry(1)))["format"] == str(FORMAT)


def test_only_types_that_changed_have_a_hash_of_their_own(session, senders):
    with open_bag(session.path(session.entry(0))) as reader:
        found = {c.msgtype: reader.typestore.hash_rihs01(c.msgtype) for c in reader.connections}
    for kind, type_hash in found.items():
        assert type_hash == FORMAT_1_HASHES.get(kind, senders.definitions.hash(kind))
    assert set(FORMAT_1_HASHES) <= set(found)
    assert not any(senders.definitions.hash(kind) == old for kind, old in FORMAT_1_HASHES.items())


def test_a_recording_of_a_later_format_is_refused():
    text = EpisodeInfo(episode_id="e").to_text() | {"format": str(FORMAT + 1)}
    with pytest.raises(EpisodeError, match=r"a recording of format 3, this program reads up to 2"):
        EpisodeInfo.from_text(text, "bag")
