# SPDX-License-Identifier: Apache-2.0
"""The recorder on a real graph: what practice, teleop and the learner ask of it."""

import array
import json
import resource
import threading
from pathlib import Path

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from ptp_interfaces.action import RecordEpisode
from ptp_interfaces.msg import (
    CartesianDelta,
    EpisodeRecord,
    ErrorCode,
    Goal,
    LatentArray,
    RecorderStatus,
    StepRecord,
)
from ptp_interfaces.srv import FinishEpisode, LabelEpisode
from rcl_interfaces.msg import Log
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from ptp_core.episodes.bag_reader import read_confirmed
from ptp_core.episodes.bag_testing import Senders
from ptp_core.episodes.message_definitions import Definitions
from ptp_core.episodes.session_store import Session
from ptp_nodes.episodes.recorder_client import episode_record
from ptp_nodes.episodes.recorder_testing import ASK, RecorderTestNode, finish, get, record
from ptp_nodes.nodes.recorder_node import RecorderNode
from ptp_ros import topics
from ptp_ros.graph_testing import parameters


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "session"


@pytest.fixture
def start(graph, folder):
    def start(**values):
        options = parameters({"folder": str(folder), "min_free": 0, **values})
        return graph.add(RecorderNode(context=graph.context, parameter_overrides=options))

    return start


def test_an_episode_is_recorded_saved_and_served(graph, start, folder):
    start()
    table = RecorderTestNode(graph)
    handle, _ = record(graph, episode_id="run/0", task="A", protocol="paper")
    table.run(12)
    answer = finish(
        graph, ASK.SAVE_SUCCESS, episode_id="run/0", end_reason="judged", last_observation_seq=12
    )
    assert (answer.saved, answer.number, answer.error_msg) == (True, 0, "")
    assert answer.path == str(folder / "episodes" / "episode_000000")
    result = graph.result(handle)
    assert result.status == GoalStatus.STATUS_SUCCEEDED
    assert (result.result.saved, result.result.steps, result.result.path) == (
        True,
        12,
        answer.path,
    )
    served = get(graph, 0)
    episode = served.episode
    assert (served.episodes, episode.count, episode.label) == (1, 12, EpisodeRecord.SUCCESS)
    assert (episode.episode_id, episode.task, episode.protocol) == ("run/0", "A", "paper")
    codes = np.array(episode.latents.indices).reshape(13, 144)
    assert np.array_equal(codes, [table.senders.codes(k) for k in range(13)])
    actions = np.array(episode.actions).reshape(12, 5)
    assert actions[:, 0] == pytest.approx(np.full(12, 0.2))
    assert np.array(episode.rewards) == pytest.approx([-1.0] * 12)
    assert (list(episode.breaks), episode.end_reason) == ([False] * 12, "judged")
    assert list(episode.observation_seqs) == list(range(13))


def test_the_learner_gets_the_same_episode_from_memory_and_from_the_bag(graph, start, folder):
    node = start()
    table = RecorderTestNode(graph)
    for number in range(2):
        record(graph, episode_id=f"run/{number}")
        table.run(9, first=20 * number, step=number == 0)
        finish(graph, ASK.SAVE_FAILURE, last_observation_seq=20 * number + 9)
    live = [get(graph, number).episode for number in range(2)]
    session = Session(folder)
    for served, entry in zip(live, session.entries(), strict=True):
        read = episode_record(read_confirmed(session, entry, Definitions()))
        assert str(read) == str(served)  # as text: NaN is not equal to NaN
    graph.remove(node)
    start()
    again = [get(graph, number).episode for number in range(2)]
    assert [str(episode) for episode in again] == [str(episode) for episode in live]
    assert len(live[1].targets.indices) == 0


