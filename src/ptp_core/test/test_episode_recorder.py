# SPDX-License-Identifier: Apache-2.0
"""Recording, deciding, and everything that may go wrong meanwhile."""

import threading

import numpy as np
import pytest

from ptp_core.episodes.bag_testing import (
    GOAL,
    LATENT,
    OBSERVATION,
    STATE,
)
from ptp_core.episodes.episode import EpisodeInfo
from ptp_core.episodes.episode_recorder import EpisodeVerdict, RecorderState
from ptp_core.errors import InputError

INFO = EpisodeInfo(episode_id="e", task="A")


def send(recorder, senders, steps, first=0):
    for topic, data in senders.episode(steps, first):
        recorder.put(topic, data)


def same(one, other):
    for name, value in vars(one).items():
        if isinstance(value, np.ndarray):
            assert value.tobytes() == getattr(other, name).tobytes(), name
            assert value.shape == getattr(other, name).shape, name
        else:
            assert value == getattr(other, name), name


def test_an_episode_counts_once_it_is_confirmed(make, recording_session, senders):
    recorder = make()
    recorder.start(INFO)
    send(recorder, senders, 20)
    assert recorder.status().state == RecorderState.RECORDING
    assert recording_session.entries() == []
    outcome = recorder.finish(EpisodeVerdict.SAVE_SUCCESS, "judged", last_observation_seq=20)
    assert (outcome.entry.number, outcome.steps, outcome.path) == (
        0,
        20,
        recording_session.episodes / "episode_000000",
    )
    assert recorder.wait(0.0) == outcome
    status = recorder.status()
    assert (status.state, status.episodes, status.dropped) == (RecorderState.IDLE, 1, 0)
    assert recording_session.audit(outcome.entry)["session_id"] == recording_session.session_id


def test_an_episode_from_its_bag_equals_the_one_from_memory_step_for_step(
    make, recording_session, senders
):
    recorder = make()
    for steps, last in ((20, 20), (12, 112)):
        recorder.start(INFO)
        send(recorder, senders, steps, last - steps)
        recorder.finish(EpisodeVerdict.SAVE_FAILURE, "time_out", last_observation_seq=last)
    live = [recorder.episode(number)[0] for number in (0, 1)]
    recorder.close()
    again = make()
    for number in (0, 1):
        same(live[number], again.episode(number)[0])
    assert live[1].label == 2
    recording_session.label(1, "success")
    assert again.episode(1)[0].label == 1
    recording_session.drop(1)
    assert again.episode(1)[0] is None
    with pytest.raises(InputError, match="no episode 2"):
        again.episode(2)


def test_an_episode_of_no_steps_is_kept_but_is_no_success(make, recording_session, senders):
    problems = []
    recorder = make(on_problem=problems.append)
    recorder.start(INFO)
    send(recorder, senders, 0)
    outcome = recorder.finish(EpisodeVerdict.SAVE_SUCCESS, last_observation_seq=0)
    assert (outcome.steps, outcome.entry.label) == (0, "unlabelled")
    (line,) = problems
    assert line.endswith("it has no steps, so it is no success, kept without a label")
    with pytest.raises(InputError, match="episode 0: it has no steps, so it is no success"):
        recording_session.label(0, "success")
    assert recording_session.label(0, "failure").label == "failure"


def test_the_newest_of_each_topic_begins_the_episode(make, recording_session, senders):
    recorder = make()
    send(recorder, senders, 5)
    recorder.put(GOAL, senders.image(1, 48))
    recorder.start(INFO, [(GOAL, senders.image(2, 48))])
    recorder.put(OBSERVATION, senders.observation(6))
    recorder.put(STATE, senders.state(6))
    recorder.put(LATENT, senders.latent(6))
    outcome = recorder.finish(EpisodeVerdict.SAVE_SUCCESS, last_observation_seq=6)
    topics = recording_session.audit(outcome.entry)["topics"]
    assert {name: topic["count"] for name, topic in topics.items()} == {
        "/goal_image": 1,
        "/observation": 2,
        "/latent": 2,
        "/arm/state": 2,
    }
    episode = recorder.episode(0)[0]
    assert episode.observation_seqs.tolist() == [5, 6]
    assert episode.breaks.tolist() == [True]  # the policy's step at 5 came before


def test_an_episode_begins_with_an_observation_that_has_its_picture(
    make, recording_session, senders
):
    recorder = make()
    send(recorder, senders, 4)
    recorder.put(OBSERVATION, senders.observation(5))  # its latent and state are under way
    recorder.start(INFO)
    for seq in (5, 6):
        recorder.put(STATE, senders.state(seq))
        recorder.put(LATENT, senders.latent(seq))
    recorder.finish(EpisodeVerdict.SAVE_SUCCESS, last_observation_seq=6)
    assert recorder.episode(0)[0].observation_seqs.tolist() == [5, 6]


