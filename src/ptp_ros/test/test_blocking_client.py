# SPDX-License-Identifier: Apache-2.0
"""Blocking calls end: with an answer, or with who did not give one."""

import threading

import pytest
from ptp_interfaces.action import ReachGoal
from ptp_interfaces.msg import ErrorCode
from ptp_interfaces.srv import Rearm
from rclpy.action import ActionClient
from rclpy.node import Node

from ptp_ros import blocking_client as calls
from ptp_ros.action_server import SingleGoalServer
from ptp_ros.blocking_client import Caller
from ptp_ros.graph_testing import Graph
from ptp_ros.request_errors import RequestError

NAME = "reach_goal"


class Work:
    """Reports once, then waits for its cue."""

    def __init__(self):
        self.cue, self.ended = threading.Event(), threading.Event()

    def __call__(self, goal):
        goal.feedback(ReachGoal.Feedback(step=1))
        try:
            while not self.cue.wait(0.01):
                goal.raise_if_canceled()
        finally:
            self.ended.set()
        return ReachGoal.Result(steps=goal.request.max_steps)


@pytest.fixture
def setting():
    with Graph() as graph:
        work = Work()
        node = Node("server", context=graph.context)
        server = SingleGoalServer(node, ReachGoal, NAME, work)
        node.stop, work.server = server.stop, server._server
        graph.add(node)
        client = ActionClient(graph.client, ReachGoal, NAME)
        yield Caller(graph.client), client, work


def test_a_server_that_falls_silent_counts_as_dead_and_is_canceled(setting):
    caller, client, work = setting
    with pytest.raises(RequestError, match=r"reach_goal has said nothing for 0\.3 s") as error:
        caller.action(client, NAME, ReachGoal.Goal(), timeout=60.0, silence=0.3)
    assert error.value.code == ErrorCode.UNAVAILABLE
    assert work.ended.wait(10.0)


def test_a_goal_can_be_begun_and_looked_at_later(setting):
    caller, client, work = setting
    heard = threading.Event()
    goal = ReachGoal.Goal(max_steps=7)
    future = caller.begin_action(client, NAME, goal, 20.0, lambda feedback: heard.set())
    caller.until(heard.is_set, 20.0, "feedback")
    assert not future.done()
    work.cue.set()
    caller.until(future.done, 20.0, "the end")
    assert future.result().result.steps == 7


def test_who_is_not_there_is_named(setting):
    caller, client, _ = setting
    absent = ActionClient(client._node, ReachGoal, "nobody")
    with pytest.raises(RequestError, match="the action nobody did not come within"):
        caller.begin_action(absent, "nobody", ReachGoal.Goal(), 0.1)


class ForgetfulServer:
    """The handle of an action server whose first acceptance is lost."""

    def __init__(self, real):
        self._real, self.lost = real, 0

    def __getattr__(self, name):
        return getattr(self._real, name)

    def send_goal_response(self, *answer):
        if self.lost:
            self._real.send_goal_response(*answer)
        self.lost += 1


def test_a_request_whose_answer_was_lost_is_sent_again(setting, monkeypatch):
    monkeypatch.setattr(calls, "REPEAT", 0.2)
    caller, client, _ = setting
    asked = []

    def answer(request, response):
        asked.append(request)
        return response

    service = client._node.create_service(Rearm, "rearm", answer)
    real = service.send_response
    lost = []
    monkeypatch.setattr(service, "send_response", lambda *a: real(*a) if lost else lost.append(a))
    caller.service(client._node.create_client(Rearm, "rearm"), Rearm.Request(), 20.0)
    assert len(asked) == 2


def test_a_goal_whose_acceptance_was_lost_is_asked_for_again_and_runs_once(setting, monkeypatch):
    monkeypatch.setattr(calls, "REPEAT", 0.2)
    caller, client, work = setting
    server = ForgetfulServer(work.server._handle)
    monkeypatch.setattr(work.server, "_handle", server)
    work.cue.set()
    result = caller.action(client, NAME, ReachGoal.Goal(max_steps=7), 20.0)
    assert server.lost == 2
    assert result.steps == 7


def test_a_request_that_must_not_be_repeated_is_not(setting, monkeypatch):
    monkeypatch.setattr(calls, "REPEAT", 0.1)
    caller, client, _ = setting
    asked = []

    def answer(request, response):
        asked.append(request)
        return response

    service = client._node.create_service(Rearm, "rearm", answer)
    monkeypatch.setattr(service, "send_response", lambda *answer: None)
    rearm = client._node.create_client(Rearm, "rearm")
    with pytest.raises(RequestError, match=r"the answer of rearm did not come within 0\.5 s"):
        caller.service(rearm, Rearm.Request(), 0.5, repeat=False)
    assert len(asked) == 1