def test_an_agent_without_latents_is_recorded_with_its_own_actions(graph, start, folder):
    start()
    names = tuple(f"joint_{number}" for number in range(1, 8))
    senders = Senders(cameras=("front", "wrist"), proprioception=("x", "yaw"), actions=names)
    table = RecorderTestNode(graph, senders, encoded=False)
    record(graph, instruction="open the drawer")
    table.run(6)
    finish(graph, ASK.SAVE_SUCCESS, last_observation_seq=6)
    episode = get(graph, 0).episode
    assert (episode.count, episode.instruction) == (6, "open the drawer")
    assert (list(episode.action_names), list(episode.breaks)) == (list(names), [False] * 6)
    actions = np.reshape(episode.actions, (6, 7))
    assert np.array_equal(actions, [senders.action(k) for k in range(6)])
    felt = np.reshape(episode.proprioception, (7, 2))
    assert np.array_equal(felt, [senders.numbers(k) for k in range(7)])
    assert list(episode.proprioception_names) == ["x", "yaw"]
    assert not episode.latents.shape and not episode.targets.shape and not episode.goal.shape
    session = Session(folder)
    read = read_confirmed(session, session.entry(0), Definitions())
    assert str(episode_record(read)) == str(episode)
    assert session.audit(session.entry(0))["silent"] == []


def test_the_bag_has_what_was_sent_and_the_transitions(graph, start):
    start()
    table = RecorderTestNode(graph)
    steps = graph.collect(StepRecord, topics.STEP_RECORD, topics.RECORDS)
    goal = Image(height=48, width=48, encoding="rgb8", step=144)
    goal.data = array.array("B", bytes(48 * 48 * 3))
    images = graph.publisher(Image, topics.IMAGE_RAW, topics.SENSOR)
    record(graph, episode_id="e", goal=Goal(images=[goal]), instruction="tidy up")
    images.publish(goal)
    table.run(6)
    answer = finish(graph, ASK.SAVE_UNLABELLED, last_observation_seq=6)
    graph.wait(lambda: len(steps) >= 5, "transitions")
    assert [step.step for step in steps[:5]] == list(range(5))
    assert steps[0].command.weights_version == "w1"
    assert steps[0].has_target and not steps[0].intervention
    with AnyReader([Path(answer.path)]) as reader:
        counts = {name: info.msgcount for name, info in reader.topics.items()}
    images_kept = counts.pop("/image_raw", 0)
    assert images_kept <= 1  # best effort
    assert counts == {
        "/goal": 1,
        "/goal_image": 1,
        "/observation": 7,
        "/latent": 7,
        "/arm/state": 7,
        "/step": 7,
        "/recorder/step": 6,
        "/observation/camera": 7,
        "/arm/state/pose": 7,
        "/arm/state/command": 7,
        "/arm/state/gripper": 7,
        "/arm/state/gripper_command": 6,
    }


def joints(*positions):
    return JointState(name=["a", "b"], position=[float(value) for value in positions])


def test_the_arms_description_and_joints_are_recorded(graph, start, tmp_path):
    """In the bag of each episode: a 3D view needs both, and converters the joints."""
    urdf = tmp_path / "arm.urdf"
    urdf.write_text("<robot name='one'/>")
    start(urdf=str(urdf))
    best_effort = graph.publisher(JointState, topics.JOINT_STATES, topics.SENSOR)
    for _ in range(2):
        record(graph)
        best_effort.publish(joints(0.5, 1.0))
        answer = finish(graph, ASK.SAVE_UNLABELLED)
        with AnyReader([Path(answer.path)]) as reader:
            counts = {name: info.msgcount for name, info in reader.topics.items()}
            texts = [
                reader.deserialize(data, c.msgtype).data
                for c, _, data in reader.messages()
                if c.topic == "/robot_description"
            ]
        assert texts == ["<robot name='one'/>"]
    assert counts["/joint_states"] >= 1  # the newest of the time before among them


def test_the_graphs_robot_description_is_recorded_where_no_file_is_named(graph, start):
    start()
    descriptions = graph.publisher(String, topics.ROBOT_DESCRIPTION, topics.LATCHED)
    descriptions.publish(String(data="<robot name='theirs'/>"))
    record(graph)
    answer = finish(graph, ASK.SAVE_UNLABELLED)
    with AnyReader([Path(answer.path)]) as reader:
        (info,) = [i for name, i in reader.topics.items() if name == "/robot_description"]
    assert info.msgcount == 1


def test_a_person_who_takes_over_is_marked(graph, start):
    start()
    table = RecorderTestNode(graph)
    steps = graph.collect(StepRecord, topics.STEP_RECORD, topics.RECORDS)
    record(graph)
    table.run(3)
    for seq in (4, 5):
        table.observe(seq, source=CartesianDelta.TELEOP, step=False)
    finish(graph, ASK.SAVE_SUCCESS, last_observation_seq=5)
    episode = get(graph, 0).episode
    assert list(episode.sources) == [0, 0, 0, 1, 1]
    assert list(episode.breaks) == [False] * 5
    assert list(episode.targets.shape) == [5, 144]
    graph.wait(lambda: len(steps) >= 4, "transitions")
    assert [step.intervention for step in steps[:4]] == [False, False, False, True]


