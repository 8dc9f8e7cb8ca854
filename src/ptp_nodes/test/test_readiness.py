# SPDX-License-Identifier: Apache-2.0
"""Practice waits for arm, learner and a view that films, and says what for."""

import threading

import pytest
from ptp_interfaces.msg import DriverState, StepInfo
from rclpy.node import Node
from std_msgs.msg import Float64

from ptp_nodes.policy.readiness import ArmReady, LearnerBackpressure, ViewReady
from ptp_ros.blocking_client import Caller
from ptp_ros.graph_testing import PATIENCE
from ptp_ros.topics import DRIVER_STATE, LATCHED, LEARNER_DUE, RECORDS, STEP


@pytest.fixture
def driver(graph):
    return graph.client.create_publisher(DriverState, DRIVER_STATE, LATCHED)


@pytest.fixture
def learner(graph):
    return graph.client.create_publisher(Float64, LEARNER_DUE, LATCHED)


def begin(waiting):
    """Wait in a thread; the event that it has ended."""
    done = threading.Event()
    threading.Thread(target=lambda: (waiting.wait(), done.set()), daemon=True).start()
    return done


def test_it_waits_until_the_arm_is_enabled_and_again_after_a_fault(graph, driver):
    logs = graph.logs()
    ready = ArmReady(graph.client, Caller(graph.client), True)
    done = begin(ready)
    logs.expect("waiting for the arm (nothing is heard of its driver)")
    driver.publish(DriverState(state=DriverState.READY))
    assert done.wait(PATIENCE)
    assert begin(ready).wait(PATIENCE)
    driver.publish(DriverState(state=DriverState.FAULT, reason="e-stop"))
    graph.wait(lambda: not ready._ready(), "the fault")
    done = begin(ready)
    logs.expect("waiting for the arm (e-stop): ptp doctor --real, then ptp arm enable")
    driver.publish(DriverState(state=DriverState.INTERVENTION))
    graph.wait(lambda: ready._state == DriverState.INTERVENTION, "a person to have it")
    assert not done.is_set()
    driver.publish(DriverState(state=DriverState.HOLD))
    assert done.wait(PATIENCE)


def test_where_there_is_no_driver_nobody_waits(graph):
    assert begin(ArmReady(graph.client, Caller(graph.client), False)).wait(PATIENCE)


def heard(graph, waiting, learner, due):
    learner.publish(Float64(data=float(due)))
    graph.wait(lambda: waiting._due == due, "the message")


def test_it_waits_until_the_learner_has_caught_up(graph, learner):
    logs = graph.logs()
    waiting = LearnerBackpressure(graph.client, Caller(graph.client), most=100)
    done = begin(waiting)
    logs.expect("waiting for the learner to come up")
    assert not done.is_set()
    heard(graph, waiting, learner, 0)
    assert done.wait(PATIENCE)
    heard(graph, waiting, learner, 101)
    done = begin(waiting)
    logs.expect("waiting for the learner, which has 101 updates to make")
    assert not done.is_set()
    heard(graph, waiting, learner, 100)
    assert done.wait(PATIENCE)


def test_practice_begins_without_a_learner_that_does_not_come_up(graph, monkeypatch):
    monkeypatch.setattr("ptp_nodes.policy.readiness.START", 0.2)
    logs = graph.logs()
    waiting = LearnerBackpressure(graph.client, Caller(graph.client), most=100)
    assert begin(waiting).wait(PATIENCE)
    logs.expect("did not come up within 0.2 s: going on without it")
    assert begin(waiting).wait(PATIENCE)  # and is not waited for again


def test_a_learner_that_died_is_not_waited_for(graph, learner, monkeypatch):
    monkeypatch.setattr("ptp_nodes.policy.readiness.SILENCE", 0.3)
    waiting = LearnerBackpressure(graph.client, Caller(graph.client), most=100)
    heard(graph, waiting, learner, 1e6)
    assert begin(waiting).wait(PATIENCE)


@pytest.fixture
def steps(graph):
    return graph.client.create_publisher(StepInfo, STEP, LATCHED)


def test_it_waits_until_the_view_gets_the_steps_and_for_nobody_else(graph, steps):
    graph.client.create_subscription(StepInfo, STEP, lambda message: None, RECORDS)
    graph.wait(steps.get_subscription_count, "another reader")
    looks = threading.Semaphore(0)
    done = threading.Event()
    waiting = ViewReady(graph.client, steps, True)
    threading.Thread(target=lambda: (waiting.wait(looks.release), done.set()), daemon=True).start()
    for _ in range(3):
        assert looks.acquire(timeout=PATIENCE)
    assert not done.is_set()
    heard = []
    view = graph.add(Node("view", context=graph.context))
    view.create_subscription(StepInfo, STEP, heard.append, RECORDS)
    assert done.wait(PATIENCE)
    steps.publish(StepInfo(step=7))
    graph.wait(lambda: heard, "the step")


def test_a_view_that_does_not_come_up_is_waited_for_once(graph, steps, monkeypatch):
    monkeypatch.setattr("ptp_nodes.policy.readiness.START", 0.2)
    logs = graph.logs()
    waiting = ViewReady(graph.client, steps, True)
    waiting.wait(lambda: None)
    logs.expect("the view did not come up within 0.2 s: what follows is not filmed")
    monkeypatch.setattr("ptp_nodes.policy.readiness.START", 2 * PATIENCE)
    waiting.wait(lambda: pytest.fail("waited again"))


def test_where_nothing_is_filmed_the_view_is_not_waited_for(graph, steps):
    ViewReady(graph.client, steps, False).wait(lambda: pytest.fail("waited"))
