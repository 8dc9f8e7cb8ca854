# SPDX-License-Identifier: Apache-2.0
"""Practice waits for a learner that lives, and for none that died."""

import threading

import pytest
from std_msgs.msg import Float64

from ptp_nodes.practice.learner_backpressure import LearnerBackpressure
from ptp_ros.blocking_client import Caller
from ptp_ros.graph_testing import PATIENCE
from ptp_ros.topics import LATCHED, LEARNER_DUE


@pytest.fixture
def learner(graph):
    return graph.client.create_publisher(Float64, LEARNER_DUE, LATCHED)


def begin(graph, pace):
    """Wait in a thread; the event that it has ended."""
    done = threading.Event()
    threading.Thread(target=lambda: (pace.wait(), done.set()), daemon=True).start()
    return done


def heard(graph, pace, learner, due):
    learner.publish(Float64(data=float(due)))
    graph.wait(lambda: pace._due == due, "the message")


def test_it_waits_until_the_learner_has_caught_up(graph, learner):
    logs = graph.logs()
    pace = LearnerBackpressure(graph.client, Caller(graph.client), most=100)
    done = begin(graph, pace)
    logs.expect("waiting for the learner to come up")
    assert not done.is_set()
    heard(graph, pace, learner, 0)
    assert done.wait(PATIENCE)
    heard(graph, pace, learner, 101)
    done = begin(graph, pace)
    logs.expect("waiting for the learner, which has 101 updates to make")
    assert not done.is_set()
    heard(graph, pace, learner, 100)
    assert done.wait(PATIENCE)


def test_practice_begins_without_a_learner_that_does_not_come_up(graph, monkeypatch):
    monkeypatch.setattr("ptp_nodes.practice.learner_backpressure.START", 0.2)
    logs = graph.logs()
    pace = LearnerBackpressure(graph.client, Caller(graph.client), most=100)
    assert begin(graph, pace).wait(PATIENCE)
    logs.expect("did not come up within 0.2 s: going on without it")
    assert begin(graph, pace).wait(PATIENCE)  # and is not waited for again


def test_a_learner_that_died_is_not_waited_for(graph, learner, monkeypatch):
    monkeypatch.setattr("ptp_nodes.practice.learner_backpressure.SILENCE", 0.3)
    pace = LearnerBackpressure(graph.client, Caller(graph.client), most=100)
    heard(graph, pace, learner, 1e6)
    assert begin(graph, pace).wait(PATIENCE)