def test_status_says_what_happens(graph, start, folder):
    states = graph.collect(RecorderStatus, topics.RECORDER_STATUS, topics.LATCHED)
    start()
    graph.wait(lambda: states and states[-1].session_id, "the status")
    assert (states[-1].state, states[-1].folder) == (RecorderStatus.IDLE, str(folder))
    record(graph, episode_id="e")
    graph.wait(lambda: states[-1].state == RecorderStatus.RECORDING, "recording")
    assert states[-1].episode_id == "e"
    finish(graph, ASK.STOP)
    graph.wait(lambda: states[-1].state == RecorderStatus.WAITING, "waiting")
    finish(graph, ASK.SAVE_SUCCESS)
    graph.wait(lambda: states[-1].state == RecorderStatus.IDLE, "idle")
    assert (states[-1].episodes, states[-1].error_msg) == (1, "")
    assert states[-1].bytes_free > 0


def test_a_second_goal_is_refused_and_the_next_one_after_the_end_is_not(graph, start):
    start()
    for number in range(5):
        handle, _ = record(graph, episode_id=f"e{number}")
        second = graph.send_goal(
            RecordEpisode, topics.RECORD_EPISODE, RecordEpisode.Goal(episode_id="second")
        )
        assert graph.result(second).result.error_code == ErrorCode.BUSY
        finish(graph, ASK.DISCARD)
        # At once: whoever has the answer may begin the next one.
    assert not graph.result(handle).result.saved


def test_a_goal_that_is_canceled_is_discarded(graph, start, folder):
    start()
    handle, _ = record(graph)
    RecorderTestNode(graph).run(3)
    graph.finish(handle.cancel_goal_async)
    result = graph.result(handle)
    assert (result.status, result.result.saved) == (GoalStatus.STATUS_CANCELED, False)
    session = Session(folder)
    assert session.unfinished() == [] and session.entries() == []
    assert "no episode is being recorded" in finish(graph, ASK.SAVE_SUCCESS).error_msg


def test_rerecord_goes_on_with_the_same_goal(graph, start):
    start()
    table = RecorderTestNode(graph)
    handle, _ = record(graph, first_observation_seq=50)
    table.run(3, first=50)
    assert not finish(graph, ASK.RERECORD, last_observation_seq=53).saved
    table.run(5, first=60)
    assert finish(graph, ASK.SAVE_SUCCESS, last_observation_seq=65).number == 0
    assert graph.result(handle).result.steps == get(graph, 0).episode.count


def test_finishing_waits_for_the_latent_and_lets_it_in(graph, start):
    start(patience=15.0)
    table = RecorderTestNode(graph)
    record(graph)
    table.run(4)
    later = threading.Timer(0.3, lambda: table.observe(5))
    later.start()
    assert finish(graph, ASK.SAVE_SUCCESS, last_observation_seq=5).saved
    later.join()
    assert get(graph, 0).episode.count == 5


def test_labels_change_and_a_dropped_episode_is_not_served(graph, start, folder):
    start()
    table = RecorderTestNode(graph)
    record(graph)
    table.run(3)
    finish(graph, ASK.SAVE_SUCCESS, last_observation_seq=3)

    def label(number, value, drop=False):
        request = LabelEpisode.Request(number=number, label=value, drop=drop)
        return graph.call(LabelEpisode, topics.LABEL_EPISODE, request)

    assert label(0, EpisodeRecord.FAILURE).error_code == ErrorCode.NONE
    assert get(graph, 0).episode.label == EpisodeRecord.FAILURE
    Session(folder).label(0, "success")  # `ptp episodes label`, meanwhile
    assert get(graph, 0).episode.label == EpisodeRecord.SUCCESS
    assert label(0, EpisodeRecord.FAILURE, drop=True).error_code == ErrorCode.NONE
    served = get(graph, 0)
    assert (served.dropped, served.episode.count, served.error_code) == (True, 0, ErrorCode.NONE)
    for number, value, text in ((7, 1, "no episode 7"), (0, 9, "label 9")):
        answer = label(number, value)
        assert answer.error_code == ErrorCode.BAD_REQUEST and text in answer.error_msg
    assert get(graph, 3).error_code == ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (ASK(verdict=ASK.SAVE_SUCCESS, episode_id="another"), "is recorded, not another"),
        (ASK(verdict=99), "verdict 99"),
    ],
)
def test_a_finish_that_makes_no_sense_is_refused(graph, start, request_, text):
    start()
    record(graph)
    answer = graph.call(FinishEpisode, topics.FINISH_EPISODE, request_)
    assert answer.error_code == ErrorCode.BAD_REQUEST and text in answer.error_msg
    assert finish(graph, ASK.DISCARD).error_code == ErrorCode.NONE


