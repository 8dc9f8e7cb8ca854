# SPDX-License-Identifier: Apache-2.0
"""Blocking calls end: with an answer, or with who did not give one."""

import threading

import pytest
from ptp_interfaces.action import ReachGoal
from ptp_interfaces.msg import ErrorCode
from rclpy.action import ActionClient
from rclpy.node import Node

from ptp_ros.actions import SingleGoalServer
from ptp_ros.client import Caller
from ptp_ros.errors import RequestError
from ptp_ros.testing import Graph

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
        node.stop = SingleGoalServer(node, ReachGoal, NAME, work).stop
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
