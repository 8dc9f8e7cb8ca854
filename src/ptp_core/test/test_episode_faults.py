# SPDX-License-Identifier: Apache-2.0
"""What may go wrong while an episode is recorded, and what is lost by it."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from ptp_core.episodes.bag_testing import (
    IMAGE,
    LATENT,
    OBSERVATION,
    STEP_RECORD,
    TOPICS,
)
from ptp_core.episodes.bag_writer import BAG_FILE, Item, WriteQueue
from ptp_core.episodes.episode import EpisodeInfo
from ptp_core.episodes.episode_recorder import (
    EpisodeRecorder,
    EpisodeVerdict,
    RecorderLimits,
    RecorderState,
)
from ptp_core.episodes.recording import repair
from ptp_core.episodes.session_store import Session
from ptp_core.errors import EpisodeError

INFO = EpisodeInfo(episode_id="e", task="A")


def send(recorder, senders, steps, first=0):
    for topic, data in senders.episode(steps, first):
        recorder.put(topic, data)


def test_odd_bytes_are_told_and_left_out(make, senders):
    lines = []
    recorder = make(on_problem=lines.append)
    recorder.start(INFO)
    recorder.put(LATENT, b"\x00\x01\x00\x00nonsense")
    send(recorder, senders, 3)
    recorder.finish(EpisodeVerdict.SAVE_SUCCESS, last_observation_seq=3)
    assert recorder.episode(0)[0].count == 3
    assert lines == [line for line in lines if line.startswith("/latent: ")] and len(lines) == 1


def test_a_second_recorder_is_refused(make):
    make()
    with pytest.raises(EpisodeError, match=rf"another recorder \(process {os.getpid()}\)"):
        make()


def test_a_disk_that_fills_up_ends_the_episode_and_spares_what_was_confirmed(
    make, recording_session, senders
):
    lines = []
    recorder = make(on_problem=lines.append)
    recorder.start(INFO)
    send(recorder, senders, 5)
    recorder.finish(EpisodeVerdict.SAVE_SUCCESS, last_observation_seq=5)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    recorder.start(INFO)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, before[1]))  # a real error of write()
    try:
        send(recorder, senders, 120)
        outcome = recorder.wait(20.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "File too large" in outcome.error and "ptp episodes repair" in outcome.error
    assert lines == [outcome.error]
    assert recorder.status().state == RecorderState.FAULT
    with pytest.raises(EpisodeError, match="File too large"):
        recorder.finish(EpisodeVerdict.SAVE_SUCCESS)
    assert recorder.episode(0)[0].count == 5
    # There is room again: it goes on, and the remains can be had back.
    recorder.start(INFO)
    send(recorder, senders, 4)
    assert recorder.finish(EpisodeVerdict.SAVE_SUCCESS, last_observation_seq=4).entry.number == 1
    assert recorder.status().error == ""
    recorder.close()
    (back,) = repair(recording_session, senders.definitions)
    assert back.entry.number == 2 and 40 < back.entry.steps < 120


def test_a_disk_without_room_refuses_the_episode_before_it_begins(make, recording_session):
    recorder = make(limits=RecorderLimits(min_free=10**9))
    with pytest.raises(EpisodeError, match=r"1000000000 MB must stay: free some space"):
        recorder.start(INFO)
    assert recorder.status().state == RecorderState.IDLE
    assert recording_session.unfinished() == []


def test_a_full_disk_at_the_start_is_one_clear_error(make):
    recorder = make(opener=lambda path: os.open("/dev/full", os.O_WRONLY))
    with pytest.raises(EpisodeError, match="No space left on device: free some space"):
        recorder.start(INFO)
    assert recorder.status().state == RecorderState.IDLE


def test_a_slow_disk_costs_pictures_for_people_and_nothing_else(make, senders):
    reader, writer = os.pipe()  # full after 64 kB, until somebody reads
    recorder = make(opener=lambda path: writer, limits=RecorderLimits(min_free=0, queue=2))
    recorder.start(INFO)
    for seq in range(60):
        recorder.put(IMAGE, senders.image(seq))
        recorder.put(OBSERVATION, senders.observation(seq))
        recorder.put(LATENT, senders.latent(seq))
    status = recorder.status()
    assert 20 < status.dropped <= 60
    assert set(recorder._queue.dropped) == {IMAGE.name}
    drain = threading.Thread(
        target=lambda: [None for _ in iter(lambda: os.read(reader, 65536), b"")]
    )
    drain.start()
    recorder.finish(EpisodeVerdict.DISCARD)
    drain.join()
    os.close(reader)


def test_the_queue_drops_spare_messages_first_then_new_ones():
    queue = WriteQueue(limit=100)
    for number in range(10):
        topic = IMAGE if number % 2 else LATENT
        queue.put(Item(topic, number, bytes(20), topic is IMAGE))
    assert queue.dropped == {IMAGE.name: 5}
    taken = [queue.take(0.0).time for _ in range(5)]
    assert taken == [0, 2, 4, 6, 8]
    for number in range(7):
        queue.put(Item(LATENT, number, bytes(20), False))
    assert queue.dropped == {IMAGE.name: 5, LATENT.name: 2}
    assert not queue.wait_empty(0.0)
    queue.give_up()
    assert queue.dropped[LATENT.name] == 7
    assert queue.take(0.0) is None and queue.wait_empty(0.0)


RECORDER = """
import sys, time
from ptp_core.episodes.episode import EpisodeInfo
from ptp_core.episodes.episode_recorder import EpisodeRecorder
from ptp_core.episodes.episode_recorder import RecorderLimits, EpisodeVerdict
from ptp_core.episodes.session_store import Session
from ptp_core.episodes.bag_testing import STEP_RECORD, TOPICS, Senders
senders = Senders()
session = Session(sys.argv[1], create={})
recorder = EpisodeRecorder(
    session, senders.definitions, TOPICS, STEP_RECORD, limits=RecorderLimits(min_free=0)
)
for number in range(2):
    recorder.start(EpisodeInfo(episode_id=f"e{number}"))
    for topic, data in senders.episode(10):
        recorder.put(topic, data)
    recorder.finish(EpisodeVerdict.SAVE_SUCCESS, "judged", last_observation_seq=10)