@pytest.mark.parametrize(
    ("goal", "code", "text"),
    [
        (Goal(images=[Image(height=1, width=2, encoding="rgb8", step=3)]), 1, "2 pixels of rgb8"),
        (Goal(cameras=["front"]), 1, "0 images and 1 names"),
        (Goal(latent=LatentArray(shape=[3], indices=[1])), 2, "shape [3] has 1 numbers"),
        (Goal(instruction="tidy up", cameras=["front"]), 4, "as image and as language"),
    ],
)
def test_a_goal_that_is_none_is_refused(graph, start, goal, code, text):
    start()
    request = RecordEpisode.Goal(goal=goal)
    handle = graph.send_goal(RecordEpisode, topics.RECORD_EPISODE, request)
    result = graph.result(handle).result
    assert (result.error_code, text in result.error_msg) == (code, True)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"folder": ""}, "set the parameter folder"),
        ({"urdf": "no/such.urdf"}, "urdf no/such.urdf: cannot be read (No such file"),
        ({}, "another recorder"),
    ],
)
def test_a_recorder_that_cannot_begin_says_why_and_lives_on(graph, start, folder, values, text):
    logs = graph.logs()
    states = graph.collect(RecorderStatus, topics.RECORDER_STATUS, topics.LATCHED)
    lock = Session(folder, create={}).lock()
    start(**values)
    logs.expect(text, Log.ERROR)
    graph.wait(lambda: states and states[-1].error_msg, "the status")
    assert states[-1].state == RecorderStatus.FAULT and text in states[-1].error_msg
    handle = graph.send_goal(RecordEpisode, topics.RECORD_EPISODE, RecordEpisode.Goal())
    assert text in graph.result(handle).result.error_msg
    assert text in get(graph, 0).error_msg
    lock.release()
    if not values:
        for step in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            change = ChangeState.Request(transition=Transition(id=step))
            assert graph.call(ChangeState, "recorder/change_state", change).success
        record(graph)


def test_a_full_disk_ends_the_episode_with_its_reason(graph, start):
    start()
    table = RecorderTestNode(graph)
    record(graph)
    table.run(3)
    finish(graph, ASK.SAVE_SUCCESS, last_observation_seq=3)
    handle, _ = record(graph, episode_id="big")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))  # a real error of write()
    try:
        table.run(60, first=10)
        result = graph.result(handle)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert result.status == GoalStatus.STATUS_ABORTED
    assert result.result.error_code == ErrorCode.UNAVAILABLE
    assert "episode big ended" in result.result.error_msg
    assert "free some space" in result.result.error_msg
    assert get(graph, 0).episode.count == 3
    record(graph)
    table.run(4, first=100)
    assert finish(graph, ASK.SAVE_SUCCESS, last_observation_seq=104).number == 1


def test_a_node_that_is_stopped_or_deactivated_leaves_its_recording_for_repair(
    graph, start, folder
):
    node = start()
    handle, _ = record(graph)
    change = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    assert graph.call(ChangeState, "recorder/change_state", change).success
    assert graph.result(handle).result.error_code == ErrorCode.NOT_ACTIVE
    assert len(Session(folder).unfinished()) == 1
    graph.remove(node)
    logs = graph.logs()
    again = start()
    logs.expect("1 unfinished recordings: stop this node and run `ptp episodes repair", Log.WARN)
    record(graph)
    graph.remove(again)
    assert len(Session(folder).unfinished()) == 2
    content = json.loads((folder / "session.json").read_text())
    assert set(content["versions"]) == {"ptp", "ros_distro"}
