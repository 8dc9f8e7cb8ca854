# SPDX-License-Identifier: Apache-2.0
"""One goal at a time; whatever happens to it, the client learns why."""

import threading

import pytest
from action_msgs.msg import GoalStatus
from ptp_interfaces.action import ReachGoal
from ptp_interfaces.msg import ErrorCode
from rclpy.node import Node

from ptp_core.errors import InputError
from ptp_ros.action_server import SingleGoalServer
from ptp_ros.graph_testing import Graph


class Work:
    """Work that does what the goal's step count says and waits for its cue."""

    def __init__(self):
        self.cue = threading.Event()
        self.begun = threading.Event()

    def __call__(self, goal):
        self.begun.set()
        if goal.request.max_steps == 1:
            raise InputError("max_steps is 1")
        if goal.request.max_steps == 2:
            raise ZeroDivisionError("a bug")
        goal.feedback(ReachGoal.Feedback(step=5))
        while not self.cue.wait(0.01):
            goal.raise_if_canceled()
        return ReachGoal.Result(steps=goal.request.max_steps)


@pytest.fixture
def setting():
    with Graph() as graph:
        work = Work()
        node = Node("server", context=graph.context)
        server = SingleGoalServer(node, ReachGoal, "reach_goal", work)
        node.stop = server.stop
        graph.add(node)
        yield graph, work


def send(graph, steps, feedback=None):
    return graph.send_goal(ReachGoal, "reach_goal", ReachGoal.Goal(max_steps=steps), feedback)


def test_a_goal_runs_and_reports(setting):
    graph, work = setting
    feedback = []
    handle = send(graph, 7, feedback)
    graph.wait(lambda: feedback, "feedback")
    work.cue.set()
    answer = graph.result(handle)
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    assert (answer.result.steps, answer.result.error_code) == (7, ErrorCode.NONE)
    assert feedback[0].step == 5


def test_a_second_goal_is_told_that_another_runs_and_the_first_goes_on(setting):
    graph, work = setting
    first = send(graph, 7)
    graph.wait(work.begun.is_set)
    second = graph.result(send(graph, 8))
    assert second.status == GoalStatus.STATUS_ABORTED
    assert second.result.error_code == ErrorCode.BUSY
    assert "another goal is running" in second.result.error_msg
    work.cue.set()
    assert graph.result(first).result.steps == 7
    assert graph.result(send(graph, 9)).result.steps == 9


def test_a_goal_can_be_canceled(setting):
    graph, work = setting
    handle = send(graph, 7)
    graph.wait(work.begun.is_set)
    graph.finish(handle.cancel_goal_async)
    answer = graph.result(handle)
    assert answer.status == GoalStatus.STATUS_CANCELED
    assert answer.result.error_code == ErrorCode.CANCELED


@pytest.mark.parametrize(
    ("steps", "code", "text"),
    [(1, ErrorCode.BAD_REQUEST, "max_steps is 1"), (2, ErrorCode.INTERNAL, "a bug")],
)
def test_work_that_raises_is_reported_and_the_server_lives_on(setting, steps, code, text):
    graph, work = setting
    answer = graph.result(send(graph, steps))
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert (answer.result.error_code, answer.result.error_msg) == (code, text)
    work.cue.set()
    assert graph.result(send(graph, 3)).result.steps == 3
