# SPDX-License-Identifier: Apache-2.0
"""A failed transition is logged with its cause and leaves a node that can be asked again."""

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from ptp_interfaces.msg import ErrorCode
from rcl_interfaces.msg import Log

from ptp_core.errors import CheckpointError
from ptp_ros.graph_testing import Graph, parameters
from ptp_ros.lifecycle import ManagedNode
from ptp_ros.request_errors import RequestError


class Fragile(ManagedNode):
    """Its configuration fails as long as `error` is set."""

    error: Exception | None = None

    def _configure(self):
        if self.error is not None:
            raise self.error


@pytest.fixture
def graph():
    with Graph() as graph:
        yield graph


def change(graph, what):
    request = ChangeState.Request(transition=Transition(id=what))
    return graph.call(ChangeState, "fragile/change_state", request).success


def state(graph):
    return graph.call(GetState, "fragile/get_state", GetState.Request()).current_state.label


def make(graph, error=None, **values):
    node = Fragile("fragile", context=graph.context, parameter_overrides=parameters(values))
    node.error = error
    return node


def test_a_node_starts_itself(graph):
    node = graph.add(make(graph))
    assert state(graph) == "active"
    node.require_active()


def test_without_autostart_it_waits(graph):
    node = graph.add(make(graph, autostart=False))
    assert state(graph) == "unconfigured"
    with pytest.raises(RequestError, match="configure and activate it first") as caught:
        node.require_active()
    assert caught.value.code == ErrorCode.NOT_ACTIVE


@pytest.mark.parametrize(
    ("error", "code", "logged"),
    [
        (CheckpointError("model: truncated"), ErrorCode.BAD_CHECKPOINT, "model: truncated"),
        (ZeroDivisionError("a bug"), ErrorCode.INTERNAL, "Traceback"),
    ],
)
def test_a_failure_is_logged_kept_and_can_be_repaired(graph, error, code, logged):
    logs = graph.logs()
    node = graph.add(make(graph, error))
    assert state(graph) == "unconfigured"
    with pytest.raises(RequestError) as caught:
        node.require_active()
    assert caught.value.code == code
    assert not change(graph, Transition.TRANSITION_CONFIGURE)
    logs.expect(logged, Log.ERROR)
    node.error = None
    assert change(graph, Transition.TRANSITION_CONFIGURE)
    assert change(graph, Transition.TRANSITION_ACTIVATE)
    node.require_active()


def test_a_deactivated_node_refuses_work_and_comes_back(graph):
    node = graph.add(make(graph))
    assert change(graph, Transition.TRANSITION_DEACTIVATE)
    with pytest.raises(RequestError, match="deactivated"):
        node.require_active()
    assert change(graph, Transition.TRANSITION_ACTIVATE)
    node.require_active()