def test_what_came_before_the_first_observation_is_left_out(make, recording_session, senders):
    recorder = make()
    send(recorder, senders, 5)
    recorder.start(EpisodeInfo(episode_id="e", first_observation_seq=100))
    send(recorder, senders, 3, first=98)
    outcome = recorder.finish(EpisodeVerdict.SAVE_SUCCESS, last_observation_seq=101)
    assert recorder.episode(0)[0].observation_seqs.tolist() == [100, 101]
    assert recording_session.audit(outcome.entry)["topics"]["/observation"]["count"] == 2


def test_discard_leaves_nothing_and_the_number_goes_to_the_next(make, recording_session, senders):
    recorder = make()
    recorder.start(INFO)
    send(recorder, senders, 3)
    assert recorder.finish(EpisodeVerdict.DISCARD).entry is None
    assert recording_session.unfinished() == [] and recording_session.entries() == []
    recorder.start(INFO)
    send(recorder, senders, 3)
    assert recorder.finish(EpisodeVerdict.SAVE_UNLABELLED).entry.number == 0


def test_stop_waits_for_a_decision_and_records_no_more(make, recording_session, senders):
    recorder = make()
    recorder.start(INFO)
    send(recorder, senders, 4)
    recorder.finish(EpisodeVerdict.STOP, "operator", last_observation_seq=4)
    assert recorder.status().state == RecorderState.WAITING
    send(recorder, senders, 3, first=5)
    with pytest.raises(InputError, match="episode e is not finished"):
        recorder.start(INFO)
    outcome = recorder.finish(EpisodeVerdict.SAVE_FAILURE)
    assert (outcome.entry.label, outcome.entry.end_reason) == ("failure", "operator")
    assert recorder.episode(0)[0].count == 4


def test_rerecord_discards_and_begins_again_at_once(make, recording_session, senders):
    recorder = make()
    recorder.start(INFO)
    send(recorder, senders, 8)
    recorder.finish(EpisodeVerdict.RERECORD)
    assert recorder.wait(0.0) is None
    assert recorder.status().state == RecorderState.RECORDING
    send(recorder, senders, 2, first=50)
    assert recorder.finish(EpisodeVerdict.SAVE_SUCCESS, last_observation_seq=52).entry.number == 0
    # The last observation before begins it; what lies between is missing.
    episode = recorder.episode(0)[0]
    assert episode.observation_seqs.tolist() == [8, 51, 52]
    assert episode.breaks.tolist() == [True, False]


def test_finishing_waits_for_the_last_latent_and_state(make, senders):
    recorder = make()
    recorder.start(INFO)
    messages = list(senders.episode(5))
    for topic, data in messages[:-1]:  # the latent of observation 5 is yet to come
        recorder.put(topic, data)
    late = threading.Timer(0.2, lambda: recorder.put(*messages[-1]))
    late.start()
    recorder.finish(EpisodeVerdict.SAVE_SUCCESS, last_observation_seq=5, patience=10.0)
    late.join()
    assert recorder.episode(0)[0].count == 5


def test_a_last_observation_that_never_comes_is_told_and_the_rest_is_saved(make, senders):
    lines = []
    recorder = make(on_problem=lines.append)
    recorder.start(INFO)
    send(recorder, senders, 5)
    recorder.finish(EpisodeVerdict.SAVE_SUCCESS, last_observation_seq=9, patience=0.05)
    assert recorder.episode(0)[0].count == 5
    assert "last observation 9 did not come within 0.05 s" in lines[0]


def test_what_cannot_be_finished_is_refused(make, senders):
    recorder = make()
    with pytest.raises(InputError, match="no episode is being recorded"):
        recorder.finish(EpisodeVerdict.DISCARD)
    recorder.start(INFO)
    with pytest.raises(InputError, match="episode e is recorded, not another"):
        recorder.finish(EpisodeVerdict.DISCARD, episode_id="another")
    assert recorder.status().state == RecorderState.RECORDING


def test_transitions_are_heard_live(make, senders):
    heard = []
    recorder = make(on_step=lambda name, step: heard.append((name, step.step)))
    recorder.start(INFO)
    send(recorder, senders, 6)
    recorder.finish(EpisodeVerdict.DISCARD, last_observation_seq=6)
    assert heard[:5] == [("e", step) for step in range(5)]
