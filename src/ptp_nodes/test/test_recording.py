# SPDX-License-Identifier: Apache-2.0
"""Practice and recorder, where another practice died before."""

import pytest
from ptp_interfaces.msg import ErrorCode, Goal, RecorderStatus
from rclpy.node import Node

from ptp_core.episodes.session_store import Session
from ptp_nodes.episodes.recorder_client import RecorderClient
from ptp_nodes.episodes.recorder_testing import RecorderTestNode, record
from ptp_nodes.nodes.recorder_node import RecorderNode
from ptp_ros import topics
from ptp_ros.blocking_client import Caller
from ptp_ros.graph_testing import parameters
from ptp_ros.request_errors import RequestError


@pytest.fixture
def recorder(graph, tmp_path):
    options = parameters({"folder": str(tmp_path / "session"), "min_free": 0})
    return graph.add(RecorderNode(context=graph.context, parameter_overrides=options))


@pytest.fixture
def practice(graph, recorder):
    node = graph.add(Node("practice", context=graph.context))
    recording = RecorderClient(node, Caller(node), patience=10.0)
    states = graph.collect(RecorderStatus, topics.RECORDER_STATUS, topics.LATCHED)

    def knows(episode_id):
        graph.wait(lambda: recording._status.episode_id == episode_id, "the status")

    graph.wait(lambda: states, "the recorder")
    recording.knows = knows
    return recording


def begin(practice, name):
    practice.begin(name, "A", "paper", Goal(), "", 0)


def test_what_a_dead_practice_left_is_kept_and_the_next_episode_begins(graph, practice, tmp_path):
    record(graph, episode_id="run/task_A_episode_3")  # and nobody is left to finish it
    table = RecorderTestNode(graph)
    table.run(12)
    practice.knows("run/task_A_episode_3")
    begin(practice, "run/task_A_episode_4")
    table.run(8, first=20)
    assert practice.save(True, 28) == 1
    entries = Session(tmp_path / "session").entries()
    assert [(e.episode_id, e.label, e.end_reason) for e in entries] == [
        ("run/task_A_episode_3", "unlabelled", "fault"),
        ("run/task_A_episode_4", "success", "judged"),
    ]


def test_what_a_person_records_is_left_alone(graph, practice):
    record(graph, episode_id="episode_by_hand")
    practice.knows("episode_by_hand")
    with pytest.raises(RequestError, match="another goal is running") as error:
        begin(practice, "run/task_A_episode_4")
    assert error.value.code == ErrorCode.BUSY