recorder.start(EpisodeInfo(episode_id="cut short", task="B"))
for topic, data in senders.episode(400):
    recorder.put(topic, data)
    if topic.name == "/arm/state":
        print(recorder.status().steps, flush=True)
        time.sleep(0.002)
"""


def test_kill_9_loses_only_the_episode_being_written_and_repair_gets_most_of_it_back(
    tmp_path, senders
):
    folder = tmp_path / "session"
    process = subprocess.Popen(
        [sys.executable, "-c", RECORDER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if int(line) > 100:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    session = Session(folder)
    assert [entry.episode_id for entry in session.entries()] == ["e0", "e1"]
    (left,) = session.unfinished()
    assert (left / BAG_FILE).stat().st_size > 0
    (back,) = repair(session, senders.definitions)
    assert (back.entry.number, back.entry.label, back.entry.task) == (2, "unlabelled", "B")
    assert back.entry.salvaged and back.entry.end_reason == "fault"
    assert 30 < back.entry.steps <= 400 and back.messages > 4 * back.entry.steps
    assert session.unfinished() == []
    assert (session.folder / "repaired" / left.name / BAG_FILE).exists()
    # The lock ended with the process: it can be recorded into at once.
    recorder = EpisodeRecorder(session, senders.definitions, TOPICS, STEP_RECORD)
    episode = recorder.episode(2)[0]
    assert episode.count == back.entry.steps
    assert np.array_equal(episode.latents[7], senders.codes(7))
    assert recorder.status().episodes == 3
    recorder.close()


def test_repair_takes_a_whole_recording_that_nobody_decided_on(make, recording_session, senders):
    recorder = make()
    recorder.start(INFO)
    send(recorder, senders, 6)
    recorder.finish(EpisodeVerdict.STOP, "operator", last_observation_seq=6)
    with pytest.raises(EpisodeError, match="another recorder"):
        list(repair(recording_session, senders.definitions))
    recorder.close()
    (back,) = repair(recording_session, senders.definitions)
    assert (back.entry.steps, back.entry.end_reason, back.problem) == (6, "operator", "")


def test_a_node_that_stops_leaves_what_it_recorded_for_repair(make, recording_session, senders):
    recorder = make()
    recorder.start(INFO)
    send(recorder, senders, 6)
    assert recorder._queue.wait_empty(10.0)
    recorder.close()
    (back,) = repair(recording_session, senders.definitions)
    assert back.entry.steps == 6 and back.problem


def test_a_recording_of_nothing_cannot_be_got_back_and_is_put_away(recording_session, senders):
    empty = recording_session.recording / "empty"
    empty.mkdir()
    (empty / BAG_FILE).write_bytes(b"")
    (back,) = repair(recording_session, senders.definitions)
    assert (back.entry, back.messages) == (None, 0)
    assert recording_session.unfinished() == []


def test_an_interrupted_repair_makes_no_episode_twice(make, recording_session, senders):
    recorder = make()
    recorder.start(INFO)
    send(recorder, senders, 6)
    recorder.finish(EpisodeVerdict.STOP, last_observation_seq=6)
    recorder.close()
    (left,) = recording_session.unfinished()
    half = recording_session.folder / "repairing" / left.name  # a kill while it was written
    shutil.copytree(left, half)
    assert next(repair(recording_session, senders.definitions)).entry.number == 0
    # A kill before it was put away.
    (recording_session.folder / "repaired" / left.name).rename(left)
    (again,) = repair(recording_session, senders.definitions)
    assert (again.entry.number, again.problem) == (0, "repaired before")
    assert len(recording_session.entries()) == 1
    assert recording_session.unfinished() == []
    assert not half.exists()


def test_what_cannot_be_repaired_stays_and_the_others_are(make, recording_session, senders):
    recorder = make()
    for _ in range(2):
        recorder.start(INFO)
        send(recorder, senders, 6)
        recorder.leave("test")
    recorder.close()
    first, _ = recording_session.unfinished()
    content = (first / BAG_FILE).read_bytes()
    (first / BAG_FILE).write_bytes(content.replace(b"translation", b"translatiom"))
    one, two = repair(recording_session, senders.definitions)
    assert one.left and one.entry is None and "not an episode of ours" in one.problem
    assert two.entry.number == 0 and not two.left
    assert recording_session.unfinished() == [first]
